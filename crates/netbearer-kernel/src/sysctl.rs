use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The longest interface name, `IFNAMSIZ` of `linux/if.h` less the final zero.
const LONGEST_NAME: usize = 15;
/// More than any number of the kernel's has, in octets.
const LONGEST_NUMBER: usize = 32;

/// A setting of one interface (the kernel's `ip-sysctl`). Values are the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sysctl {
    /// `rp_filter`: 0 none, 1 strict, 2 loose (RFC 3704). The greater of this and `all`'s counts.
    ReversePathFilter,
    /// `arp_ignore`: 1 answers ARP only for addresses of the interface itself. The greater of this and `all`'s counts.
    ArpIgnore,
    /// `arp_announce`: 2 asks only with addresses of the interface itself. The greater of this and `all`'s counts.
    ArpAnnounce,
    /// `accept_ra`: 0 ignores router advertisements, 1 accepts them unless the machine is a router, 2 always.
    AcceptRouterAdvertisements,
    /// `accept_ra_defrtr`: 1 makes default routes of them.
    AcceptDefaultRouter,
    /// `ra_defrtr_metric`: the metric of these default routes, 1 or more (Linux 5.12).
    DefaultRouterMetric,
    /// `accept_ra_rt_info_max_plen`: the longest prefix of a route in them that is accepted (RFC 4191), 0 for none but the
    /// default route.
    AcceptRouteInformation,
    /// `optimistic_dad`: 1 lets addresses be used before duplicate address detection has ended (RFC 4429). The greater of
    /// this and `all`'s counts.
    OptimisticDad,
    /// `use_optimistic`: 1 lets such addresses be chosen as a source like others. The greater of this and `all`'s counts.
    UseOptimistic,
    /// `addr_gen_mode`: how link-local and autoconfigured addresses are made. 0 from the hardware address, 1 not at all, 2
    /// from a set secret, 3 from a random one (RFC 7217).
    AddressGenerationMode,
    /// `disable_ipv6`: 1 takes IPv6 away from the interface, with all its addresses and routes.
    DisableIpv6,
}

/// A setting of an interface cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysctlError {
    /// The name cannot be one of an interface, or stands for several of them.
    #[error("{interface:?} is no name of an interface; give the one that `ip link` shows")]
    NotAName {
        /// The name.
        interface: String,
    },
    /// There is no such interface in the network namespace of the calling thread, or it has no IP.
    #[error("cannot use {sysctl} of {interface}: there is no such interface in this network namespace")]
    NoInterface {
        /// The interface.
        interface: String,
        /// The setting.
        sysctl: Sysctl,
    },
    /// This kernel does not have it: it is too old, or was built without IPv6.
    #[error("cannot use {sysctl} of {interface}: this kernel has no such setting")]
    Absent {
        /// The interface.
        interface: String,
        /// The setting.
        sysctl: Sysctl,
    },
    /// `CAP_NET_ADMIN` is missing in the network namespace, or `/proc/sys` is read-only.
    #[error("may not change {sysctl} of {interface}; it takes CAP_NET_ADMIN and a writable /proc/sys")]
    NotPermitted {
        /// The interface.
        interface: String,
        /// The setting.
        sysctl: Sysctl,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take this value.
    #[error("the kernel refuses {value} for {sysctl} of {interface}")]
    Refused {
        /// The interface.
        interface: String,
        /// The setting.
        sysctl: Sysctl,
        /// The value.
        value: i64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something else went wrong.
    #[error("cannot use {sysctl} of {interface}")]
    System {
        /// The interface.
        interface: String,
        /// The setting.
        sysctl: Sysctl,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Sysctl {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ReversePathFilter,
        Self::ArpIgnore,
        Self::ArpAnnounce,
        Self::AcceptRouterAdvertisements,
        Self::AcceptDefaultRouter,
        Self::DefaultRouterMetric,
        Self::AcceptRouteInformation,
        Self::OptimisticDad,
        Self::UseOptimistic,
        Self::AddressGenerationMode,
        Self::DisableIpv6,
    ];

    /// The folder of its family, and its name there.
    const fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::ReversePathFilter => ("ipv4", "rp_filter"),
            Self::ArpIgnore => ("ipv4", "arp_ignore"),
            Self::ArpAnnounce => ("ipv4", "arp_announce"),
            Self::AcceptRouterAdvertisements => ("ipv6", "accept_ra"),
            Self::AcceptDefaultRouter => ("ipv6", "accept_ra_defrtr"),
            Self::DefaultRouterMetric => ("ipv6", "ra_defrtr_metric"),
            Self::AcceptRouteInformation => ("ipv6", "accept_ra_rt_info_max_plen"),
            Self::OptimisticDad => ("ipv6", "optimistic_dad"),
            Self::UseOptimistic => ("ipv6", "use_optimistic"),
            Self::AddressGenerationMode => ("ipv6", "addr_gen_mode"),
            Self::DisableIpv6 => ("ipv6", "disable_ipv6"),
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, name) = self.place();
        write!(formatter, "{family} {name}")
    }
}

/// The settings of one interface. The file of each that was used stays open: opening it takes several times longer than
/// reading it.
#[derive(Debug)]
pub struct Sysctls {
    interface: String,
    opened: BTreeMap<Sysctl, File>,
}

