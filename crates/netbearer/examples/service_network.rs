//! Opens a session on whichever of several access points works, the first one preferred, and says which one that is.
//!
//! `cargo run -p netbearer --example service_network -- 192.0.2.1:7 eth0 wwan0`

use std::{error::Error, time::Duration};

use netbearer::{Embedded, PropertyKey, PropertyValue, ServiceNetworkProfile, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("which server? give its address and port")?.parse()?;
    let members: Vec<String> = arguments.collect();

    let uplink = ServiceNetworkProfile { members, ..ServiceNetworkProfile::default() };
    let manager = Embedded::default().service_network("uplink", uplink).start().await?;
    let network = manager.find(Some("service-uplink")).await?;
    println!("{} is {}", network.name, network.state_flags);

    let session = manager.session(&network).await?;
    session.open().await?;
    if !session.wait_for_opened(Some(Duration::from_secs(60))).await? {
        return Err(session.error().map_or("it took too long".to_owned(), |failure| failure.message).into());
    }
    println!("opened by way of {}", active(&session).await?);

    // Sockets are bound to the member in use.
    let mut stream = session.connect_tcp(server).await?;
    stream.write_all(b"hello\n").await?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).await?;
    println!("{server} answers: {}", String::from_utf8_lossy(&answer[..length]).trim_end());
    session.close().await?;
    manager.shutdown().await;
    Ok(())
}

/// The member in use, which is also that of the interface.
async fn active(session: &Session) -> Result<String, Box<dyn Error>> {
    let active = match session.property(PropertyKey::ActiveConfiguration).await? {
        Some(PropertyValue::Text(identifier)) => identifier,
        other => return Err(format!("no access point is in use, but {other:?}").into()),
    };
    let interface = session.interface().map_or("none".to_owned(), |interface| interface.name);
    Ok(format!("{active}, interface {interface}"))
}
