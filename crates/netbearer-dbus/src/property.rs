use std::time::Duration;

use netbearer_types::{PropertyKey, PropertyValue};
use zbus::{OwnedVariant, Variant};

/// A session property's value as it travels: durations are milliseconds, like those of the seed.
#[must_use]
pub fn property_to_wire(value: &PropertyValue) -> Variant<'static> {
    match value {
        PropertyValue::Boolean(value) => Variant::from(*value),
        PropertyValue::Number(value) => Variant::from(*value),
        PropertyValue::Text(value) => Variant::from(value.clone()),
        PropertyValue::Duration(value) => Variant::from(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)),
        _ => Variant::from(String::new()),
    }
}

/// The value that has travelled; any integer will do for a number. None if no property has such a value.
#[must_use]
pub fn property_from_wire(key: PropertyKey, value: &OwnedVariant) -> Option<PropertyValue> {
    let number = match &**value {
        Variant::Bool(value) => return Some(PropertyValue::Boolean(*value)),
        Variant::Str(value) => return Some(PropertyValue::Text(value.as_str().to_owned())),
        Variant::U8(value) => i64::from(*value),
        Variant::I16(value) => i64::from(*value),
        Variant::U16(value) => i64::from(*value),
        Variant::I32(value) => i64::from(*value),
        Variant::U32(value) => i64::from(*value),
        Variant::I64(value) => *value,
        Variant::U64(value) => i64::try_from(*value).unwrap_or(i64::MAX),
        _ => return None,
    };
    Some(match (key, u64::try_from(number)) {
        (PropertyKey::AnswerTimeout, Ok(milliseconds)) => PropertyValue::Duration(Duration::from_millis(milliseconds)),
        _ => PropertyValue::Number(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_arrive_as_they_were_sent() {
        for (key, value) in [
            (PropertyKey::Reconnect, PropertyValue::Boolean(true)),
            (PropertyKey::AutoCloseSessionTimeout, PropertyValue::Number(-1)),
            (PropertyKey::OnTimeout, PropertyValue::Text("migrate".to_owned())),
            (PropertyKey::AnswerTimeout, PropertyValue::Duration(Duration::from_millis(1500))),
        ] {
            let wire = OwnedVariant::try_from(property_to_wire(&value)).unwrap();
            assert_eq!(property_from_wire(key, &wire), Some(value));
        }
    }
}
