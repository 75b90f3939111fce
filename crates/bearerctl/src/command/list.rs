use comfy_table::{Table, presets};

use crate::{command::Context, error::Error, listing::Listing};

const HEADER: [&str; 8] = ["", "NAME", "IDENTIFIER", "BEARER", "STATE", "INTERFACE", "ADDRESSES", "USED BY"];

pub(crate) async fn run(context: &Context) -> Result<(), Error> {
    let manager = context.manager().await?;
    let listings = Listing::all(&manager).await?;
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
    for listing in listings {
        let configuration = &listing.configuration;
        table.add_row([
            if listing.default { "*" } else { "" }.to_owned(),
            configuration.name.clone(),
            configuration.identifier.to_string(),
            configuration.bearer_type.to_string(),
            listing.state_words().to_owned(),
            configuration.interface_name.clone().unwrap_or_default(),
            listing.addresses().join("\n"),
            listing.used_by().to_owned(),
        ]);
    }
    table.to_string()
}
