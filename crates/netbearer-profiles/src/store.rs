use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use netbearer_core::{MatchedProfile, Profiles};
use netbearer_types::{Identifier, Matching};
use rustix::net::{AddressFamily, SocketType, netdevice};

use crate::{
    check::{self, Checked, Contents},
    document::Document,
    mistake::{MistakeKind, Place, ProfileMistake, nearest},
    secrets,
    sources::{self, Source},
    words::{DEFAULT, MAIN, STEERING, Word},
};

/// Of service networks, before the name of the file.
const SERVICE: &str = "service-";
/// Of user choices.
const CHOICE: &str = "choice-";
/// Of access points of the native engine. Which there are, only the engine knows.
const NATIVE: &str = "native-";

/// What files say, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What is in force.
    pub profiles: Profiles,
    /// All mistakes, in the order of files and lines.
    pub mistakes: Vec<ProfileMistake>,
    /// Broken files of which the last good version is in force.
    pub kept: Vec<PathBuf>,
    /// Broken files that never had one, so that nothing of them is in force.
    pub left_out: Vec<PathBuf>,
}

/// Where everything stands.
#[derive(Clone, Debug)]
struct Files {
    /// Profiles by their names; none if they cannot be listed.
    sources: Option<BTreeMap<String, Source>>,
    main: PathBuf,
    steering: PathBuf,
}

/// Files that are to take others' places, and what would be wrong then.
#[derive(Debug, Default)]
struct Proposal {
    /// What it is about, with drop-ins.
    about: BTreeSet<PathBuf>,
    /// Where each would be.
    places: Vec<(PathBuf, PathBuf)>,
    before: Vec<ProfileMistake>,
    after: Vec<ProfileMistake>,
}

impl Proposal {
    fn mistakes(&self) -> Vec<ProfileMistake> {
        let wanted = |mistake: &&ProfileMistake| self.about.contains(&mistake.file) || self.is_new(mistake);
        self.after.iter().filter(wanted).cloned().collect()
    }

    /// Compares them as if all were in their places.
    fn is_new(&self, mistake: &ProfileMistake) -> bool {
        let mut known = mistake.clone();
        for (file, place) in &self.places {
            if known.file == *file {
                known.file.clone_from(place);
            }
            known.problem = known.problem.replace(&*file.to_string_lossy(), &place.to_string_lossy());
        }
        let is_same = |before: &ProfileMistake| {
            (&before.file, before.kind, &before.problem) == (&known.file, known.kind, &known.problem)
        };
        !self.before.iter().any(is_same)
    }
}

/// A device that has several access points, one of which is up at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// What files know it by, as in `interface ap0`.
    pub known_by: String,
    /// The files that make its access points.
    pub files: Vec<String>,
}

impl Reading {
    /// The devices that have several access points, as far as files tell.
    #[must_use]
    pub fn shared(&self) -> Vec<Shared> {
        let exclusive = self.profiles.by_file.values().filter(|file| file.profile.exclusive);
        let devices: BTreeSet<&Matching> = exclusive.map(|file| &file.matching).collect();
        let shared = devices.into_iter().map(|device| {
            let Matching { interface, mac, driver, path } = device;
            let known_by = [("interface", interface), ("mac", mac), ("driver", driver), ("path", path)];
            let known_by = known_by.into_iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?)));
            let files = self.profiles.files_for(device).into_iter().map(str::to_owned);
            Shared { known_by: known_by.collect::<Vec<_>>().join(", "), files: files.collect() }
        });
        shared.filter(|shared| shared.files.len() > 1).collect()
    }
}

/// Reads the configuration directory, and remembers the last good version of each file.
#[derive(Debug, Default)]
pub struct ProfileStore {
    configuration_directory: PathBuf,
    program: Profiles,
    good: BTreeMap<String, Checked>,
    good_default: Option<String>,
}

impl ProfileStore {
    /// Nothing is read yet. `configuration_directory` need not exist.
    #[must_use]
    pub fn new(configuration_directory: &Path) -> Self {
        Self { configuration_directory: configuration_directory.to_owned(), ..Self::default() }
    }

    /// What the program says that runs the service; comes before all files.
    #[must_use]
    pub fn with_program(mut self, program: Profiles) -> Self {
        self.program = program;
        self
    }

    /// Where profiles are.
    #[must_use]
    pub fn profile_directory(&self) -> PathBuf {
        self.configuration_directory.join("profiles.d")
    }

