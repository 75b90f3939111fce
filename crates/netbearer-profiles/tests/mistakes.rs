//! Every kind of mistake, with what is said of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
};

use netbearer_profiles::{MistakeKind, ProfileMistake, ProfileStore, Reading};
use netbearer_types::{Hardware, Matching, Proxy};
use rustix::fs::{FileType, Mode};

/// A configuration directory.
struct Scene {
    directory: tempfile::TempDir,
    store: ProfileStore,
}

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scene = Self { store: ProfileStore::new(directory.path()), directory };
        for (name, text) in files {
            scene.write(name, text);
        }
        scene
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    }

    fn read(&mut self) -> Reading {
        self.store.read()
    }

    /// All that is wrong, one mistake a line, with file names below the directory.
    fn told(&mut self) -> String {
        let mistakes = self.read().mistakes;
        assert!(mistakes.iter().all(|mistake| mistake.file.starts_with(self.directory.path())));
        said(self.directory.path(), &mistakes)
    }
}

fn said(directory: &Path, mistakes: &[ProfileMistake]) -> String {
    let lines = mistakes.iter().map(|mistake| format!("{:?} {mistake}", mistake.kind));
    lines.collect::<Vec<_>>().join("\n").replace(&format!("{}/", directory.display()), "")
}

fn told(files: &[(&str, &str)]) -> String {
    Scene::new(files).told()
}

/// What is said of a profile of `ap0` with these lines below `[access_point]`, the first one being line 4.
fn told_of(lines: &str) -> String {
    told(&[("profiles.d/ap0.toml", &format!("[match]\ninterface = \"ap0\"\n[access_point]\n{lines}\n"))])
}

#[test]
fn a_file_without_mistakes_is_told_nothing_of() {
    assert_eq!(
        told_of(
            "addressing = \"static\"\naddresses = [\"192.0.2.10/24\", \"2001:db8::10/64\"]\ngateways = [\"192.0.2.1\", \"fe80::1\"]\nmtu = 1400"
        ),
        ""
    );
    assert_eq!(told(&[]), "");
}

#[test]
fn an_unknown_key_is_named_with_the_one_that_was_meant() {
    insta::assert_snapshot!(told_of("longer = \"2s\""), @"UnknownKey profiles.d/ap0.toml:4: there is no key `longer` in [access_point]; did you mean `linger`?");
    insta::assert_snapshot!(told_of("members = []"), @"UnknownKey profiles.d/ap0.toml:4: there is no key `members` in [access_point]; it belongs to [service_network]");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "linger = \"2s\"\n[match]\ninterface = \"ap0\"\n")]), @"UnknownKey profiles.d/a.toml:1: `linger` stands outside of every section; move it below [access_point]");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\ncolour = \"blue\"\n")]), @"UnknownKey profiles.d/a.toml:2: there is no key `colour` in [match]; there are `interface`, `mac`, `driver`, `path`");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\ninterface = \"ap0\"\n[acces_point]\n")]), @"UnknownKey profiles.d/a.toml:3: there is no section [acces_point]; did you mean [access_point]?");
    insta::assert_snapshot!(told(&[("netbearer.toml", "defaults = \"ap0\"\n")]), @"UnknownKey netbearer.toml:1: there is no key `defaults` in netbearer.toml; did you mean `default`?");
}

