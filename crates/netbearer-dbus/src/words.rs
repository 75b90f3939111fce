use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// How a value without contents is spelt: as serde spells it, which is as [`std::fmt::Display`] does.
#[must_use]
pub fn to_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// What a word means; none if this version does not know it.
#[must_use]
pub fn from_word<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(Value::String(word.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use netbearer_types::{BearerType, Kind};

    use super::*;

    #[test]
    fn words_are_those_that_people_see() {
        for kind in [Kind::InternetAccessPoint, Kind::ServiceNetwork, Kind::UserChoice, Kind::Invalid] {
            assert_eq!(to_word(&kind), kind.to_string());
            assert_eq!(from_word(&to_word(&kind)), Some(kind));
        }
        assert_eq!((to_word(&BearerType::Wlan), from_word("WLAN")), ("WLAN".to_owned(), Some(BearerType::Wlan)));
        assert_eq!(from_word::<BearerType>("Laser"), None);
    }
}
