//! Opens a session on a service network, tells which of its members it came to, and what happens to it until Enter is pressed.
//!
//! `cargo run -p netbearer --example service_network -- NETWORK`, with a file `profiles.d/NETWORK.toml` that has a
//! `[service_network]`.

use std::{error::Error, io, thread};

use netbearer::{Manager, SessionEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let wanted = std::env::args().nth(1).ok_or("which service network?")?;
    let manager = Manager::embedded().await?;
    let network = manager.find(Some(&wanted)).await?;
    for member in &network.children {
        let member = manager.configuration(member).await?;
        println!("{:<12} {}", member.name, member.state_flags);
    }
    let session = manager.session(&network).await?;
    let mut events = session.events();
    session.open().await?; // the most preferred member that is up, else the first that can be brought up
    let (pressed, mut enter) = tokio::sync::oneshot::channel();
    thread::spawn(move || pressed.send(io::stdin().read_line(&mut String::new())));
    loop {
        tokio::select! {
            _ = &mut enter => return Ok(session.close().await?),
            Some(event) = events.next() => match event {
                SessionEvent::Opened => {
                    let interface = session.interface().map(|interface| interface.name);
                    println!("open by way of {}; press Enter to close", interface.unwrap_or_default());
                }
                SessionEvent::Error(failure) => return Err(failure.into()),
                other => println!("{other:?}"),
            },
        }
    }
}
