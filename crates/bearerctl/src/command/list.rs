use comfy_table::{Table, presets};

use crate::{
    command::Context,
    error::Error,
    ledger::Ledger,
    listing::{Listing, kind_words},
};

const HEADER: [&str; 8] = ["", "NAME", "IDENTIFIER", "KIND", "STATE", "INTERFACE", "ADDRESSES", "USED BY"];

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let manager = context.manager().await?;
    let ledger = Ledger::read(&manager).await?;
    let listings = Listing::all(&manager, &ledger).await?;
    let output = context.output;
    if output.json {
        return output.object(&listings);
    }
    if listings.is_empty() {
        output.hint("there is nothing a session could be opened on; `bearerctl why` tells why");
        return Ok(());
    }
    output.line(&table(&listings))?;
    if listings.iter().any(|listing| listing.default) {
        output.line("* opened when nothing is named")?;
    }
    Ok(())
}

fn table(listings: &[Listing]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(HEADER);
    let has_members = listings.iter().any(|listing| !listing.members.is_empty());
    if has_members {
        table.set_header(HEADER.into_iter().chain(["MEMBERS"]));
    }
    for listing in listings {
        let configuration = &listing.configuration;
        let members = has_members.then(|| listing.member_names().join(", "));
        let cells = [
            if listing.default { "*" } else { "" }.to_owned(),
            configuration.name.clone(),
            configuration.identifier.to_string(),
            kind_words(configuration),
            listing.state_words().to_owned(),
            listing.interface_name().to_owned(),
            listing.addresses().join("\n"),
            listing.used_by(),
        ];
        table.add_row(cells.into_iter().chain(members));
    }
    table.to_string()
}