    /// Where the file of a profile is, or would be.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.profile_directory().join(format!("{name}.toml"))
    }

    pub(crate) fn main_file(&self) -> PathBuf {
        self.configuration_directory.join("netbearer.toml")
    }

    pub(crate) fn steering_file(&self) -> PathBuf {
        self.configuration_directory.join("steering.toml")
    }

    /// Reads all files.
    pub fn read(&mut self) -> Reading {
        let mut mistakes = Vec::new();
        let files = self.files(&mut mistakes);
        let (chosen, reading) = self.read_files(&files, mistakes);
        self.good = chosen;
        self.good_default.clone_from(&reading.profiles.default_configuration);
        reading
    }

    fn files(&self, mistakes: &mut Vec<ProfileMistake>) -> Files {
        let sources = sources::find(&self.profile_directory(), mistakes);
        Files { sources, main: self.main_file(), steering: self.steering_file() }
    }

    /// The mistakes of these files, each as if it were in the profile directory under its own name, or where it is `named`
    /// under that; and those that others would have because of them. Drop-ins are those of the file there, else those beside
    /// it; one that is given stands for its file.
    #[must_use]
    pub fn check(&self, given: &[(PathBuf, Option<String>)]) -> Vec<ProfileMistake> {
        self.propose(given).mistakes()
    }

    /// Those of [`Self::check`] that there are not already, in whatever line.
    #[must_use]
    pub fn added_mistakes(&self, given: &[(PathBuf, Option<String>)]) -> Vec<ProfileMistake> {
        let proposal = self.propose(given);
        proposal.mistakes().into_iter().filter(|mistake| proposal.is_new(mistake)).collect()
    }

    /// The mistakes of a profile of this name with this text, and those that others would have because of it.
    #[must_use]
    pub fn check_text(&self, name: &str, text: &str) -> Vec<ProfileMistake> {
        let mut files = self.files(&mut Vec::new());
        let file = self.file(name);
        let sources = files.sources.get_or_insert_default();
        let source = sources.entry(name.to_owned()).or_insert_with(|| Source::alone(&file));
        source.text = Some(text.to_owned());
        let mut proposal =
            Proposal { before: self.mistakes_now(), about: BTreeSet::from([file]), ..Proposal::default() };
        proposal.after = self.read_files(&files, Vec::new()).1.mistakes;
        proposal.mistakes()
    }

    fn propose(&self, given: &[(PathBuf, Option<String>)]) -> Proposal {
        let mut proposal = Proposal { before: self.mistakes_now(), ..Proposal::default() };
        let mut mistakes = Vec::new();
        let mut files = self.files(&mut Vec::new());
        let mut sources = files.sources.take().unwrap_or_default();
        for (file, named) in given {
            let mut others = [&mut files.main, &mut files.steering].into_iter();
            if let Some(other) = others.find(|known| known.file_name() == file.file_name()) {
                other.clone_from(file);
                proposal.about.insert(file.clone());
                continue;
            }
            let file = sources::whole(file);
            let own = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let Some(stem) = named.clone().or(own) else { continue };
            proposal.places.push((file.clone(), self.file(&stem)));
            let source = sources.entry(stem).or_insert_with(|| Source::alone(&file));
            source.file.clone_from(&file);
            if source.drop_ins.is_empty() {
                source.drop_ins = sources::drop_ins(&file, &mut mistakes);
            }
            proposal.about.extend(source.drop_ins.iter().cloned().chain([file]));
        }
        files.sources = Some(sources);
        proposal.after = self.read_files(&files, mistakes).1.mistakes;
        proposal
    }

    fn mistakes_now(&self) -> Vec<ProfileMistake> {
        let mut mistakes = Vec::new();
        let files = self.files(&mut mistakes);
        self.read_files(&files, mistakes).1.mistakes
    }

    fn read_files(&self, files: &Files, mut mistakes: Vec<ProfileMistake>) -> (BTreeMap<String, Checked>, Reading) {
        let is_directory_readable = files.sources.is_some();
        let none = BTreeMap::new();
        let sources = files.sources.as_ref().unwrap_or(&none);
        let fresh: BTreeMap<&String, Option<Checked>> =
            sources.iter().map(|(stem, source)| (stem, read_source(source, &mut mistakes))).collect();
        let mut broken: BTreeSet<&String> = BTreeSet::new();
        let mut chosen = BTreeMap::new();
        for (stem, fresh) in fresh {
            let fresh = fresh.filter(|fresh| match duplicate(fresh, &chosen) {
                Some(mistake) => {
                    mistakes.push(mistake);
                    false
                }
                None => true,
            });
            if fresh.is_none() {
                broken.insert(stem);
            }
            let last_good = || self.good.get(stem).filter(|good| duplicate(good, &chosen).is_none()).cloned();
            if let Some(checked) = fresh.or_else(last_good) {
                chosen.insert(stem.clone(), checked);
            }
        }
        // One that is left out for its own members is still what others mean by its name.
        let known = Known { files: chosen.clone(), sources: sources.keys().map(String::as_str).collect() };
        for (stem, checked) in &known.files {
            let wrong = known.check_list(stem, checked);
            if let Some((stem, _)) = sources.get_key_value(stem).filter(|_| is_broken(&wrong)) {
                broken.insert(stem);
                let last_good = self.good.get(stem).filter(|good| !is_broken(&known.check_list(stem, good)));
                match last_good {
                    Some(good) => chosen.insert(stem.clone(), good.clone()),
                    None => chosen.remove(stem),
                };
            }
            mistakes.extend(wrong);
        }
        let mut reading = Reading::default();
        for stem in broken {
            let list = if chosen.contains_key(stem) { &mut reading.kept } else { &mut reading.left_out };
            list.extend(sources.get(stem).map(|source| source.file.clone()));
        }
        if !is_directory_readable {
            chosen.clone_from(&self.good);
            reading.kept.push(self.profile_directory());
        }
        reading.profiles = self.profiles(&chosen);
        reading.profiles.default_configuration = self.read_default(&files.main, &known, &mut mistakes);
        // What it says is read by whoever starts a service, which is refused with a mistake in it.
        read_plain(&files.steering, STEERING, &mut mistakes);
        mistakes.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        reading.mistakes = mistakes;
        (chosen, reading)
    }

    fn profiles(&self, chosen: &BTreeMap<String, Checked>) -> Profiles {
        let mut profiles = self.program.clone();
        for (stem, checked) in chosen {
            match checked.contents.clone() {
                Contents::AccessPoint(profile) => {
                    profiles.by_file.insert(stem.clone(), *profile);
                }
                Contents::ServiceNetwork(mut network) => {
                    network.name.get_or_insert_with(|| stem.clone());
                    profiles.service_networks.entry(Identifier::new(format!("{SERVICE}{stem}"))).or_insert(network);
                }
                Contents::UserChoice(mut choice) => {
                    choice.name.get_or_insert_with(|| stem.clone());
                    profiles.user_choices.entry(Identifier::new(format!("{CHOICE}{stem}"))).or_insert(choice);
                }
            }
        }
        profiles
    }

    /// What `netbearer.toml` names as default.
    fn read_default(&self, file: &Path, known: &Known<'_>, mistakes: &mut Vec<ProfileMistake>) -> Option<String> {
        let before = mistakes.len();
        let document = read_plain(file, MAIN, mistakes);
        if mistakes.len() > before {
            return self.good_default.clone();
        }
        let default = document.as_ref().and_then(|document| document.outside.get(DEFAULT));
        let named = default?.value.as_str()?;
        if known.resolve(named).is_none() && !known.may_be_there(named) {
            mistakes.push(known.unknown(&default?.place, "the default", named));
        }
        Some(named.to_owned())
    }
}

