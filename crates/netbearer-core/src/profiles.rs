use std::{collections::BTreeMap, time::Duration};

use netbearer_types::{
    AccessPointReport, Hardware, Identifier, Matching, Profile, ServiceNetworkProfile, UserChoiceProfile,
};

use crate::access_point::AccessPoint;

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
    /// The profile of an access point: the most specific one that covers it ([`Matching::specificity`]), exclusive ones aside.
    #[must_use]
    pub fn profile(&self, access_point: &AccessPointReport) -> &Profile {
        self.profile_of(&access_point.name, &access_point.hardware)
    }

    /// The profile of the access point whose interface is `interface_name`, and whose hardware is this.
    #[must_use]
    pub fn profile_of(&self, interface_name: &str, hardware: &Hardware) -> &Profile {
        self.own_profile_of(interface_name, hardware).unwrap_or(&self.default)
    }

    /// How long a better member of a service network must have been there before a session is moved to it.
    pub(crate) fn settle(&self, network: &Identifier) -> Duration {
        self.service_networks.get(network).map_or(Duration::ZERO, |profile| profile.settle)
    }

    /// How long the link that was left is kept after a forced roam.
    pub(crate) fn roam_linger(&self, network: &Identifier) -> Duration {
        self.service_networks.get(network).map_or(Duration::ZERO, |profile| profile.roam_linger)
    }

    /// The exclusive profiles for a device with the names of their files. Each makes an access point of its own there.
    pub fn exclusive_of<'a, 'b>(
        &'a self,
        interface_name: &'b str,
        hardware: &'b Hardware,
    ) -> impl Iterator<Item = (&'a str, &'a Profile)> + use<'a, 'b> {
        let covering = self.covering(interface_name, hardware).filter(|(_, file)| file.profile.exclusive);
        covering.map(|(name, file)| (name.as_str(), &file.profile))
    }

    /// True if a device has an access point beside its exclusive ones: if a profile that is not exclusive is for it, or none
    /// that is.
    #[must_use]
    pub fn has_plain(&self, interface_name: &str, hardware: &Hardware) -> bool {
        self.own_profile_of(interface_name, hardware).is_some()
            || self.exclusive_of(interface_name, hardware).next().is_none()
    }

    /// The files that make access points of a device which is known by this alone: the most specific one that is not exclusive,
    /// if there is any, and the exclusive ones.
    #[must_use]
    pub fn files_for(&self, matching: &Matching) -> Vec<&str> {
        let Matching { interface, mac, driver, path } = matching.clone();
        let (interface_name, hardware) = (interface.unwrap_or_default(), Hardware { address: mac, driver, path });
        let plain = self.file_of(&interface_name, &hardware).map(|(file, _)| file.as_str());
        let mut files: Vec<&str> = plain.into_iter().collect();
        files.extend(self.exclusive_of(&interface_name, &hardware).map(|(file, _)| file));
        files
    }

    /// True if some access point of a device wants its carrier to be asked for all the time.
    #[must_use]
    pub fn watches_carrier(&self, interface_name: &str, hardware: &Hardware) -> bool {
        let plain = self.profile_of(interface_name, hardware).carrier_watch;
        plain || self.exclusive_of(interface_name, hardware).any(|(_, profile)| profile.carrier_watch)
    }

    /// The profile that makes this access point; none if none does any more.
    pub(crate) fn profile_for(&self, access_point: &AccessPoint) -> Option<&Profile> {
        let AccessPointReport { name, hardware, .. } = &access_point.report;
        match &access_point.file {
            Some(own) => self.exclusive_of(name, hardware).find(|(file, _)| file == own).map(|(_, profile)| profile),
            None => Some(self.profile_of(name, hardware)),
        }
    }

    /// How much the exclusive file says of one piece of hardware ([`Matching::specificity`]).
    pub(crate) fn specificity(&self, file: &str) -> u8 {
        self.by_file.get(file).map_or(0, |file| file.matching.specificity())
    }

    /// True if `name` means this access point where administrators write it: as a member, a choice, or the default. That is
    /// the name of the file that its profile is from, its identifier, or its interface name. An interface that has only
    /// exclusive access points is each of them.
    pub(crate) fn means(&self, name: &str, access_point: &AccessPoint) -> bool {
        let AccessPointReport { name: interface_name, hardware, .. } = &access_point.report;
        match (self.by_file.get(name), &access_point.file) {
            // A file's name is before an interface that is called the same.
            (Some(file), own) if file.profile.exclusive => own.as_deref() == Some(name),
            (Some(_), Some(_)) => false,
            (Some(_), None) => self.file_of(interface_name, hardware).is_some_and(|(file, _)| file == name),
            (None, None) => access_point.identifier().as_str() == name || interface_name == name,
            (None, Some(_)) => {
                let is_device = interface_name == name || access_point.device.as_str() == name;
                access_point.identifier().as_str() == name || is_device && !self.has_plain(interface_name, hardware)
            }
        }
    }

    fn own_profile_of(&self, interface_name: &str, hardware: &Hardware) -> Option<&Profile> {
        let own = self.by_interface.get(interface_name);
        own.or_else(|| Some(&self.file_of(interface_name, hardware)?.1.profile))
    }

    fn file_of(&self, interface_name: &str, hardware: &Hardware) -> Option<(&String, &MatchedProfile)> {
        let covering = self.covering(interface_name, hardware).filter(|(_, file)| !file.profile.exclusive);
        covering.max_by_key(|(_, file)| file.matching.specificity())
    }

    fn covering<'a, 'b>(
        &'a self,
        interface_name: &'b str,
        hardware: &'b Hardware,
    ) -> impl Iterator<Item = (&'a String, &'a MatchedProfile)> + use<'a, 'b> {
        self.by_file.iter().filter(move |(_, file)| file.matching.covers(interface_name, hardware))
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
        let means = |name: &str, report: &AccessPointReport| {
            profiles.means(name, &AccessPoint::new(report.clone(), profiles.profile(report).clone()))
        };
        assert!(means("card", &card) && !means("office", &card));
        assert!(means("office", &other) && means("ap0", &other) && means("native-ap0", &other));
        profiles.by_interface.insert("ap0".to_owned(), Profile { preference: 3, ..Profile::default() });
        assert_eq!(profiles.profile(&card).preference, 3);
    }

    #[test]
    fn exclusive_profiles_are_access_points_of_their_own_and_an_interface_is_the_plain_one_if_there_is_one() {
        let exclusive = |preference| {
            let matching = Matching { interface: Some("ap0".into()), ..Matching::default() };
            let profile = Profile { preference, exclusive: true, ..Profile::default() };
            MatchedProfile { matching, profile }
        };
        let by_file = [("home".to_owned(), exclusive(1)), ("office".to_owned(), exclusive(2))];
        let mut profiles = Profiles { by_file: by_file.into(), ..Profiles::default() };
        let (report, hardware) = (report("ap0", "02:00:00:00:00:01"), Hardware::default());
        let files = |profiles: &Profiles| {
            profiles.exclusive_of("ap0", &hardware).map(|(file, _)| file.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(files(&profiles), ["home", "office"]);
        assert!(!profiles.has_plain("ap0", &hardware) && profiles.has_plain("ap1", &hardware));
        assert_eq!(profiles.profile_of("ap0", &hardware).preference, 0, "they are nobody else's profile");
        let home = AccessPoint::exclusive(report.clone(), "home", profiles.by_file["home"].profile.clone());
        let plain = AccessPoint::new(report, Profile::default());
        assert_eq!(home.identifier().as_str(), "native-ap0/home");
        for name in ["home", "ap0", "native-ap0", "native-ap0/home"] {
            assert!(profiles.means(name, &home), "{name}");
        }
        assert!(!profiles.means("office", &home) && !profiles.means("office", &plain));
        let matching = Matching { interface: Some("ap0".into()), ..Matching::default() };
        profiles.by_file.insert("card".to_owned(), MatchedProfile { matching, profile: Profile::default() });
        assert!(profiles.has_plain("ap0", &hardware));
        assert!(profiles.means("ap0", &plain) && !profiles.means("ap0", &home) && profiles.means("home", &home));
    }
}