#[test]
fn a_wrong_type_or_value_is_named_with_an_example() {
    insta::assert_snapshot!(told_of("linger = 2"), @r#"WrongType profiles.d/ap0.toml:4: `linger` has the wrong type: integer `2`, expected a string; write it as in `linger = "30s"`"#);
    insta::assert_snapshot!(told_of("addresses = \"192.0.2.10/24\""), @r#"WrongType profiles.d/ap0.toml:4: `addresses` has the wrong type: string "192.0.2.10/24", expected a list; write it as in `addresses = ["192.0.2.10/24"]`"#);
    insta::assert_snapshot!(told_of("purpose = 1"), @r#"WrongType profiles.d/ap0.toml:4: `purpose` has the wrong type: integer, expected a string; write it as in `purpose = "private"`"#);
    insta::assert_snapshot!(told_of("linger = \"soon\""), @r#"WrongValue profiles.d/ap0.toml:4: `linger`: "soon" is no span of time; write a number and a unit, as in "500ms", "20s", "2m""#);
    insta::assert_snapshot!(told_of("purpose = \"privat\""), @r#"WrongValue profiles.d/ap0.toml:4: `purpose` cannot be "privat"; did you mean "private"?"#);
    insta::assert_snapshot!(told_of("lifetime = \"for ever\""), @r#"WrongValue profiles.d/ap0.toml:4: `lifetime` cannot be "for ever"; it can be "adopt", "on-demand""#);
    insta::assert_snapshot!(told_of("mtu = 20"), @"WrongValue profiles.d/ap0.toml:4: `mtu`: no link has an MTU of 20 bytes; write it as in `mtu = 1400`");
    insta::assert_snapshot!(told_of("preference = 3000000000"), @"WrongValue profiles.d/ap0.toml:4: `preference`: invalid value: integer `3000000000`, expected a smaller number; write it as in `preference = 10`");
    insta::assert_snapshot!(told_of("hostname = \"two words\""), @r#"WrongValue profiles.d/ap0.toml:4: `hostname`: `two words` is not the name of a host: use letters, digits and hyphens, at most 63 between dots; write it as in `hostname = "gateway-7"`"#);
    insta::assert_snapshot!(told_of("name_servers = [\"dns.example\"]"), @r#"WrongValue profiles.d/ap0.toml:4: `name_servers`: invalid IP address syntax; write it as in `name_servers = ["192.0.2.53"]`"#);
    insta::assert_snapshot!(told_of("proxy = \"proxy.example\""), @r#"WrongValue profiles.d/ap0.toml:4: `proxy`: this is no URL; write it as in `proxy = "http://proxy.example:3128"`"#);
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\nmac = \"02:00\"\n")]), @r#"WrongValue profiles.d/a.toml:2: `mac`: this is no hardware address; write it as in `mac = "02:00:5e:10:00:01"`"#);
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\ninterface = \"a very long interface\"\n")]), @r#"WrongValue profiles.d/a.toml:2: `interface`: no interface can be called so; write it as in `interface = "eth0"`"#);
    insta::assert_snapshot!(told(&[("netbearer.toml", "default = 1\n")]), @r#"WrongType netbearer.toml:1: `default` has the wrong type: integer, expected a string; write it as in `default = "office"`"#);
}

#[test]
fn what_is_not_built_yet_is_refused_and_not_ignored() {
    insta::assert_snapshot!(told_of("require = \"validated\""), @"NotYet profiles.d/ap0.toml:4: `require` asks for reachability checks, and there are none yet; remove it; without it an address and a route are enough");
}

#[test]
fn what_is_no_toml_is_said_with_its_line_and_all_other_mistakes_too() {
    insta::assert_snapshot!(told_of("linger = 2s\nlonger = \"2s\""), @r#"
Syntax profiles.d/ap0.toml:4: this is no TOML: string values must be quoted, expected literal string; write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets
UnknownKey profiles.d/ap0.toml:5: there is no key `longer` in [access_point]; did you mean `linger`?
"#);
    insta::assert_snapshot!(told_of("name = \"one\"\nname = \"two\""), @"Duplicate profiles.d/ap0.toml:5: this stands in the file already; remove one of both, or put what differs into a drop-in");
}

/// Some people's scripts put their notes there.
#[test]
fn a_file_that_is_no_toml_at_all_is_not_told_line_by_line() {
    let text = "This is a letter, and not a profile.\n".repeat(500);
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", &text)]), @"
    Syntax profiles.d/a.toml:1: this is no TOML: key with no value, expected `=`; write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets
    Syntax profiles.d/a.toml:2: this is no TOML: key with no value, expected `=`; write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets
    Syntax profiles.d/a.toml:3: this is no TOML: key with no value, expected `=`; write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets
    Syntax profiles.d/a.toml:4: 497 more places from here on are no TOML; give the file another name if it is not meant for NetBearer
    ");
}

#[test]
fn a_key_in_another_case_is_known() {
    insta::assert_snapshot!(told_of("MTU = 1400"), @"UnknownKey profiles.d/ap0.toml:4: there is no key `MTU` in [access_point]; did you mean `mtu`?");
    insta::assert_snapshot!(told_of("purpose = \"Private\""), @r#"WrongValue profiles.d/ap0.toml:4: `purpose` cannot be "Private"; did you mean "private"?"#);
    insta::assert_snapshot!(told_of("mtu = 576"), @"WrongValue profiles.d/ap0.toml:4: `mtu`: IPv6 needs 1280 bytes, and would be off on this link; write it as in `mtu = 1400`");
}

#[test]
fn values_that_cannot_be_are_refused() {
    for (line, reason) in [
        ("name_servers = [\"192.0.2.53\", \"0.0.0.0\"]", "no name server has the address 0.0.0.0"),
        ("name_servers = [\"::\"]", "no name server has the address ::"),
        ("name_servers = [\"ff02::fb\"]", "no name server has the address ff02::fb"),
        ("name_servers = [\"224.0.0.251\"]", "no name server has the address 224.0.0.251"),
        ("name_servers = [\"255.255.255.255\"]", "no name server has the address 255.255.255.255"),
        ("name = \"\"", "nothing can be called so"),
        ("name = \"two\\nlines\"", "a name is one line of text"),
        ("connect_timeout = \"0s\"", "it would be over before anything can happen"),
        ("carrier_timeout = \"00 ms\"", "it would be over before anything can happen"),
    ] {
        let told = told_of(line);
        assert!(told.contains(reason) && told.lines().count() == 1, "{line}: {told}");
    }
    assert_eq!(told_of("linger = \"0s\"\nconnect_timeout = \"10s\"\nname_servers = [\"127.0.0.1\"]"), "");
    for name in ["eth0*", "en?", "eth[01]", ".", "..", "a:b", "a\\nb"] {
        let told = told(&[("profiles.d/a.toml", &format!("[match]\ninterface = \"{name}\"\n"))]);
        assert!(told.starts_with("WrongValue") && told.lines().count() == 1, "{name}: {told}");
    }
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\ndriver = \"e1000*\"\n")]), @r#"WrongValue profiles.d/a.toml:2: `driver`: patterns are not supported: the whole name is needed; write it as in `driver = "e1000e"`"#);
}

/// A default that is not read would have another access point opened without a word.
#[test]
fn a_default_that_is_a_section_is_refused() {
    insta::assert_snapshot!(told(&[("netbearer.toml", "[default]\nname = \"lo\"\n")]), @r#"WrongType netbearer.toml:1: `default` has the wrong type: table, expected a string; write it as in `default = "office"`"#);
    insta::assert_snapshot!(told(&[("netbearer.toml", "[[default]]\nname = \"lo\"\n")]), @r#"WrongType netbearer.toml:1: `default` has the wrong type: array, expected a string; write it as in `default = "office"`"#);
    insta::assert_snapshot!(told(&[("netbearer.toml", "colour = 1\n")]), @"UnknownKey netbearer.toml:1: there is no key `colour` in netbearer.toml; the only one is `default`; profiles are files of profiles.d");
}

/// With one no service starts.
#[test]
fn mistakes_of_the_plan_of_tables_and_marks_are_told_too() {
    assert_eq!(told(&[("steering.toml", "first_table = 30000\nmark_fields = [\"0x7f\"]\n")]), "");
    insta::assert_snapshot!(told(&[("steering.toml", "first_tabel = 1\nmark_fields = [\"0x0f\"]\n[first_table]\n")]), @r#"
    UnknownKey steering.toml:1: there is no key `first_tabel` in steering.toml; did you mean `first_table`?
    WrongValue steering.toml:2: `mark_fields`: `0x0f` is no field of a firewall mark; write seven or more bits in a row, as in "0x7f000000"
    WrongType steering.toml:3: `first_table` has the wrong type: table, expected a number; write it as in `first_table = 21000`
    "#);
    insta::assert_snapshot!(told(&[("steering.toml", "first_table = 255\nmark_fields = \"0x7f\"\n")]), @r#"
    WrongValue steering.toml:1: `first_table`: the tables from 255 on cannot be used; name a number from 256 to 4294967168
    WrongType steering.toml:2: `mark_fields` has the wrong type: string, expected a list; write it as in `mark_fields = ["0x7f000000"]`
    "#);
    insta::assert_snapshot!(told(&[("steering.toml", "first_table\n")]), @"Syntax steering.toml:1: this is no TOML: key with no value, expected `=`; write `key = value` under a line like `[access_point]`, text in quotes, lists in brackets");
    let scene = Scene::new(&[("new/steering.toml", "first_table = 1\n"), ("new/netbearer.toml", "default = 1\n")]);
    for name in ["new/steering.toml", "new/netbearer.toml"] {
        let mistakes = scene.store.check(&[(scene.path(name), None)]);
        assert!(mistakes.len() == 1 && mistakes[0].file == scene.path(name), "{mistakes:?}");
    }
}

#[test]
fn a_file_must_be_about_one_thing() {
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "")]), @"Incomplete profiles.d/a.toml: the file says nothing; write [match] and [access_point], or [service_network], or [user_choice], or remove it");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[access_point]\nlinger = \"2s\"\n")]), @r#"Incomplete profiles.d/a.toml:1: nothing tells which access point this is for; add a section [match], for instance with `interface = "eth0"`"#);
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\n[access_point]\n")]), @r#"Incomplete profiles.d/a.toml:1: [match] is empty, so this is for no access point; add what it is to be known by, for instance `interface = "eth0"`"#);
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[match]\ninterface = \"ap0\"\n[service_network]\n")]), @"Incomplete profiles.d/a.toml:1: only access points are matched to interfaces; remove [match], or put the profile of the access point into a file of its own");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml", "[user_choice]\n[service_network]\n")]), @"Incomplete profiles.d/a.toml:1: the file is about several things; put each of them into a file of its own");
    insta::assert_snapshot!(told_of("proxy = \"http://a.example\"\nproxy_auto_configuration = \"http://b.example/wpad.dat\""), @"Contradiction profiles.d/ap0.toml:5: `proxy` and `proxy_auto_configuration` exclude each other; remove one of both");
    insta::assert_snapshot!(told(&[("profiles.d/a.toml.d/1.toml", "[access_point]\n")]), @"Incomplete profiles.d/a.toml.d: these are drop-ins to profiles.d/a.toml, which does not exist; make that file, rename the directory after the one that was meant, or remove it");
}

