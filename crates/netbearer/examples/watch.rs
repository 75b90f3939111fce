//! Watches the machine: which access points there are, how they come and go, and whether it is online.
//!
//! `cargo run -p netbearer --example watch`

use std::error::Error;

use netbearer::{Manager, ManagerEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = Manager::embedded().await?;
    let mut events = manager.events();
    for configuration in manager.configurations(None).await? {
        println!("{:<12} {:<10} {}", configuration.name, configuration.bearer_type, configuration.state_flags);
    }
    println!("online: {}", manager.is_online().await?);
    while let Some(event) = events.next().await {
        match event {
            ManagerEvent::ConfigurationAdded { configuration } => println!("+ {}", configuration.name),
            ManagerEvent::ConfigurationChanged { configuration } => {
                println!("  {} is {}", configuration.name, configuration.state_flags);
            }
            ManagerEvent::ConfigurationRemoved { identifier } => println!("- {identifier}"),
            ManagerEvent::OnlineStateChanged { online } => println!("online: {online}"),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}
