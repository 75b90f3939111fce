//! Downloads a file, and goes on with it on a better network, once that has been tried: the server must be reached by it.
//!
//! `cargo run -p netbearer --example roaming_download -- 192.0.2.1:80 /file file eth0 wwan0`

use std::{convert::Infallible, error::Error, fs::File, io::Write, net::SocketAddr, time::Duration};

use netbearer::{Embedded, Roaming, ServiceNetworkProfile, Session, SessionState};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

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
        ended = decide(&mut roaming, server) => match ended? {},
    }
    session.close().await?;
    manager.shutdown().await;
    Ok(())
}

/// Tries what is offered. What is downloaded meanwhile still comes by the old link.
async fn decide(roaming: &mut Roaming, server: SocketAddr) -> Result<Infallible, Box<dyn Error>> {
    while let Some(offer) = roaming.next().await {
        println!("offered {}", offer.configuration);
        match offer.migrate().await {
            Ok(trial) => match trial.test_tcp(server, Duration::from_secs(3)).await {
                // The connections that were left behind are aborted by that.
                Ok(()) => trial.accept().await?,
                Err(error) => println!("not taken: {error}; {:?}", trial.reject().await),
            },
            Err(error) => println!("{error}"),
        }
    }
    Err("the service has ended".into())
}

/// Asks for what is missing until nothing is (RFC 9110 §14).
async fn download(session: &Session, server: SocketAddr, path: &str, file: &mut File) -> Result<(), Box<dyn Error>> {
    let mut events = session.events();
    while let Err(error) = fetch(session, server, path, file).await {
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
    let (mut head, mut left) = (String::new(), None);
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {
        left = left.or_else(|| head.lines().last()?.strip_prefix("Content-Length: ")?.parse::<u64>().ok());
    }
    let mut left = left.filter(|_| head.contains(" 206 ")).ok_or_else(|| format!("no part of a file, but {head}"))?;
    let mut chunk = [0; 4096];
    while left > 0 {
        let length = stream.read(&mut chunk).await?;
        file.write_all(chunk.get(..length).filter(|chunk| !chunk.is_empty()).ok_or("the server ended it")?)?;
        left -= u64::try_from(length)?;
    }
    Ok(())
}
