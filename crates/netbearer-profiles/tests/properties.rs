//! Whatever is written in files: reading them ends, and each is either in force or told of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use netbearer_profiles::ProfileStore;
use proptest::prelude::*;

const PIECES: [&str; 24] = [
    "[match]\n",
    "[access_point]\n",
    "[service_network]\n",
    "[user_choice]\n",
    "interface = \"ap0\"\n",
    "mac = \"02:00:5e:10:00:01\"\n",
    "members = [\"a\", \"b\", \"lo\"]\n",
    "choices = [\"c\"]\n",
    "addressing = \"static\"\n",
    "addresses = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\n",
    "gateways = [\"192.0.2.1\"]\n",
    "gateways = [\"fe80::1\", \"::1\"]\n",
    "linger = \"2s\"\n",
    "linger = 18446744073709551616\n",
    "mtu = 0x_\n",
    "mtu = 1400\n",
    "proxy = \"http://user:password@proxy\"\n",
    "require = 1\n",
    "\"",
    "[",
    "= {a.b = [1, \"x\n",
    "'''",
    "\u{0}\u{feff}é",
    "# comment\n",
];

fn file() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..8).prop_map(|pieces| pieces.concat()),
        ".{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_file_is_in_force_or_told_of(texts in proptest::collection::vec(file(), 1..4), drop_in in file()) {
        let directory = tempfile::tempdir().unwrap();
        let profiles = directory.path().join("profiles.d");
        fs::create_dir_all(profiles.join("a.toml.d")).unwrap();
        fs::write(profiles.join("a.toml.d/10.toml"), drop_in).unwrap();
        for (name, text) in ["a", "b", "c"].iter().zip(&texts) {
            fs::write(profiles.join(format!("{name}.toml")), text).unwrap();
        }
        let mut store = ProfileStore::new(directory.path());
        let reading = store.read();
        let known = &reading.profiles;
        let in_force = known.by_file.len() + known.service_networks.len() + known.user_choices.len();
        prop_assert_eq!(in_force + reading.left_out.len(), texts.len());
        prop_assert!(reading.kept.is_empty());
        for file in &reading.left_out {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let is_about = |mistake: &netbearer_profiles::ProfileMistake| {
                mistake.breaks_file && mistake.file.to_string_lossy().contains(&name)
            };
            prop_assert!(reading.mistakes.iter().any(is_about), "{}: {:?}", name, reading.mistakes);
        }
        for mistake in &reading.mistakes {
            prop_assert!(!mistake.problem.is_empty() && !mistake.suggestion.is_empty());
            prop_assert!(!mistake.to_string().contains("password@"), "{}", mistake);
        }
        // The same files say the same again.
        prop_assert_eq!(store.read().profiles, reading.profiles);
    }
}
