use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, PipeReader},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process::{self, Child, Command},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    thread::{LinkNameSpaceType, gettid, move_into_link_name_space},
};

use crate::{
    LabError, NamespaceCommand,
    deadline::Deadline,
    netlink::ChangeSocket,
    netlink::LinkSocket,
    own_files::OwnFiles,
    sandbox::{is_limit, too_few_network_namespaces},
    server_thread::ServerThread,
    unshare::unshare_network,
};

/// Index of the loopback interface in every namespace.
const LOOPBACK: u32 = 1;

/// An anonymous network namespace, with its loopback interface up and the sysctls of a machine that runs systemd.
///
/// It lives as long as this value, a thread that [entered](Self::enter) it, or a program that was started in it.
///
/// With [files of its own](Self::with_own_files) it is a machine on which whole network managers can run.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    parent: Parent,
}

impl Namespace {
    /// Creates a namespace. The name is for threads and messages; two namespaces may have the same.
    ///
    /// # Errors
    /// [`LabError::System`] without the right to do so.
    pub fn new(name: &str) -> Result<Self, LabError> {
        Self::create(name, Files::Shared)
    }

    /// Creates a namespace whose programs also have files of their own (`/run`, `/var/lib` and what network managers
    /// keep in `/etc`, all empty at first), a host name and process numbers of their own, and for whom the rest of
    /// `/etc` and `/sys` cannot be written: nothing they do touches the machine, and all of them end with the namespace,
    /// with whatever they started.
    ///
    /// # Errors
    /// [`LabError::System`] without the right to do so.
    pub fn with_own_files(name: &str) -> Result<Self, LabError> {
        Self::create(name, Files::Own)
    }