/// A file without sections; none if there is none.
fn read_plain(file: &Path, words: &[Word], mistakes: &mut Vec<ProfileMistake>) -> Option<Document> {
    if !file.exists() {
        return None;
    }
    let document = Document::parse(file, &sources::read(file, mistakes)?, mistakes);
    check::check_plain_words(&document, words, mistakes);
    Some(document)
}

/// The file with its drop-ins, if nothing is wrong with them.
fn read_source(source: &Source, mistakes: &mut Vec<ProfileMistake>) -> Option<Checked> {
    let before = mistakes.len();
    let mut whole: Option<Document> = None;
    for file in [&source.file].into_iter().chain(&source.drop_ins) {
        let given = source.text.clone().filter(|_| *file == source.file);
        let Some(text) = given.or_else(|| sources::read(file, mistakes)) else { continue };
        let document = Document::parse(file, &text, mistakes);
        check::check_words(&document, mistakes);
        secrets::check(&document, mistakes);
        match &mut whole {
            Some(whole) => whole.merge(document),
            None => whole = Some(document),
        }
    }
    if mistakes.len() > before {
        return None;
    }
    check::understand(&whole?, mistakes)
}

/// Two files that say the same of whom they are for, and are not for one at a time.
fn duplicate(checked: &Checked, chosen: &BTreeMap<String, Checked>) -> Option<ProfileMistake> {
    fn plain(checked: &Checked) -> Option<&MatchedProfile> {
        match &checked.contents {
            Contents::AccessPoint(file) if !file.profile.exclusive => Some(file),
            _ => None,
        }
    }
    let file = plain(checked)?;
    let first = chosen.values().find(|other| plain(other).is_some_and(|other| other.matching == file.matching))?;
    let problem = format!("{} is for the same access point", first.subject.file.display());
    let suggestion = "remove one of both, make this one a drop-in of the other, or write `exclusive = true` in both for one at a time";
    Some(checked.subject.mistake(MistakeKind::Duplicate, problem, suggestion))
}

