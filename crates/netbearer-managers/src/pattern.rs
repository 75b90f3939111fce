/// Which interfaces a manager takes of those there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// If there are any, only interfaces that match one of them.
    pub(crate) allowed: Vec<String>,
    /// Never interfaces that match one of them.
    pub(crate) denied: Vec<String>,
}

impl Selection {
    pub(crate) fn contains(&self, interface: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, interface));
        // The loopback interface is nobody's: it needs no address from anywhere.
        interface != "lo" && !among(&self.denied) && (self.allowed.is_empty() || among(&self.allowed))
    }
}

/// Shell patterns as of `fnmatch(3)`: `*`, `?`, `[a-c]`, `[!a]` and `\`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut position) = (0, 0);
    // Where the last `*` was, and how much of the name it has swallowed: the only place worth going back to.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(position) {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            star = Some((at, position));
        } else if let Some(length) = pattern.get(at..).and_then(|rest| match_one(rest, *letter)) {
            at += length;
            position += 1;
        } else if let Some((after, swallowed)) = star {
            star = Some((after, swallowed + 1));
            (at, position) = (after, swallowed + 1);
        } else {
            return false;
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

/// How many letters of the pattern stand for `letter`, if they do.
fn match_one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', escaped, ..] => (*escaped == letter).then_some(2),
        ['[', rest @ ..] => match bracket(rest, letter) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            // Without an end it is a letter like any other.
            None => (letter == '[').then_some(1),
        },
        [same, ..] => (*same == letter).then_some(1),
        [] => None,
    }
}

/// Whether the set after a `[` stands for `letter`, and its length with the `]`.
fn bracket(set: &[char], letter: char) -> Option<(bool, usize)> {
    let negated = matches!(set, ['!' | '^', ..]);
    let start = usize::from(negated);
    // A `]` in the first place is a member.
    let end = set.iter().enumerate().skip(start + 1).find(|(_, member)| **member == ']')?.0;
    let mut members = set.get(start..end)?;
    let mut found = false;
    loop {
        members = match members {
            [from, '-', to, rest @ ..] => {
                found |= (*from..=*to).contains(&letter);
                rest
            }
            [member, rest @ ..] => {
                found |= *member == letter;
                rest
            }
            [] => return Some((found != negated, end + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, yes, no) in [
            ("eth0", "eth0", "eth01"),
            ("eth*", "eth", "et"),
            ("*", "", "\0"),
            ("*0", "eth00", "eth01"),
            ("e*h*1", "eth0h1", "eth0h10"),
            ("eth?", "eth0", "eth"),
            ("eth[0-2]", "eth2", "eth3"),
            ("eth[!0]", "eth1", "eth0"),
            ("[]a]", "]", "b"),
            ("a[b", "a[b", "ab"),
            ("\\*", "*", "a"),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(!matches(pattern, no) || pattern == "*", "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_denied_is_not_taken_though_it_be_allowed() {
        let selection = Selection { allowed: vec!["eth*".to_owned()], denied: vec!["eth1".to_owned()] };
        assert!(selection.contains("eth0") && !selection.contains("eth1") && !selection.contains("wlan0"));
        assert!(Selection::default().contains("wlan0") && !Selection::default().contains("lo"));
    }

    proptest! {
        #[test]
        fn any_pattern_is_compared_to_an_end(pattern in "[*?\\[\\]a!\\\\-]{0,40}", name in "[a\\[\\]-]{0,40}") {
            let _ = matches(&pattern, &name);
            let around = format!("*{}*", name.replace(['[', ']'], "?"));
            prop_assert!(matches(&around, &name), "{}", around);
        }
    }
}
