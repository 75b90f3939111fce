//! Opens a session on the default access point, or the named one, and talks through it.
//!
//! `cargo run -p netbearer --example open_and_use -- 192.0.2.1:7 [ACCESS POINT]`

use std::{error::Error, time::Duration};

use netbearer::Manager;
use tokio::io::AsyncWriteExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("which server? give its address and port")?.parse()?;
    let wanted = arguments.next();

    let manager = Manager::embedded().await?;
    let configuration = manager.find(wanted.as_deref()).await?;
    let session = manager.session(&configuration).await?;
    session.open().await?;
    if !session.wait_for_opened(Some(Duration::from_secs(20))).await? {
        return Err(session.error().map_or("it took too long".to_owned(), |failure| failure.message).into());
    }
    // Leaves by this session's access point, wherever the default route leads.
    let mut stream = session.connect_tcp(server).await?;
    stream.write_all(b"hello\n").await?;
    println!("said hello to {server} through {}", configuration.name);
    session.close().await?; // the last one to close takes the link down
    Ok(())
}