    fn create(name: &str, files: Files) -> Result<Self, LabError> {
        let (parent, file) = Parent::start(name, files).map_err(|refusal| {
            if is_limit(&refusal) {
                return too_few_network_namespaces(refusal);
            }
            LabError::unable_to(format!("create the namespaces of {name}"))(refusal)
        })?;
        let namespace = Self { name: name.to_owned(), file, parent };
        namespace.run(|| {
            LinkSocket::open()?.set_up(LOOPBACK, true)?;
            Ok::<_, io::Error>(())
        })?;
        // systemd's sysctl.d/50-default.conf: loose for every interface there is and will be, but `all`, which would
        // override the interfaces' own values by its maximum, stays 0.
        namespace.set_sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        for interface in ["default", "lo"] {
            namespace.set_sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "2")?;
        }
        Ok(namespace)
    }

    /// The name it was created with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inode number of the namespace, as in `/proc/PID/ns/net` and `lsns`.
    ///
    /// # Errors
    /// [`LabError::System`] if the kernel does not tell.
    pub fn inode(&self) -> Result<u64, LabError> {
        Ok(self.file.metadata().map_err(LabError::unable_to("identify a namespace"))?.ino())
    }

    /// Moves the calling thread into the namespace for good. Threads it starts from then on are inside too.
    ///
    /// # Errors
    /// [`LabError::System`] when the thread has given up the right to do so.
    pub fn enter(&self) -> Result<(), LabError> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(LabError::unable_to(format!("enter the network namespace of {}", self.name)))
    }

    /// Runs `work` inside the namespace, in a thread of its own, and waits for it. Sockets made there stay there.
    ///
    /// Programs belong to [`Self::command`]: here they would not die with the namespace.
    ///
    /// # Errors
    /// Those of `work`; an [`io::Error`] when the namespace cannot be entered.
    pub fn run<T, E>(&self, work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>
    where
        T: Send,
        E: From<io::Error> + Send,
    {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(self.name.clone()).spawn_scoped(scope, || {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .map_err(io::Error::from)?;
                work()
            })?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that serves in the namespace, so that sockets it opens are there.
    pub(crate) fn start_server(
        &self,
        name: &str,
        serve: impl FnOnce(PipeReader) + Send + 'static,
    ) -> io::Result<ServerThread> {
        let file = self.file.try_clone()?;
        ServerThread::start(name, move |stopped| {
            // Who made the namespace may enter it; without it there is nothing to serve.
            if move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).is_ok() {
                drop(file);
                serve(stopped);
            }
        })
    }

    /// A program to be run in the namespace. It is killed when its owner, this value or the whole process ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> NamespaceCommand<'_> {
        NamespaceCommand::new(self, program.as_ref())
    }

    /// How this process reaches a file that the namespace's programs see as `path`, an absolute one.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match self.parent.files {
            Files::Shared => path.to_owned(),
            Files::Own => self.parent.root.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// Writes a file that the namespace's programs see as `path`, and the directories it is in.
    ///
    /// # Errors
    /// [`LabError::System`] if it cannot be written, as when its directory is one the namespace shares with the machine.
    pub fn write_file(&self, path: &str, text: &str) -> Result<(), LabError> {
        let unable = || LabError::unable_to(format!("write {path} for the programs of {}", self.name));
        if self.parent.files == Files::Shared {
            let shared = "the namespace has no files of its own: create it by with_own_files";
            return Err(unable()(io::Error::new(io::ErrorKind::PermissionDenied, shared)));
        }
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(unable())?;
        fs::write(path, text).map_err(unable())
    }

    /// Waits until the text of a file that the namespace's programs see as `path` is wanted; a file that is not there has none.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with its text, once the time has passed; [`LabError::System`] if its directory is not there.
    pub fn wait_for_file(
        &self,
        path: &str,
        within: Duration,
        wanted: impl Fn(Option<&str>) -> bool,
    ) -> Result<(), LabError> {
        wait_for_text(&self.path(path), within, wanted)
    }

    /// Waits until a sysctl of the namespace has this value.
    ///
    /// # Errors
    /// [`LabError::NotSeen`], with its value, once the time has passed; [`LabError::System`] if there is no such sysctl.
    pub fn wait_for_sysctl(&self, name: &str, value: &str, within: Duration) -> Result<(), LabError> {
        let is_so = |text: Option<&str>| text.is_some_and(|text| text.trim() == value);
        self.run(|| wait_for_text(&sysctl_path(name), within, is_so))
    }

    /// The process number that a program started in the namespace sees as its parent's.
    pub(crate) fn parent_of_programs(&self) -> u32 {
        match self.parent.files {
            Files::Shared => process::id(),
            // A parent outside has no number inside.
            Files::Own => 0,
        }
    }

    /// Starts a child process in the namespace.
    pub(crate) fn spawn(&self, command: Command) -> io::Result<Child> {
        self.parent.spawn(command)
    }

    /// Reads a sysctl of the namespace, such as `net/ipv4/conf/all/rp_filter`.
    ///
    /// # Errors
    /// [`LabError::System`] if there is no such sysctl.
    pub fn sysctl(&self, name: &str) -> Result<String, LabError> {
        self.run(|| {
            let value = fs::read_to_string(sysctl_path(name))
                .map_err(LabError::unable_to(format!("read the sysctl {name}")))?;
            Ok(value.trim().to_owned())
        })
    }

    /// Writes a sysctl of the namespace.
    ///
    /// # Errors
    /// [`LabError::System`] if there is no such sysctl or the value is refused.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), LabError> {
        self.run(|| {
            fs::write(sysctl_path(name), value)
                .map_err(LabError::unable_to(format!("set the sysctl {name} to {value}")))
        })
    }

    /// Waits until `check` returns something, asking it again after each change of links, addresses, routes or rules
    /// in the namespace. `what` names it in the error. For what else may come true, something else is to be waited for.
    ///
    /// # Errors
    /// Those of `check`; [`LabError::NotSeen`], with the namespace's addresses and routes, once the time has passed, and
    /// [`LabError::Untold`] if `check` returns something then though nothing has changed.
    pub fn wait_until<T>(
        &self,
        what: &str,
        within: Duration,
        mut check: impl FnMut() -> Result<Option<T>, LabError>,
    ) -> Result<T, LabError> {
        let changes = ChangeSocket::open(self)?;
        let deadline = Deadline::after(within);
        let mut is_told = true;
        loop {
            let over = deadline.has_passed();
            match check()? {
                Some(found) if is_told => return Ok(found),
                Some(_) => return Err(LabError::Untold { what: what.to_owned(), within }),
                None if over => {
                    let seen = self.describe()?;
                    return Err(LabError::NotSeen { what: what.to_owned(), within, seen });
                }
                None => {}
            }
            [is_told] = deadline
                .wait_readable([changes.as_fd()])
                .map_err(LabError::unable_to("wait for a change of the namespace"))?;
            changes.drain();
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn wait_for_text(file: &Path, within: Duration, wanted: impl Fn(Option<&str>) -> bool) -> Result<(), LabError> {
    let unable = || LabError::unable_to(format!("watch {}", file.display()));
    let events = WatchFlags::CREATE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE;
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from);
    let changes = changes.map_err(unable())?;
    let directory = file.parent().unwrap_or(file);
    inotify::add_watch(&changes, directory, events).map_err(io::Error::from).map_err(unable())?;
    let what = || format!("{} as it should be", file.display());
    let deadline = Deadline::after(within);
    let mut is_told = true;
    loop {
        let over = deadline.has_passed();
        let text = fs::read_to_string(file).ok();
        match wanted(text.as_deref()) {
            true if is_told => return Ok(()),
            true => return Err(LabError::Untold { what: what(), within }),
            false if over => {
                return Err(LabError::NotSeen { what: what(), within, seen: text.unwrap_or_default() });
            }
            false => {}
        }
        [is_told] = deadline.wait_readable([changes.as_fd()]).map_err(unable())?;
        // What happened does not matter.
        while rustix::io::read(&changes, &mut [0_u8; 4096]).is_ok_and(|length| length > 0) {}
    }
}

/// `/proc/sys/net` shows the namespace of the thread that looks.
fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// Whether a namespace's programs see the machine's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    Shared,
    Own,
}

