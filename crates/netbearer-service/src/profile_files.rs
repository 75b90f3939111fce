use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use netbearer_core::Profiles;
use netbearer_types::Profile;
use serde::Deserialize;

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The directory or a file in it could not be read.
    #[error("{path} could not be read", path = path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no profile; the source names line and column.
    #[error("{path} is no profile", path = path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// The file is no plan of tables and marks; the source names line and column.
    #[error("{path} says nothing that tables and marks could be made of", path = path.display())]
    Steering {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// Two files are about the same interface.
    #[error("{first} and {second} are both about the interface {interface}; remove one of them", first = first.display(), second = second.display())]
    Duplicate {
        /// The interface.
        interface: String,
        /// The file read first.
        first: PathBuf,
        /// The file read second.
        second: PathBuf,
    },
}

/// One file of `profiles.d`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(rename = "match")]
    matching: Matching,
    #[serde(default)]
    access_point: Profile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matching {
    interface: String,
}

/// Reads `profiles.d/*.toml` in the order of their names. No directory means no profiles.
///
/// # Errors
/// The first file that is unreadable, malformed or about an interface that another is about.
pub fn read_profiles(configuration_directory: &Path) -> Result<Profiles, ProfileError> {
    let mut profiles = Profiles::default();
    let mut origins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in profile_paths(&configuration_directory.join("profiles.d"))? {
        let text =
            fs::read_to_string(&path).map_err(|source| ProfileError::Unreadable { path: path.clone(), source })?;
        let file: ProfileFile = toml::from_str(&text)
            .map_err(|source| ProfileError::Malformed { path: path.clone(), source: Box::new(source) })?;
        let interface = file.matching.interface;
        if let Some(first) = origins.insert(interface.clone(), path.clone()) {
            return Err(ProfileError::Duplicate { interface, first, second: path });
        }
        profiles.by_interface.insert(interface, file.access_point);
    }
    Ok(profiles)
}

fn profile_paths(directory: &Path) -> Result<Vec<PathBuf>, ProfileError> {
    let unreadable = |source| ProfileError::Unreadable { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netbearer_types::Lifetime;

    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Profiles, ProfileError> {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("profiles.d")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join("profiles.d").join(name), text).unwrap();
        }
        read_profiles(directory.path())
    }

    #[test]
    fn no_directory_means_no_profiles() {
        assert_eq!(read_profiles(Path::new("/nowhere/at/all")).unwrap(), Profiles::default());
    }

    #[test]
    fn what_is_not_written_keeps_its_default() {
        let profiles = read(&[(
            "10-uplink.toml",
            "[match]\ninterface = \"ap0\"\n\n[access_point]\nlifetime = \"on-demand\"\nlinger = \"2s\"\n",
        )])
        .unwrap();
        let profile = profiles.profile("ap0");
        assert_eq!(profile.lifetime, Lifetime::OnDemand);
        assert_eq!(profile.linger, Duration::from_secs(2));
        assert_eq!(profile.connect_timeout, Profile::default().connect_timeout);
        assert_eq!(*profiles.profile("ap1"), Profile::default());
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        let error = read(&[("a.toml", "[match]\ninterface = \"ap0\"\n[access_point]\nlonger = \"2s\"\n")]).unwrap_err();
        assert!(error.to_string().contains("a.toml"), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("line 4") && source.contains("longer") && source.contains("linger"), "{source}");
    }

    #[test]
    fn what_dhcp_servers_are_told_is_checked_when_it_is_read() {
        let with = |line: &str| read(&[("a.toml", &format!("[match]\ninterface = \"ap0\"\n[access_point]\n{line}\n"))]);
        let told = "client_identifier = \"01:02:03\"\nhostname = \"gateway-7\"\nvendor_class = \"netbearer\"";
        let profiles = with(told).unwrap();
        let profile = profiles.profile("ap0");
        assert_eq!(profile.client_identifier.as_ref().unwrap().octets(), [1, 2, 3]);
        assert_eq!(profile.hostname.as_ref().unwrap().as_str(), "gateway-7");
        assert_eq!(profile.vendor_class.as_ref().unwrap().octets(), b"netbearer");
        assert!(profile.rapid_commit && !profile.ipv6_only);
        for (key, wrong) in [
            ("client_identifier", "\"laptop\""),
            ("client_identifier", "\"01\""),
            ("hostname", "\"two words\""),
            ("vendor_class", "\"\""),
            ("rapid_commit", "\"no\""),
            ("announced_routes", "\"everywhere\""),
        ] {
            let error = with(&format!("{key} = {wrong}")).unwrap_err();
            assert!(matches!(&error, ProfileError::Malformed { path, .. } if path.ends_with("a.toml")), "{error}");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains("line 4") && source.contains(key), "{source}");
        }
    }

    #[test]
    fn two_files_about_one_interface_are_refused() {
        let text = "[match]\ninterface = \"ap0\"\n";
        let error = read(&[("a.toml", text), ("b.toml", text)]).unwrap_err();
        assert!(matches!(&error, ProfileError::Duplicate { interface, .. } if interface == "ap0"), "{error}");
    }
}
