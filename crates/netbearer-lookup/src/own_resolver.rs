//! Our own questions, by sockets that are bound to an interface: whatever the routes are, they leave there.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use hickory_resolver::{
    Resolver,
    config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts, ServerOrderingStrategy},
    net::{
        NetError,
        runtime::{RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime, iocompat::AsyncIoTokioAsStd},
    },
    proto::rr::Name,
};
use netbearer_types::Interface;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// For a server to take a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of `host` by the servers of this interface, the first server first.
pub(crate) async fn resolve(host: &str, interface: &Interface) -> Result<Vec<IpAddr>, NetError> {
    let servers = interface.name_servers.iter().map(|server| NameServerConfig::udp_and_tcp(*server)).collect();
    let domains = interface.search_domains.iter().filter_map(|domain| Name::from_utf8(domain).ok()).collect();
    let mut options = ResolverOpts::default();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.num_concurrent_reqs = 1;
    options.cache_size = 0;
    let configuration = ResolverConfig::from_parts(None, domains, servers);
    let sockets = BoundSockets { interface: interface.name.clone(), runtime: TokioRuntimeProvider::default() };
    let resolver = Resolver::builder_with_config(configuration, sockets).with_options(options).build()?;
    Ok(resolver.lookup_ip(host).await?.iter().collect())
}

/// Sockets that only use one interface (`SO_BINDTODEVICE`, `socket(7)`).
#[derive(Clone)]
struct BoundSockets {
    interface: String,
    runtime: TokioRuntimeProvider,
}

impl BoundSockets {
    fn open(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        kind: Type,
        protocol: Protocol,
    ) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(server), kind, Some(protocol))?;
        socket.bind_device(Some(self.interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        if let Some(local) = local {
            socket.bind(&local.into())?;
        }
        Ok(socket)
    }
}

impl RuntimeProvider for BoundSockets {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> TokioHandle {
        self.runtime.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        local: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let socket = self.open(server, local, Type::STREAM, Protocol::TCP);
        Box::pin(async move {
            let connecting = TcpSocket::from_std_stream(socket?.into()).connect(server);
            let stream = tokio::time::timeout(timeout.unwrap_or(CONNECT_TIMEOUT), connecting).await;
            let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<UdpSocket>>>> {
        let socket = self.open(server, Some(local), Type::DGRAM, Protocol::UDP);
        Box::pin(async move { UdpSocket::from_std(socket?.into()) })
    }
}