fn is_broken(mistakes: &[ProfileMistake]) -> bool {
    mistakes.iter().any(|mistake| mistake.breaks_file)
}

/// What names can mean.
struct Known<'a> {
    files: BTreeMap<String, Checked>,
    /// Files, the broken ones too.
    sources: BTreeSet<&'a str>,
}

impl Known<'_> {
    /// What is wrong with members and choices.
    fn check_list(&self, stem: &str, checked: &Checked) -> Vec<ProfileMistake> {
        let (list, role) = match &checked.contents {
            Contents::AccessPoint(_) => return Vec::new(),
            Contents::ServiceNetwork(network) => (&network.members, "member"),
            Contents::UserChoice(choice) => (&choice.choices, "choice"),
        };
        let is_network = matches!(checked.contents, Contents::ServiceNetwork(_));
        let place = &checked.list;
        let cycle = |problem: String, suggestion: &str| Some(place.mistake(MistakeKind::Cycle, problem, suggestion));
        let wrong = list.iter().enumerate().filter_map(|(position, name)| {
            if list.iter().take(position).any(|before| before == name) {
                let problem = format!("\"{name}\" is there twice");
                return Some(place.mistake(MistakeKind::Duplicate, problem, "remove one of both"));
            }
            match self.resolve(name).map(|(found, checked)| (found, &checked.contents)) {
                Some((found, _)) if found == stem => {
                    cycle(format!("\"{name}\" is a {role} of itself"), "remove it from the list")
                }
                Some((_, Contents::ServiceNetwork(_))) if is_network => cycle(
                    format!("\"{name}\" is a service network, and only access points can be members of one"),
                    "name its members instead",
                ),
                Some((_, Contents::UserChoice(_))) => cycle(
                    format!("\"{name}\" is a user choice, which is resolved only when it is opened"),
                    "name what can be chosen there instead",
                ),
                None if !self.may_be_there(name) => Some(self.unknown(place, &format!("the {role}"), name)),
                _ => None,
            }
        });
        wrong.collect()
    }

    /// The file that is meant by its name, or by the identifier of what it is about.
    fn resolve(&self, name: &str) -> Option<(&str, &Checked)> {
        let by_name = self.files.get_key_value(name);
        let by_identifier = || {
            self.files.iter().find(|(stem, checked)| {
                let prefix = match checked.contents {
                    Contents::AccessPoint(_) => return false,
                    Contents::ServiceNetwork(_) => SERVICE,
                    Contents::UserChoice(_) => CHOICE,
                };
                name.strip_prefix(prefix) == Some(stem)
            })
        };
        by_name.or_else(by_identifier).map(|(stem, checked)| (stem.as_str(), checked))
    }

    /// True for a file that is broken, and for what is no file's name.
    fn may_be_there(&self, name: &str) -> bool {
        let file = [SERVICE, CHOICE].into_iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        self.sources.contains(file)
            || name.starts_with(NATIVE)
            || self.interfaces().any(|interface| interface == name)
            || interface_exists(name)
    }

    fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.files.values().filter_map(|checked| match &checked.contents {
            Contents::AccessPoint(profile) => profile.matching.interface.as_deref(),
            _ => None,
        })
    }

    /// It may come later, so the file stays in force.
    fn unknown(&self, place: &Place, role: &str, name: &str) -> ProfileMistake {
        let suggestion = match nearest(name, self.sources.iter().copied().chain(self.interfaces())) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => {
                "name a file of profiles.d without .toml, an identifier of `bearerctl list`, or an interface".to_owned()
            }
        };
        let problem = format!("{role} \"{name}\" is no profile, and there is no interface of that name");
        ProfileMistake { breaks_file: false, ..place.mistake(MistakeKind::Unknown, problem, suggestion) }
    }
}

/// In the network namespace of the calling thread. Where that cannot be told, nobody complains.
fn interface_exists(name: &str) -> bool {
    match rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None) {
        Ok(socket) => netdevice::name_to_index(&socket, name).is_ok(),
        Err(_) => true,
    }
}
