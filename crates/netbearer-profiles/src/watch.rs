use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use netbearer_watch::{DirectoryWatch, WatchedEntries};
use tokio::time::{Instant, sleep_until};

use crate::{
    sources,
    store::{ProfileStore, Reading},
};

/// An editor or a package writes several files, and each in several steps: they are read when it has been quiet for so long.
/// Sessions on what was removed are to hear of it within 50 ms (scenario 13).
const QUIET: Duration = Duration::from_millis(20);
/// Somebody who never ends does not keep everybody else waiting for longer than this.
const LONGEST: Duration = Duration::from_secs(1);
/// Some editors move a file aside before they write it anew. One that is away, with such a copy beside it, is waited for.
const SAVING: Duration = Duration::from_secs(1);
/// The kernel follows no more of them either (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Reads the configuration directory, and again whenever it changes.
#[derive(Debug)]
pub struct ProfileWatch {
    store: ProfileStore,
    watch: DirectoryWatch,
    told: Reading,
    unread: Option<Unread>,
    /// Those that were there when they were read last.
    known: Vec<PathBuf>,
    /// Some of them are being saved; until when they are waited for.
    saving_until: Option<Instant>,
}

/// Changes that have not been read.
#[derive(Clone, Copy, Debug)]
struct Unread {
    due: Instant,
    latest: Instant,
}

impl ProfileWatch {
    /// Goes on from what the store has read last. Changes since then are told as the first ones.
    ///
    /// # Errors
    /// When the user has too many inotify instances.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn open(store: ProfileStore, told: Reading) -> io::Result<Self> {
        let now = Instant::now();
        let known = files(&store);
        let mut watch = DirectoryWatch::open(directories(&store))?;
        watch.arm();
        Ok(Self { store, watch, told, unread: Some(Unread { due: now, latest: now }), known, saving_until: None })
    }

    /// Waits until files say something else than they did, or have other mistakes. May be dropped while waiting.
    ///
    /// # Errors
    /// When the kernel's events cannot be read; nothing more will be told then.
    pub async fn changed(&mut self) -> io::Result<Reading> {
        loop {
            let Some(unread) = self.unread else {
                self.watch.changed().await?;
                let now = Instant::now();
                self.unread = Some(Unread { due: now + QUIET, latest: now + LONGEST });
                continue;
            };
            tokio::select! {
                biased;
                () = sleep_until(unread.due.min(unread.latest)) => {}
                changed = self.watch.changed() => {
                    changed?;
                    self.unread = Some(Unread { due: Instant::now() + QUIET, ..unread });
                    continue;
                }
            }
            // Armed before it is read, so that nothing is missed in between.
            self.watch.want(directories(&self.store));
            self.watch.arm();
            self.unread = self.awaited();
            if self.unread.is_some() {
                continue;
            }
            self.known = files(&self.store);
            let reading = self.store.read();
            if reading != self.told {
                self.told = reading.clone();
                return Ok(reading);
            }
        }
    }
}

impl ProfileWatch {
    /// Files that are being saved are not read before they are there again, or too long away for that.
    fn awaited(&mut self) -> Option<Unread> {
        if !self.known.iter().any(|file| is_being_saved(file)) {
            self.saving_until = None;
            return None;
        }
        let until = *self.saving_until.get_or_insert_with(|| Instant::now() + SAVING);
        (Instant::now() < until).then_some(Unread { due: until, latest: until })
    }
}

/// It is not there, but something that is called after it, as editors call their copies.
fn is_being_saved(file: &Path) -> bool {
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else { return false };
    let name = name.to_string_lossy();
    // As in `ap0.toml~`, `ap0.toml.bak`, `.ap0.toml.swp`, `#ap0.toml#`; its drop-ins are no copy.
    let is_copy = |other: &str| {
        let rest = other.trim_start_matches(['.', '#']).strip_prefix(&*name);
        rest.is_some_and(|rest| !rest.is_empty() && rest != ".d")
    };
    let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
    !file.exists() && entries.any(|entry| is_copy(&entry.file_name().to_string_lossy()))
}

/// Everything that is read.
fn files(store: &ProfileStore) -> Vec<PathBuf> {
    // Their own mistakes are told when they are read.
    let sources = sources::find(&store.profile_directory(), &mut Vec::new()).unwrap_or_default();
    let files = sources.into_values().flat_map(|source| source.drop_ins.into_iter().chain([source.file]));
    files.chain([store.main_file(), store.steering_file()]).filter(|file| file.exists()).collect()
}

fn directories(store: &ProfileStore) -> Vec<(PathBuf, WatchedEntries)> {
    let profiles = store.profile_directory();
    let mut directories = vec![(profiles.clone(), WatchedEntries::All)];
    // Their own mistakes are told when they are read.
    let sources = sources::find(&profiles, &mut Vec::new()).unwrap_or_default();
    let files = sources.values().flat_map(|source| source.drop_ins.iter().chain([&source.file]));
    let files: Vec<PathBuf> = files.cloned().chain([store.main_file(), store.steering_file()]).collect();
    for file in files.into_iter().flat_map(|file| led_by_links(&file)) {
        if let (Some(directory), Some(name)) = (file.parent(), file.file_name()) {
            directories.push((directory.to_owned(), WatchedEntries::only(name)));
        }
    }
    directories.extend(sources.values().map(|source| (sources::drop_in_directory(&source.file), WatchedEntries::All)));
    directories
}

