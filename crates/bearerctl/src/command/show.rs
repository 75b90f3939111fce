use std::fmt::Display;

use netbearer::{Proxy, Purpose};

use crate::{command::Context, error::Error, ledger::Ledger, listing::Listing};

pub(crate) async fn run(context: &Context, wanted: &str) -> Result<(), Error> {
    let manager = context.manager().await?;
    let configuration = manager.find(Some(wanted)).await?;
    let ledger = Ledger::read(&manager).await?;
    let listing = Listing::new(&manager, &ledger, configuration).await?;
    let output = context.output;
    if output.json {
        return output.object(&listing);
    }
    for (name, value) in facts(&listing) {
        if !value.is_empty() {
            output.line(&format!("{name:<18}{value}"))?;
        }
    }
    Ok(())
}

fn facts(listing: &Listing) -> Vec<(&'static str, String)> {
    let configuration = &listing.configuration;
    let mut facts = vec![
        ("name", configuration.name.clone()),
        ("identifier", configuration.identifier.to_string()),
        ("kind", configuration.kind.to_string()),
        ("bearer", if listing.is_access_point() { configuration.bearer_type.to_string() } else { String::new() }),
        ("state", format!("{} ({}, {})", listing.state_words(), listing.state, configuration.state_flags)),
        ("used by", listing.used_by()),
        ("capabilities", list(configuration.capabilities.iter_names().map(|(name, _)| name))),
        ("members", list(listing.members.iter().map(member))),
        ("in use", listing.member_in_use().map(|member| member.configuration.name.clone()).unwrap_or_default()),
        ("exclusive with", list(&listing.exclusive_with)),
        ("default", if listing.default { "yes" } else { "no" }.to_owned()),
        ("purpose", purpose(configuration.purpose).to_owned()),
        ("metered", if configuration.metered { "yes" } else { "" }.to_owned()),
        ("proxy", proxy(&configuration.proxy)),
    ];
    if let Some(interface) = &listing.interface {
        facts.extend([
            ("interface", format!("{} (index {})", interface.name, interface.index)),
            ("hardware address", interface.hardware_address.clone()),
            ("MTU", format!("{} bytes", interface.mtu)),
            (
                "addresses",
                list(interface.addresses.iter().map(|address| {
                    let remark = if address.is_usable() { "" } else { " (not usable)" };
                    format!("{}/{}{remark}", address.address, address.prefix_length)
                })),
            ),
            ("gateways", list(&interface.gateways)),
            ("name servers", list(&interface.name_servers)),
            ("search domains", list(&interface.search_domains)),
        ]);
    }
    facts.push(("full-tunnel VPN", listing.tunnel().unwrap_or_default()));
    facts.extend(listing.warnings().iter().map(|warning| ("warning", warning.clone())));
    facts
}

fn member(member: &Listing) -> String {
    format!("{} ({})", member.configuration.name, member.state_words())
}

/// As profiles write it; nothing where nothing is said.
const fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Public => "public",
        Purpose::Private => "private",
        Purpose::ServiceSpecific => "service-specific",
        _ => "",
    }
}

fn proxy(proxy: &Proxy) -> String {
    match proxy {
        Proxy::Manual(url) => url.clone(),
        Proxy::AutoConfigurationUrl(url) => format!("as {url} says"),
        _ => String::new(),
    }
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
