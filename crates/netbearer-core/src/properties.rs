use std::{collections::BTreeMap, time::Duration};

use netbearer_types::{PropertyKey, PropertyValue};

use crate::Refusal;

/// How long a replacement offer may stay unanswered unless the application says otherwise (semantics §5).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the application wrote; everything else shows its default (semantics §6).
#[derive(Clone, Debug, Default)]
pub(crate) struct Properties {
    written: BTreeMap<PropertyKey, PropertyValue>,
}

impl Properties {
    /// Writes a property; no value removes it, so that its default shows again.
    pub(crate) fn set(&mut self, key: PropertyKey, value: Option<PropertyValue>) -> Result<(), Refusal> {
        if key.is_read_only() {
            return Err(Refusal::ReadOnlyProperty(key));
        }
        let Some(value) = value else {
            self.written.remove(&key);
            return Ok(());
        };
        let (fits, expected) = match key {
            PropertyKey::ConnectInBackground | PropertyKey::Reconnect => {
                (matches!(value, PropertyValue::Boolean(_)), "true or false")
            }
            PropertyKey::AutoCloseSessionTimeout => {
                (matches!(value, PropertyValue::Number(-1..)), "milliseconds, or -1 for none")
            }
            PropertyKey::AnswerTimeout => (matches!(value, PropertyValue::Duration(_)), "a duration"),
            PropertyKey::OnTimeout => (
                matches!(&value, PropertyValue::Text(text) if text == "end" || text == "migrate"),
                "\"end\" or \"migrate\"",
            ),
            _ => (false, "nothing"),
        };
        if !fits {
            return Err(Refusal::UnfitPropertyValue { key, expected });
        }
        self.written.insert(key, value);
        Ok(())
    }

    /// Reads a property that the application may write.
    pub(crate) fn get(&self, key: PropertyKey) -> Option<PropertyValue> {
        // No engine here must poll, so this one reads as unset whatever was written (semantics §6).
        if key == PropertyKey::AutoCloseSessionTimeout {
            return Some(PropertyValue::Number(-1));
        }
        self.written.get(&key).cloned().or_else(|| match key {
            PropertyKey::Reconnect => Some(PropertyValue::Boolean(false)),
            PropertyKey::AnswerTimeout => Some(PropertyValue::Duration(ANSWER_TIMEOUT)),
            PropertyKey::OnTimeout => Some(PropertyValue::Text("end".to_owned())),
            _ => None,
        })
    }

    /// All that was written.
    pub(crate) const fn written(&self) -> &BTreeMap<PropertyKey, PropertyValue> {
        &self.written
    }

    /// As they were written before.
    pub(crate) const fn restored(written: BTreeMap<PropertyKey, PropertyValue>) -> Self {
        Self { written }
    }

    pub(crate) fn reconnect(&self) -> bool {
        self.written.get(&PropertyKey::Reconnect) == Some(&PropertyValue::Boolean(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_restores_the_default() {
        let mut properties = Properties::default();
        assert_eq!(properties.get(PropertyKey::ConnectInBackground), None);
        properties.set(PropertyKey::ConnectInBackground, Some(PropertyValue::Boolean(true))).unwrap();
        assert_eq!(properties.get(PropertyKey::ConnectInBackground), Some(PropertyValue::Boolean(true)));
        properties.set(PropertyKey::ConnectInBackground, None).unwrap();
        assert_eq!(properties.get(PropertyKey::ConnectInBackground), None);
    }

    #[test]
    fn unfit_values_and_read_only_keys_change_nothing() {
        let mut properties = Properties::default();
        for (key, value) in [
            (PropertyKey::Reconnect, PropertyValue::Number(1)),
            (PropertyKey::AutoCloseSessionTimeout, PropertyValue::Number(-2)),
            (PropertyKey::OnTimeout, PropertyValue::Text("perhaps".into())),
            (PropertyKey::ActiveConfiguration, PropertyValue::Text("ap0".into())),
        ] {
            let before = properties.get(key);
            assert!(properties.set(key, Some(value)).is_err(), "{key}");
            assert_eq!(properties.get(key), before);
        }
    }

    #[test]
    fn auto_close_reads_as_unset_because_no_engine_polls() {
        let mut properties = Properties::default();
        properties.set(PropertyKey::AutoCloseSessionTimeout, Some(PropertyValue::Number(5000))).unwrap();
        assert_eq!(properties.get(PropertyKey::AutoCloseSessionTimeout), Some(PropertyValue::Number(-1)));
    }
}