/// The thread that created the namespace and is the parent of all programs in it. It must live as long as they may:
/// the death signal of `prctl(2)` is sent when the parent *thread* ends.
#[derive(Debug)]
struct Parent {
    files: Files,
    /// The root directory of the thread, as this process sees it.
    root: PathBuf,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Order {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

impl Parent {
    fn start(name: &str, files: Files) -> io::Result<(Self, File)> {
        let (orders, received) = mpsc::channel::<Order>();
        let (created, creation) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let (created_here, _machine) = match Self::unshare(files) {
                Ok((file, machine)) => (Ok((file, gettid())), machine),
                Err(error) => (Err(error), None),
            };
            if created.send(created_here).is_err() {
                return;
            }
            for mut order in received {
                // A receiver that is gone has no use for the child, and dropping a `Child` leaves it to its death signal.
                let _ = order.reply.send(order.command.spawn());
            }
        })?;
        let (file, id) = creation.recv().map_err(io::Error::other)??;
        let root = format!("/proc/{}/task/{id}/root", process::id()).into();
        Ok((Self { files, root, orders: Some(orders), thread: Some(thread) }, file))
    }

    fn unshare(files: Files) -> io::Result<(File, Option<OwnFiles>)> {
        unshare_network()?;
        let file = File::open("/proc/thread-self/ns/net")?;
        let machine = match files {
            Files::Shared => None,
            Files::Own => Some(OwnFiles::set_up()?),
        };
        Ok((file, machine))
    }

    fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, outcome) = mpsc::channel();
        if let Some(orders) = &self.orders {
            orders.send(Order { command, reply }).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        outcome.recv().map_err(io::Error::other)?
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // Nothing in the thread can panic, and a destructor has nobody to tell.
            let _ = thread.join();
        }
    }
}
