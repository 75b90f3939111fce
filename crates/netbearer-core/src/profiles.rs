use std::collections::BTreeMap;

use netbearer_types::{
    AccessPointReport, Hardware, Identifier, Matching, Profile, ServiceNetworkProfile, UserChoiceProfile,
};

/// What administrators have said of access points, and what else sessions can be opened on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// For every access point without a profile of its own.
    pub default: Profile,
    /// By interface name: what the program says that runs the service. Comes before all others.
    pub by_interface: BTreeMap<String, Profile>,
    /// What files say, by the names of the files.
    pub by_file: BTreeMap<String, MatchedProfile>,
    /// Service networks.
    pub service_networks: BTreeMap<Identifier, ServiceNetworkProfile>,
    /// User choices.
    pub user_choices: BTreeMap<Identifier, UserChoiceProfile>,
    /// What a program without wishes of its own should open: the name of a file, an identifier or an interface name.
    pub default_configuration: Option<String>,
}

/// A profile, and whom it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchedProfile {
    /// Which access points.
    pub matching: Matching,
    /// How they are brought up and kept.
    pub profile: Profile,
}

impl Profiles {
    /// The profile of an access point: the most specific one that covers it ([`Matching::specificity`]).
    #[must_use]
    pub fn profile(&self, access_point: &AccessPointReport) -> &Profile {
        self.profile_of(&access_point.name, &access_point.hardware)
    }

    /// The profile of the access point whose interface is `interface_name`, and whose hardware is this.
    #[must_use]
    pub fn profile_of(&self, interface_name: &str, hardware: &Hardware) -> &Profile {
        let own = self.by_interface.get(interface_name);
        own.or_else(|| Some(&self.file_of(interface_name, hardware)?.1.profile)).unwrap_or(&self.default)
    }

    /// True if `name` means this access point where administrators write it: as a member, a choice, or the default. That is
    /// the name of the file that its profile is from, its identifier, or its interface name.
    #[must_use]
    pub fn means(&self, name: &str, access_point: &AccessPointReport) -> bool {
        match self.by_file.get(name) {
            // A file's name is before an interface that is called the same.
            Some(_) => {
                let file = self.file_of(&access_point.name, &access_point.hardware);
                file.is_some_and(|(file, _)| file == name)
            }
            None => access_point.identifier.as_str() == name || access_point.name == name,
        }
    }

    fn file_of(&self, interface_name: &str, hardware: &Hardware) -> Option<(&String, &MatchedProfile)> {
        let covering = self.by_file.iter().filter(|(_, file)| file.matching.covers(interface_name, hardware));
        covering.max_by_key(|(_, file)| file.matching.specificity())
    }
}

#[cfg(test)]
mod tests {
    use netbearer_types::{BearerType, Level, SteeringLevel};

    use super::*;

    fn report(name: &str, address: &str) -> AccessPointReport {
        AccessPointReport {
            identifier: Identifier::new(format!("native-{name}")),
            name: name.to_owned(),
            bearer_type: BearerType::Ethernet,
            hardware: Hardware { address: Some(address.to_owned()), ..Hardware::default() },
            cannot_start_and_stop: None,
            counts_traffic: true,
            level: Level::Absent,
            steering: SteeringLevel::default(),
            progress: None,
        }
    }

    fn preferring(matching: Matching, preference: i32) -> MatchedProfile {
        MatchedProfile { matching, profile: Profile { preference, ..Profile::default() } }
    }

    #[test]
    fn the_most_specific_profile_counts_and_what_the_program_says_before_all() {
        let by_name = Matching { interface: Some("ap0".into()), ..Matching::default() };
        let by_address = Matching { mac: Some("02:00:00:00:00:01".into()), ..Matching::default() };
        let by_file = [("office".to_owned(), preferring(by_name, 1)), ("card".to_owned(), preferring(by_address, 2))];
        let mut profiles = Profiles { by_file: by_file.into(), ..Profiles::default() };
        let (card, other) = (report("ap0", "02:00:00:00:00:01"), report("ap0", "02:00:00:00:00:02"));
        assert_eq!(profiles.profile(&card).preference, 2);
        assert_eq!(profiles.profile(&other).preference, 1);
        assert_eq!(profiles.profile(&report("ap1", "02:00:00:00:00:03")).preference, 0);
        assert!(profiles.means("card", &card) && !profiles.means("office", &card));
        assert!(
            profiles.means("office", &other) && profiles.means("ap0", &other) && profiles.means("native-ap0", &other)
        );
        profiles.by_interface.insert("ap0".to_owned(), Profile { preference: 3, ..Profile::default() });
        assert_eq!(profiles.profile(&card).preference, 3);
    }
}