impl Sysctls {
    /// Those of an interface in the network namespace of the thread that uses one first: `/proc/sys/net` shows that one.
    /// Opens nothing yet.
    #[must_use]
    pub fn of(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), opened: BTreeMap::new() }
    }

    /// The interface name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Reads a setting.
    ///
    /// # Errors
    /// [`SysctlError`]; that something is not permitted does not happen to readers.
    pub fn read(&mut self, sysctl: Sysctl) -> Result<i64, SysctlError> {
        let path = path(&self.interface, sysctl)?;
        let read = match self.with_file(sysctl, &path, number) {
            Err(error) if is_refusal(&error) => File::open(path).and_then(|file| number(&file)),
            read => read,
        };
        read.map_err(|error| explain(error, &self.interface, sysctl))
    }

    /// Writes a setting whose old value does not matter, or is known.
    ///
    /// # Errors
    /// [`SysctlError`].
    pub fn overwrite(&mut self, sysctl: Sysctl, value: i64) -> Result<(), SysctlError> {
        let path = path(&self.interface, sysctl)?;
        let text = value.to_string();
        match self.with_file(sysctl, &path, |file| file.write_all_at(text.as_bytes(), 0)) {
            Ok(()) => Ok(()),
            Err(source) if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::ERANGE)) => {
                Err(SysctlError::Refused { interface: self.interface.clone(), sysctl, value, source })
            }
            Err(source) => Err(explain(source, &self.interface, sysctl)),
        }
    }

    fn with_file<T>(&mut self, sysctl: Sysctl, path: &Path, act: impl Fn(&File) -> io::Result<T>) -> io::Result<T> {
        if let Some(file) = self.opened.get(&sysctl) {
            match act(file) {
                // The file is of an interface that has gone, or had this name; another one may have it now.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => drop(self.opened.remove(&sysctl)),
                done => return done,
            }
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let done = act(&file);
        self.opened.insert(sysctl, file);
        done
    }
}

fn number(file: &File) -> io::Result<i64> {
    let mut text = [0; LONGEST_NUMBER];
    let length = file.read_at(&mut text, 0)?;
    let number = str::from_utf8(text.get(..length).unwrap_or_default()).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads a setting of an interface in the network namespace of the calling thread: `/proc/sys/net` shows that one.
///
/// # Errors
/// As [`Sysctls::read`].
pub fn read_sysctl(interface: &str, sysctl: Sysctl) -> Result<i64, SysctlError> {
    let path = path(interface, sysctl)?;
    File::open(path).and_then(|file| number(&file)).map_err(|error| explain(error, interface, sysctl))
}

/// The reverse-path filter that really works on an interface: the greater of its own value and that of `all`
/// ([`Sysctl::ReversePathFilter`]).
///
/// # Errors
/// As [`read_sysctl`].
pub fn effective_reverse_path_filter(interface: &str) -> Result<i64, SysctlError> {
    let own = read_sysctl(interface, Sysctl::ReversePathFilter)?;
    // Without it there would be no interface's either.
    let of_all = fs::read_to_string("/proc/sys/net/ipv4/conf/all/rp_filter");
    let of_all = of_all.ok().and_then(|text| text.trim().parse().ok());
    Ok(own.max(of_all.unwrap_or(own)))
}

/// Writes a setting of an interface in the network namespace of the calling thread. Returns its old value, for whoever wants
/// to restore it; nothing is written if it is the same.
///
/// # Errors
/// [`SysctlError`].
pub fn write_sysctl(interface: &str, sysctl: Sysctl, value: i64) -> Result<i64, SysctlError> {
    let mut sysctls = Sysctls::of(interface);
    let old = sysctls.read(sysctl)?;
    if old != value {
        sysctls.overwrite(sysctl, value)?;
    }
    Ok(old)
}

fn path(interface: &str, sysctl: Sysctl) -> Result<PathBuf, SysctlError> {
    let (_, name) = sysctl.place();
    Ok(folder(interface, sysctl)?.join(name))
}

/// The kernel's own rule for names (`dev_valid_name` of `net/core/dev.c`), less the two that stand for all interfaces and for
/// those to come. So the name is one component of a path, and no special one.
fn folder(interface: &str, sysctl: Sysctl) -> Result<PathBuf, SysctlError> {
    let forbidden = |octet: u8| matches!(octet, b'/' | b':' | 0 | 0x0b) || octet.is_ascii_whitespace();
    let is_name = (1..=LONGEST_NAME).contains(&interface.len())
        && !matches!(interface, "." | ".." | "all" | "default")
        && !interface.bytes().any(forbidden);
    if !is_name {
        return Err(SysctlError::NotAName { interface: interface.to_owned() });
    }
    let (family, _) = sysctl.place();
    Ok(PathBuf::from("/proc/sys/net").join(family).join("conf").join(interface))
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::EROFS))
}

fn explain(source: io::Error, interface: &str, sysctl: Sysctl) -> SysctlError {
    let interface = interface.to_owned();
    if is_refusal(&source) {
        return SysctlError::NotPermitted { interface, sysctl, source };
    }
    match source.raw_os_error() {
        Some(libc::ENOENT) => {
            let has_settings =
                |family| PathBuf::from("/proc/sys/net").join(family).join("conf").join(&interface).exists();
            // Without IPv6 in the kernel, an interface has the folder of IPv4 only.
            if has_settings("ipv4") || has_settings("ipv6") {
                SysctlError::Absent { interface, sysctl }
            } else {
                SysctlError::NoInterface { interface, sysctl }
            }
        }
        Some(libc::ENODEV | libc::ENXIO) => SysctlError::NoInterface { interface, sysctl },
        _ => SysctlError::System { interface, sysctl, source },
    }
}
