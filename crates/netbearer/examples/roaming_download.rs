//! Downloads a file, and goes on with it on a better network, once that has been tried: the server must be reached by it.
//!
//! `cargo run -p netbearer --example roaming_download -- 192.0.2.1:80 /file file eth0 wwan0`

use std::{error::Error, fs::File, io, io::Write, net::SocketAddr, time::Duration};

use netbearer::{Embedded, Roaming, ServiceNetworkProfile, Session, SessionState, SocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().ok_or("which server? give its address and port")?.parse()?;
    let path = arguments.next().ok_or("which file of the server?")?;
    let mut file = File::options().create(true).append(true).open(arguments.next().ok_or("into which file?")?)?;
    let uplink = ServiceNetworkProfile { members: arguments.collect(), ..ServiceNetworkProfile::default() };
    let manager = Embedded::default().service_network("uplink", uplink).start().await?;
    let session = manager.session(&manager.find(Some("service-uplink")).await?).await?;
    // From here on it is this program that decides.
    let mut roaming = session.roaming().await?;
    session.open().await?;
    session.wait_for_opened(None).await?.then_some(()).ok_or_else(|| format!("not opened: {:?}", session.error()))?;
    tokio::select! {
        done = download(&session, server, &path, &mut file) => done?,
        () = decide(&mut roaming, server) => return Err("the service has ended".into()),
    }
    session.close().await?;
    manager.shutdown().await;
    Ok(())
}

/// Tries what is offered. What is downloaded meanwhile still comes by the old link.
async fn decide(roaming: &mut Roaming, server: SocketAddr) {
    while let Some(offer) = roaming.next().await {
        let Ok(trial) = offer.migrate().await else { continue };
        match trial.test_tcp(server, Duration::from_secs(3)).await {
            // Aborts the connections that were left behind. A trial that has ended by itself is no reason to stop.
            Ok(()) => println!("taken: {:?}", trial.accept().await),
            Err(error) => println!("not taken: {error}; {:?}", trial.reject().await),
        }
    }
}

/// Asks for what is missing until nothing is (RFC 9110 §14).
async fn download(session: &Session, server: SocketAddr, path: &str, file: &mut File) -> Result<(), Box<dyn Error>> {
    let mut events = session.events();
    while let Err(error) = fetch(session, server, path, file).await {
        // Another connection may do better; what the server has answered, it would answer again.
        (error.is::<io::Error>() || error.is::<SocketError>()).then_some(()).ok_or_else(|| error.to_string())?;
        println!("{} bytes are there, then: {error}", file.metadata()?.len());
        while session.state() != SessionState::Connected {
            events.next().await.filter(|_| session.is_open()).ok_or("the session has ended")?;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn fetch(session: &Session, server: SocketAddr, path: &str, file: &mut File) -> Result<(), Box<dyn Error>> {
    let begin = file.metadata()?.len();
    let mut stream = BufReader::new(session.connect_tcp(server).await?);
    println!("from byte {begin}, through {}", session.interface().map(|interface| interface.name).unwrap_or_default());
    let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\nRange: bytes={begin}-\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(stream.read_u8().await?.to_ascii_lowercase().into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    // The whole file instead of a part of it is of use only where nothing is there yet.
    let is_fit = head.split(' ').nth(1).is_some_and(|status| status == "206" || status == "200" && begin == 0);
    let mut left = length.filter(|_| is_fit).ok_or_else(|| format!("no part of a file, but {head}"))?;
    while left > 0 {
        let mut part = vec![0; left.min(1024)];
        stream.read_exact(&mut part).await?;
        file.write_all(&part).map_err(|error| error.to_string())?;
        left -= part.len();
    }
    Ok(())
}
