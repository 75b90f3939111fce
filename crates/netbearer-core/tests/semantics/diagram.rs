//! The diagram of roaming in ARCHITECTURE.md is made from the table of turns that sessions can take.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use netbearer_core::{CourseKind, RoamCause, TRANSITIONS};

const BEGIN: &str =
    "<!-- made from TRANSITIONS by the test of the diagram; NETBEARER_REWRITE=1 has it written anew -->\n";
const END: &str = "<!-- end of what is made from TRANSITIONS -->\n";
/// With this variable of the environment the file is written anew instead of compared.
const REWRITE: &str = "NETBEARER_REWRITE";

fn diagram() -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    let courses: BTreeSet<CourseKind> = TRANSITIONS.iter().flat_map(|(from, _, to)| [*from, *to]).collect();
    for course in courses {
        let _ = writeln!(text, "    state \"{course}\" as {course:?}");
    }
    let _ = writeln!(text, "    [*] --> {:?}: is opened", CourseKind::Settled);
    let mut causes: BTreeMap<(CourseKind, CourseKind), Vec<RoamCause>> = BTreeMap::new();
    for (from, cause, to) in TRANSITIONS {
        causes.entry((*from, *to)).or_default().push(*cause);
    }
    for ((from, to), causes) in causes {
        let causes = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("<br/>");
        let _ = writeln!(text, "    {from:?} --> {to:?}: {causes}");
    }
    text.push_str("```\n");
    text
}

#[test]
fn the_diagram_of_roaming_shows_the_turns_that_sessions_can_take() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("ARCHITECTURE.md has a mark where the diagram begins");
    let (former, after) = rest.split_once(END).expect("and one where it ends");
    let diagram = diagram();
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, format!("{before}{BEGIN}{diagram}{END}{after}")).unwrap();
    } else {
        assert_eq!(former, diagram, "ARCHITECTURE.md is out of date; run this test with {REWRITE}=1");
    }
}

#[test]
fn no_turn_is_listed_twice_and_every_course_can_be_come_to_and_left() {
    let listed: BTreeSet<_> = TRANSITIONS.iter().collect();
    assert_eq!(listed.len(), TRANSITIONS.len());
    let left: BTreeSet<_> = TRANSITIONS.iter().map(|(from, ..)| from).collect();
    let come_to: BTreeSet<_> = TRANSITIONS.iter().map(|(.., to)| to).collect();
    assert_eq!(left, come_to);
}