#[test]
fn two_files_about_one_access_point_are_named_both_and_the_first_stays() {
    let text = |preference| format!("[match]\ninterface = \"ap0\"\n[access_point]\npreference = {preference}\n");
    let mut scene = Scene::new(&[("profiles.d/a.toml", &text(1)), ("profiles.d/b.toml", &text(2))]);
    insta::assert_snapshot!(scene.told(), @"Duplicate profiles.d/b.toml:2: profiles.d/a.toml is for the same access point; remove one of both, make this one a drop-in of the other, or write `exclusive = true` in both for one at a time");
    let reading = scene.read();
    assert_eq!(reading.left_out, [scene.path("profiles.d/b.toml")]);
    assert_eq!(reading.profiles.profile_of("ap0", &Hardware::default()).preference, 1);
}

#[test]
fn exclusive_files_may_be_for_the_same_access_point() {
    let text = |exclusive| format!("[match]\ninterface = \"ap0\"\n[access_point]\nexclusive = {exclusive}\n");
    let mut scene = Scene::new(&[
        ("profiles.d/card.toml", "[match]\ninterface = \"ap0\"\n"),
        ("profiles.d/home.toml", &text("true")),
        ("profiles.d/office.toml", &text("true")),
        ("profiles.d/work.toml", "[service_network]\nmembers = [\"office\", \"home\"]\n"),
    ]);
    assert_eq!(scene.told(), "");
    let matching = Matching { interface: Some("ap0".to_owned()), ..Matching::default() };
    assert_eq!(scene.read().profiles.files_for(&matching), ["card", "home", "office"]);
    scene.write("profiles.d/office.toml", &text("false"));
    insta::assert_snapshot!(scene.told(), @"Duplicate profiles.d/office.toml:2: profiles.d/card.toml is for the same access point; remove one of both, make this one a drop-in of the other, or write `exclusive = true` in both for one at a time");
    insta::assert_snapshot!(told_of("exclusive = \"yes\""), @r#"WrongType profiles.d/ap0.toml:4: `exclusive` has the wrong type: string "yes", expected a boolean; write it as in `exclusive = true`"#);
}

#[test]
fn members_that_cannot_be_any_are_named() {
    let network = |members: &str| format!("[service_network]\nmembers = [{members}]\n");
    let choice = |choices: &str| format!("[user_choice]\nchoices = [{choices}]\n");
    insta::assert_snapshot!(told(&[("profiles.d/work.toml", &network("\"work\""))]), @r#"Cycle profiles.d/work.toml:2: "work" is a member of itself; remove it from the list"#);
    insta::assert_snapshot!(told(&[("profiles.d/work.toml", &network("\"home\"")), ("profiles.d/home.toml", &network("\"service-work\""))]), @r#"
Cycle profiles.d/home.toml:2: "service-work" is a service network, and only access points can be members of one; name its members instead
Cycle profiles.d/work.toml:2: "home" is a service network, and only access points can be members of one; name its members instead
"#);
    insta::assert_snapshot!(told(&[("profiles.d/ask.toml", &choice("\"other\"")), ("profiles.d/other.toml", &choice("\"lo\""))]), @r#"Cycle profiles.d/ask.toml:2: "other" is a user choice, which is resolved only when it is opened; name what can be chosen there instead"#);
    insta::assert_snapshot!(told(&[("profiles.d/work.toml", &network("\"lo\", \"lo\""))]), @r#"Duplicate profiles.d/work.toml:2: "lo" is there twice; remove one of both"#);
}

/// It may be plugged in later, so the file stays in force.
#[test]
fn an_unknown_member_is_said_and_stays_a_member() {
    let mut scene = Scene::new(&[
        ("profiles.d/office.toml", "[match]\ninterface = \"ap0\"\n"),
        ("profiles.d/work.toml", "[service_network]\nmembers = [\"ofice\", \"ap0\", \"native-020000000001\"]\n"),
        ("netbearer.toml", "default = \"nowhere\"\n"),
    ]);
    insta::assert_snapshot!(scene.told(), @r#"
Unknown netbearer.toml:1: the default "nowhere" is no profile, and there is no interface of that name; name a file of profiles.d without .toml, an identifier of `bearerctl list`, or an interface
Unknown profiles.d/work.toml:2: the member "ofice" is no profile, and there is no interface of that name; did you mean "office"?
"#);
    let reading = scene.read();
    assert!(reading.left_out.is_empty() && reading.kept.is_empty(), "{reading:?}");
    let (identifier, network) = reading.profiles.service_networks.first_key_value().unwrap();
    assert_eq!((identifier.as_str(), network.name.as_deref()), ("service-work", Some("work")));
    assert_eq!(network.members.len(), 3);
    assert_eq!(reading.profiles.default_configuration.as_deref(), Some("nowhere"));
}

#[test]
fn impossible_addresses_are_named() {
    let fixed = |lines: &str| told_of(&format!("addressing = \"static\"\n{lines}"));
    insta::assert_snapshot!(fixed(""), @r#"ImpossibleAddress profiles.d/ap0.toml:4: static addressing has no addresses; add them, for instance `addresses = ["192.0.2.10/24"]`"#);
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10\"]"), @"ImpossibleAddress profiles.d/ap0.toml:5: `addresses`: `192.0.2.10` is not an address for an interface: the length of the prefix is missing; write it as in 192.0.2.10/24");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.255/24\"]"), @"ImpossibleAddress profiles.d/ap0.toml:5: `addresses`: `192.0.2.255/24` is not an address for an interface: it is the network's own or its broadcast address; write it as in 192.0.2.10/24");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"198.51.100.1\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: the gateway 198.51.100.1 is not in the network of 192.0.2.10/24; correct it, or the address or its prefix length");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"2001:db8::1\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: the gateway 2001:db8::1 has no address of its family beside it; correct it, or the address or its prefix length");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"192.0.2.1\", \"192.0.2.2\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: 192.0.2.2 is the second gateway for IPv4; keep one of each family");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"192.0.2.10\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: the gateway 192.0.2.10 is an address of this host's own; name the router's address");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\", \"192.0.2.10/25\"]"), @"ImpossibleAddress profiles.d/ap0.toml:5: 192.0.2.10 is there twice; remove one of both");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"router\"]"), @r#"ImpossibleAddress profiles.d/ap0.toml:6: `gateways`: invalid IP address syntax; write it as in `gateways = ["192.0.2.1"]`"#);
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"192.0.2.255\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: the gateway 192.0.2.255 is its network's own or its broadcast address; name the router's address");
    insta::assert_snapshot!(fixed("addresses = [\"192.0.2.10/24\"]\ngateways = [\"192.0.2.0\"]"), @"ImpossibleAddress profiles.d/ap0.toml:6: the gateway 192.0.2.0 is its network's own or its broadcast address; name the router's address");
    insta::assert_snapshot!(fixed("addresses = [\"fe80::10/64\", \"169.254.1.1/16\"]"), @r#"ImpossibleAddress profiles.d/ap0.toml:5: a link-local address alone leads nowhere, so this would never be open; add an address of the network, for instance "2001:db8::10/64""#);
    assert_eq!(fixed("addresses = [\"fe80::10/64\", \"192.0.2.10/31\"]\ngateways = [\"192.0.2.11\"]"), "");
    insta::assert_snapshot!(told_of("addresses = [\"192.0.2.10/24\"]"), @r#"ImpossibleAddress profiles.d/ap0.toml:4: `addresses` are those of static addressing, and this is by DHCP; add `addressing = "static"`, or remove them"#);
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut scene = Scene::new(&[]);
    fs::create_dir_all(scene.path("profiles.d/a.toml")).unwrap();
    fs::write(scene.path("profiles.d/b.toml"), b"[match]\ninterface = \"\xff\"\n").unwrap();
    insta::assert_snapshot!(scene.told(), @r#"
Unreadable profiles.d/a.toml: this is a directory, and no file; remove it, or give it another name
Unreadable profiles.d/b.toml: the file is no text in UTF-8; save it as UTF-8
"#);
    fs::remove_dir_all(scene.path("profiles.d")).unwrap();
    fs::write(scene.path("profiles.d"), "no directory").unwrap();
    insta::assert_snapshot!(scene.told(), @"Unreadable profiles.d: the directory cannot be read: Not a directory (os error 20); look at it with `ls -ld`");
}

/// Reading it would wait for a writer, for ever.
#[test]
fn what_is_no_file_blocks_nobody_and_is_named() {
    let mut scene = Scene::new(&[("profiles.d/good.toml", "[match]\ninterface = \"ap0\"\n")]);
    for (name, kind) in [("fifo", FileType::Fifo), ("netbearer", FileType::Fifo)] {
        let directory = if name == "netbearer" { "" } else { "profiles.d/" };
        let path = scene.path(&format!("{directory}{name}.toml"));
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::RUSR, 0).unwrap();
    }
    let _socket = UnixListener::bind(scene.path("profiles.d/socket.toml")).unwrap();
    symlink("/dev/zero", scene.path("profiles.d/device.toml")).unwrap();
    fs::File::create(scene.path("profiles.d/long.toml")).unwrap().set_len(5 << 30).unwrap();
    symlink("nowhere", scene.path("profiles.d/link.toml")).unwrap();
    insta::assert_snapshot!(scene.told(), @"
    Unreadable netbearer.toml: this is a FIFO, and no file; remove it, or give it another name
    Unreadable profiles.d/device.toml: this is a device, and no file; remove it, or give it another name
    Unreadable profiles.d/fifo.toml: this is a FIFO, and no file; remove it, or give it another name
    Unreadable profiles.d/link.toml: the file cannot be read: No such file or directory (os error 2); look at it with `ls -l`
    Unreadable profiles.d/long.toml: the file is longer than a megabyte; remove it, or give it another name, if it is not meant for NetBearer
    Unreadable profiles.d/socket.toml: this is a socket, and no file; remove it, or give it another name
    ");
    assert_eq!(scene.read().profiles.by_file.len(), 1);
}

#[test]
fn a_password_that_others_may_read_is_refused_and_not_repeated() {
    let text = "[match]\ninterface = \"ap0\"\n[access_point]\nproxy = \"http://user:geheim@proxy.example:3128\"\n";
    let mut scene = Scene::new(&[("profiles.d/ap0.toml", text)]);
    let told = scene.told();
    assert!(!told.contains("geheim"), "{told}");
    let elsewhere = told_of("name_servers = \"http://user:geheim@proxy.example:3128\"");
    assert!(!elsewhere.contains("geheim"), "{elsewhere}");
    let directory = format!("{}/", scene.directory.path().display());
    insta::assert_snapshot!(told.replace(&directory, ""), @"ReadableSecret profiles.d/ap0.toml:4: a password stands here, and others than the file's owner may read it; take their permission away: chmod 600 profiles.d/ap0.toml");
    fs::set_permissions(scene.path("profiles.d/ap0.toml"), PermissionsExt::from_mode(0o600)).unwrap();
    let reading = scene.read();
    assert!(reading.mistakes.is_empty() && reading.profiles.by_file.len() == 1, "{reading:?}");
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_the_rest_keeps_working() {
    let text = |interface, preference| {
        format!("[match]\ninterface = \"{interface}\"\n[access_point]\npreference = {preference}\n")
    };
    let mut scene = Scene::new(&[("profiles.d/a.toml", &text("ap0", 1)), ("profiles.d/b.toml", &text("ap1", 2))]);
    assert!(scene.read().mistakes.is_empty());
    let preferences = |reading: &Reading| {
        ["ap0", "ap1"].map(|name| reading.profiles.profile_of(name, &Hardware::default()).preference)
    };
    scene.write("profiles.d/a.toml", "[match]\ninterface = \"ap0\"\n[access_point]\npreference = \"much\"\n");
    scene.write("profiles.d/b.toml", &text("ap1", 3));
    scene.write("profiles.d/c.toml", "not TOML");
    let reading = scene.read();
    assert_eq!(preferences(&reading), [1, 3]);
    assert_eq!(reading.kept, [scene.path("profiles.d/a.toml")]);
    assert_eq!(reading.left_out, [scene.path("profiles.d/c.toml")]);
    // A file that becomes another's double is broken as well.
    scene.write("profiles.d/b.toml", &text("ap0", 4));
    let reading = scene.read();
    assert_eq!(preferences(&reading), [1, 3]);
    assert!(reading.mistakes.iter().any(|mistake| mistake.kind == MistakeKind::Duplicate), "{reading:?}");
    fs::remove_file(scene.path("profiles.d/a.toml")).unwrap();
    assert_eq!(preferences(&scene.read()), [4, 0]);
}

#[test]
fn what_dhcp_servers_are_told_is_checked_when_it_is_read() {
    let mut scene = Scene::new(&[(
        "profiles.d/ap0.toml",
        "[match]\ninterface = \"ap0\"\n[access_point]\nclient_identifier = \"01:02:03\"\nhostname = \"gateway-7\"\nvendor_class = \"netbearer\"\n",
    )]);
    let reading = scene.read();
    let profile = reading.profiles.profile_of("ap0", &Hardware::default());
    assert_eq!(profile.client_identifier.as_ref().unwrap().octets(), [1, 2, 3]);
    assert_eq!(profile.hostname.as_ref().unwrap().as_str(), "gateway-7");
    assert_eq!(profile.vendor_class.as_ref().unwrap().octets(), b"netbearer");
    assert!(profile.rapid_commit && !profile.ipv6_only);
    for wrong in [
        "client_identifier = \"laptop\"",
        "client_identifier = \"01\"",
        "vendor_class = \"\"",
        "rapid_commit = \"no\"",
        "announced_routes = \"everywhere\"",
    ] {
        let told = told_of(wrong);
        assert!(told.contains("ap0.toml:4: ") && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn the_forms_of_a_proxy_are_read() {
    let proxy = |line: &str| {
        let text = format!("[match]\ninterface = \"ap0\"\n[access_point]\n{line}\n");
        let mut scene = Scene::new(&[("profiles.d/ap0.toml", &text)]);
        scene.read().profiles.profile_of("ap0", &Hardware::default()).proxy.clone()
    };
    assert_eq!(proxy("proxy = \"http://a.example\""), Proxy::Manual("http://a.example".into()));
    let automatic = Proxy::AutoConfigurationUrl("http://a.example/wpad.dat".into());
    assert_eq!(proxy("proxy_auto_configuration = \"http://a.example/wpad.dat\""), automatic);
}

#[test]
fn drop_ins_are_merged_key_by_key_in_the_order_of_their_names() {
    let mut scene = Scene::new(&[
        ("profiles.d/ap0.toml", "[match]\ninterface = \"ap0\"\n[access_point]\npreference = 1\nlinger = \"1s\"\n"),
        ("profiles.d/ap0.toml.d/20-second.toml", "[access_point]\npreference = 3\n"),
        ("profiles.d/ap0.toml.d/10-first.toml", "[access_point]\npreference = 2\nmetered = true\n"),
        ("profiles.d/ap0.toml.d/README", "not read"),
    ]);
    let reading = scene.read();
    assert!(reading.mistakes.is_empty(), "{:?}", reading.mistakes);
    let profile = reading.profiles.profile_of("ap0", &Hardware::default());
    assert_eq!((profile.preference, profile.linger.as_secs(), profile.metered), (3, 1, true));
    scene.write("profiles.d/ap0.toml.d/30-third.toml", "[access_point]\nmtu = 1\n");
    insta::assert_snapshot!(scene.told(), @"WrongValue profiles.d/ap0.toml.d/30-third.toml:2: `mtu`: no link has an MTU of 1 bytes; write it as in `mtu = 1400`");
}

#[test]
fn files_can_be_checked_before_they_are_in_their_place() {
    let scene = Scene::new(&[
        ("profiles.d/ap0.toml", "[match]\ninterface = \"ap0\"\n"),
        ("new/ap1.toml", "[match]\ninterface = \"ap0\"\n"),
        ("new/ap0.toml", "[match]\ninterface = \"ap0\"\n[access_point]\nlonger = \"2s\"\n"),
    ]);
    let check = |name: &str, named: Option<&str>| {
        let mistakes = scene.store.check(&[(scene.path(name), named.map(str::to_owned))]);
        said(scene.directory.path(), &mistakes)
    };
    insta::assert_snapshot!(check("new/ap0.toml", None), @"UnknownKey new/ap0.toml:4: there is no key `longer` in [access_point]; did you mean `linger`?");
    insta::assert_snapshot!(check("new/ap1.toml", None), @"Duplicate new/ap1.toml:2: profiles.d/ap0.toml is for the same access point; remove one of both, make this one a drop-in of the other, or write `exclusive = true` in both for one at a time");
    insta::assert_snapshot!(check("new/ap1.toml", Some("ap0")), @"");
}

/// The mistake is told of the other file, which comes second by its name.
#[test]
fn what_a_file_breaks_in_another_is_told_of_it() {
    let scene = Scene::new(&[
        ("profiles.d/b.toml", "[match]\ninterface = \"ap0\"\n"),
        ("profiles.d/c.toml", "[match]\ninterface = \"ap2\"\n[access_point]\nlonger = \"2s\"\n"),
        ("profiles.d/work.toml", "[service_network]\nmembers = [\"office\"]\n"),
        ("profiles.d/office.toml", "[match]\ninterface = \"ap1\"\n"),
        ("new/a.toml", "[match]\ninterface = \"ap0\"\n"),
        ("new/office.toml", "[service_network]\nmembers = []\n"),
    ]);
    let said = |mistakes: &[ProfileMistake]| said(scene.directory.path(), mistakes);
    let check = |name: &str| said(&scene.store.check(&[(scene.path(name), None)]));
    insta::assert_snapshot!(check("new/a.toml"), @"Duplicate profiles.d/b.toml:2: new/a.toml is for the same access point; remove one of both, make this one a drop-in of the other, or write `exclusive = true` in both for one at a time");
    insta::assert_snapshot!(check("new/office.toml"), @r#"Cycle profiles.d/work.toml:2: "office" is a service network, and only access points can be members of one; name its members instead"#);
    assert_eq!(check("profiles.d/office.toml"), "");
    assert_eq!(said(&scene.store.check_text("a", "[match]\ninterface = \"ap1\"\n")).lines().count(), 1);
    // What is there already is told, but is not added.
    let of_c = [(scene.path("profiles.d/c.toml"), None)];
    assert_eq!((scene.store.check(&of_c).len(), scene.store.added_mistakes(&of_c).len()), (1, 0));
    let candidate = scene.path("profiles.d/.c.1.toml");
    fs::copy(scene.path("profiles.d/c.toml"), &candidate).unwrap();
    assert_eq!(scene.store.added_mistakes(&[(candidate, Some("c".to_owned()))]), []);
}
