//! Profiles as files that say the same: what [`ProfileStore`](crate::ProfileStore) reads, the other way round.

use std::{borrow::Borrow, collections::BTreeMap};

use netbearer_types::{Matching, Profile, ServiceNetworkProfile, UserChoiceProfile};
use serde::Serialize;
use toml::Value;

use crate::{
    check::PROXIES,
    words::{PURPOSES, Section},
};

/// The one key whose words in files are not its names elsewhere.
const PURPOSE: &str = "purpose";

/// A profile that no file can say.
#[derive(Debug, thiserror::Error)]
#[error("this profile cannot be written as a file")]
pub struct WritingError(#[from] toml::ser::Error);

/// The text of a file for the access points that `matching` is for. What is as usual is left out.
///
/// What it says is read as it was written, but for octets of a vendor class that are no text. A profile that contradicts
/// itself, or that no machine could have, is written all the same; reading it names the mistake.
///
/// # Errors
/// When a value has no form in a file.
pub fn access_point(matching: &Matching, profile: &Profile) -> Result<String, WritingError> {
    let matching = worded_values(matching)?;
    let profile = unusual(profile, &Profile::default())?;
    let (matching, profile) = (lines(Section::Match, &matching), lines(Section::AccessPoint, &profile));
    Ok(format!("[match]\n{matching}\n[access_point]\n{profile}"))
}

/// The text of a file for a service network. What is as usual is left out.
///
/// # Errors
/// When a value has no form in a file.
pub fn service_network(profile: &ServiceNetworkProfile) -> Result<String, WritingError> {
    let profile = unusual(profile, &ServiceNetworkProfile::default())?;
    Ok(format!("[service_network]\n{}", lines(Section::ServiceNetwork, &profile)))
}

/// The text of a file for a user choice.
///
/// # Errors
/// When a value has no form in a file.
pub fn user_choice(profile: &UserChoiceProfile) -> Result<String, WritingError> {
    let profile = unusual(profile, &UserChoiceProfile::default())?;
    Ok(format!("[user_choice]\n{}", lines(Section::UserChoice, &profile)))
}

/// The lines of a section, in the order of its words.
pub(crate) fn lines(section: Section, values: &BTreeMap<impl Borrow<str> + Ord, Value>) -> String {
    let words = section.words().iter().filter_map(|word| Some((word.key, values.get(word.key)?)));
    words.map(|(key, value)| format!("{key} = {value}\n")).collect()
}

fn unusual<T: Serialize>(profile: &T, usual: &T) -> Result<BTreeMap<String, Value>, WritingError> {
    let usual = worded_values(usual)?;
    let mut values = worded_values(profile)?;
    values.retain(|key, value| usual.get(key) != Some(value));
    Ok(values)
}

/// Each value under the word that files have for it.
fn worded_values(of: &impl Serialize) -> Result<BTreeMap<String, Value>, WritingError> {
    let worded = |(key, value): (String, Value)| match value {
        Value::Table(variant) => {
            let url = PROXIES.iter().find_map(|(word, name)| Some(((*word).to_owned(), variant.get(*name)?.clone())));
            url.unwrap_or((key, Value::Table(variant)))
        }
        Value::String(name) if key == PURPOSE => {
            let is_word = |word: &&&str| word.replace('-', "").eq_ignore_ascii_case(&name);
            let word = PURPOSES.iter().find(is_word).map(|word| Value::from(*word));
            (key, word.unwrap_or(Value::String(name)))
        }
        value => (key, value),
    };
    Ok(toml::Table::try_from(of)?.into_iter().map(worded).collect())
}
