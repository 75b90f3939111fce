use std::{
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use netbearer_lab::{AccessPoint, AccessPointPlan, Lab, Record};

use super::{
    dhcp_socket::{Acquisition, DhcpSocket, Lease},
    netlink_socket::{Change, NetlinkSocket},
};
use crate::{
    cut::cut_under,
    error::BenchError,
    our_machine::{ACCESS_POINT, DEADLINE},
};

/// [`ACCESS_POINT`], as the kernel takes it.
const INTERFACE: [u8; 4] = *b"ap0\0";

/// A lab with one access point, and the floor's sockets on its machine. All of them are open before anything is measured.
pub(crate) struct FloorMachine {
    requests: NetlinkSocket,
    links: NetlinkSocket,
    dhcp: DhcpSocket,
    lease: Option<Lease>,
    index: u32,
    lab: Lab,
}

/// How long the floor took to know of a loss.
pub(crate) struct FloorLoss {
    /// Until the thread that listens to the kernel knew.
    pub(crate) heard: Duration,
    /// Until another thread, that waited for that one, knew.
    pub(crate) handed_over: Duration,
}

impl FloorMachine {
    pub(crate) fn new(plan: AccessPointPlan) -> Result<Self, BenchError> {
        // A UDP socket hears no answer that comes from where there is no route to yet, unless the filter is off. Packet
        // sockets, which ours are, hear everything.
        let lab = Lab::builder().access_point(plan).reverse_path_filter(0).build()?;
        let access_point = lab.access_point(ACCESS_POINT)?;
        let (index, hardware_address) = (access_point.index(), access_point.hardware_address());
        let (requests, links, dhcp) = lab.machine().run(|| {
            Ok::<_, io::Error>((
                NetlinkSocket::for_requests()?,
                NetlinkSocket::for_links()?,
                DhcpSocket::open(ACCESS_POINT, hardware_address)?,
            ))
        })?;
        Ok(Self { requests, links, dhcp, lease: None, index, lab })
    }

    fn access_point(&self) -> Result<&AccessPoint, BenchError> {
        Ok(self.lab.access_point(ACCESS_POINT)?)
    }

    /// What Opened means, and nothing else: link up, carrier, DHCP messages, address, routes, rules. How long that took.
    pub(crate) fn open(&mut self, acquisition: Acquisition) -> Result<Duration, BenchError> {
        self.links.drain();
        let start = Instant::now();
        self.set_up(true)?;
        let lease = self.dhcp.acquire(acquisition)?;
        self.requests.add_address(self.index, lease.address, lease.prefix_length)?;
        self.requests.add_default_route(self.index, lease.gateway)?;
        self.requests.steer(Change::Add, self.index, INTERFACE, lease)?;
        let took = start.elapsed();
        self.lease = Some(lease);
        Ok(took)
    }

    /// The lease given back or remembered, rules, routes, address, link down. How long that took.
    pub(crate) fn close(&mut self, acquisition: Acquisition) -> Result<Duration, BenchError> {
        self.links.drain();
        let start = Instant::now();
        if let Some(lease) = self.lease.take() {
            if acquisition != Acquisition::Remembered {
                self.dhcp.release(lease)?;
            }
            self.requests.steer(Change::Remove, self.index, INTERFACE, lease)?;
            self.requests.delete_default_route(self.index, lease.gateway)?;
            self.requests.delete_address(self.index, lease.address, lease.prefix_length)?;
        }
        self.requests.set_link_up(self.index, false)?;
        self.links.wait_for_up(self.index, false, DEADLINE)?;
        Ok(start.elapsed())
    }

    /// The log of its DHCP server.
    pub(crate) fn dhcp_log(&self) -> Result<&Record<String>, BenchError> {
        Ok(self.access_point()?.dhcp_log()?)
    }

    /// Sets the link up and waits for its carrier.
    pub(crate) fn set_up(&mut self, carrier: bool) -> Result<(), BenchError> {
        self.requests.set_link_up(self.index, true)?;
        Ok(self.links.wait_for_carrier(self.index, carrier, DEADLINE)?)
    }

    /// Cuts the carrier while one thread listens to the kernel and another waits for what it hears, as the readers of
    /// events do. The carrier is back afterwards.
    pub(crate) fn lose_carrier(&mut self) -> Result<FloorLoss, BenchError> {
        self.links.drain();
        let (index, links, access_point) = (self.index, &mut self.links, self.lab.access_point(ACCESS_POINT)?);
        let (hand_over, handed_over) = mpsc::channel();
        let (read, is_read) = mpsc::channel::<()>();
        let (start, [heard, handed_over]) = thread::scope(|scope| {
            scope.spawn(move || {
                let heard = links.wait_for_carrier(index, false, DEADLINE).map(|()| Instant::now());
                // A reader that is gone has failed, and says so itself.
                let _ = hand_over.send(heard);
                // The end of a thread is work for the kernel, on a processor that the reader may need.
                let _ = is_read.recv();
            });
            let cut = cut_under(access_point, None, || {
                let heard = handed_over.recv();
                (heard, Instant::now())
            });
            drop(read);
            let (start, (heard, handed_over)) = cut?;
            let heard = heard.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
            Ok::<_, BenchError>((start, [heard, handed_over]))
        })?;
        self.access_point()?.restore()?;
        self.links.wait_for_carrier(self.index, true, DEADLINE)?;
        Ok(FloorLoss { heard: heard - start, handed_over: handed_over - start })
    }
}