/// A file, and what it leads to if it is a link: that may be changed without the link.
fn led_by_links(file: &Path) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    while let Some(last) = files.last().filter(|_| files.len() <= MOST_LINKS)
        && let Ok(target) = fs::read_link(last)
    {
        let target = last.parent().unwrap_or(Path::new("/")).join(target);
        files.push(target);
    }
    files
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use netbearer_types::Hardware;
    use tokio::time::timeout;

    use super::*;

    /// Much longer than the kernel takes.
    const PATIENCE: Duration = Duration::from_secs(10);

    struct Scene {
        directory: tempfile::TempDir,
        watch: ProfileWatch,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mut store = ProfileStore::new(&directory.path().join("configuration"));
            let told = store.read();
            Self { watch: ProfileWatch::open(store, told).unwrap(), directory }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.directory.path().join("configuration").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        async fn next(&mut self) -> Reading {
            timeout(PATIENCE, self.watch.changed()).await.expect("a change is told").unwrap()
        }
    }

    fn preference(reading: &Reading) -> i32 {
        reading.profiles.profile_of("ap0", &Hardware::default()).preference
    }

    #[tokio::test]
    async fn files_and_drop_ins_are_read_again_when_they_change_and_what_broke_keeps_its_last_good_version() {
        let mut scene = Scene::new();
        scene.write("profiles.d/ap0.toml", "[match]\ninterface = \"ap0\"\n[access_point]\npreference = 1\n");
        assert_eq!(preference(&scene.next().await), 1);
        scene.write("profiles.d/ap0.toml.d/50-more.toml", "[access_point]\npreference = 2\n");
        assert_eq!(preference(&scene.next().await), 2);
        scene.write("profiles.d/ap0.toml.d/50-more.toml", "[access_point]\npreference = \"much\"\n");
        let reading = scene.next().await;
        assert_eq!((preference(&reading), reading.mistakes.len(), reading.kept.len()), (2, 1, 1));
        scene.write("netbearer.toml", "default = \"ap0\"\n");
        assert_eq!(scene.next().await.profiles.default_configuration.as_deref(), Some("ap0"));
        fs::remove_dir_all(scene.directory.path().join("configuration/profiles.d")).unwrap();
        let reading = scene.next().await;
        assert!(reading.profiles.by_file.is_empty(), "{reading:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_moved_aside_while_it_is_saved_was_never_away() {
        let mut scene = Scene::new();
        let text = |preference| format!("[match]\ninterface = \"ap0\"\n[access_point]\npreference = {preference}\n");
        scene.write("profiles.d/ap0.toml", &text(1));
        scene.next().await;
        let path = |name: &str| scene.directory.path().join("configuration/profiles.d").join(name);
        let (file, copy) = (path("ap0.toml"), path("ap0.toml~"));
        fs::rename(&file, &copy).unwrap();
        // Much longer than files have to be quiet before they are read.
        assert!(timeout(10 * QUIET, scene.watch.changed()).await.is_err(), "nothing is told while it is away");
        scene.write("profiles.d/ap0.toml", &text(2));
        assert_eq!(preference(&scene.next().await), 2);
        fs::remove_file(&copy).unwrap();
        fs::remove_file(&file).unwrap();
        let begun = Instant::now();
        assert!(scene.next().await.profiles.by_file.is_empty());
        assert!(begun.elapsed() < SAVING, "what is removed is not waited for");
        scene.write("profiles.d/ap0.toml", &text(3));
        scene.next().await;
        fs::rename(&file, &copy).unwrap();
        assert!(scene.next().await.profiles.by_file.is_empty(), "one that does not come back is removed");
    }

    #[tokio::test]
    async fn what_a_link_leads_to_is_read_again_when_it_is_changed_in_its_place() {
        let mut scene = Scene::new();
        let text = |preference| format!("[match]\ninterface = \"ap0\"\n[access_point]\npreference = {preference}\n");
        scene.write("../elsewhere/office.toml", &text(1));
        scene.write("profiles.d/ap1.toml", "[match]\ninterface = \"ap1\"\n");
        scene.next().await;
        let path = |name: &str| scene.directory.path().join(name);
        // By way of another link, one of both being relative.
        symlink("office.toml", path("elsewhere/link.toml")).unwrap();
        symlink(path("elsewhere/link.toml"), path("configuration/profiles.d/ap0.toml")).unwrap();
        assert_eq!(preference(&scene.next().await), 1);
        scene.write("../elsewhere/office.toml", &text(2));
        assert_eq!(preference(&scene.next().await), 2);
        fs::remove_file(scene.directory.path().join("elsewhere/office.toml")).unwrap();
        let reading = scene.next().await;
        assert_eq!((preference(&reading), reading.kept.len()), (2, 1));
        scene.write("../elsewhere/office.toml", &text(3));
        assert_eq!(preference(&scene.next().await), 3);
    }

    #[tokio::test]
    async fn what_changes_nothing_is_not_told() {
        let mut scene = Scene::new();
        let text = "[match]\ninterface = \"ap0\"\n";
        scene.write("profiles.d/ap0.toml", text);
        scene.next().await;
        scene.write("profiles.d/ap0.toml", text);
        scene.write("profiles.d/ap0.toml~", "not read");
        scene.write("profiles.d/ap1.toml", "[match]\ninterface = \"ap1\"\n");
        let reading = scene.next().await;
        assert_eq!(reading.profiles.by_file.len(), 2);
    }
}
