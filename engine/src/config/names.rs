//! The names of all settings. They are taken from the settings' type, so that a new setting is known by itself.

use super::Config;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use std::sync::LazyLock;

/// `listen`, `stripe.secret_key` and so on, in the order of their fields.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| collect().unwrap_or_default());

/// The names of all settings.
pub(super) fn setting_names() -> &'static [String] {
    &NAMES
}

/// Reads settings from nothing, and writes down which fields are asked for.
fn collect() -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    Config::deserialize(Field { name: String::new(), found: &mut found })?;
    Ok(found)
}

/// A field, or the settings themselves, whose name is empty.
struct Field<'a> {
    name: String,
    found: &'a mut Vec<String>,
}

/// Deserialises a value of a simple type: some value of it, because only the field's name is of interest.
macro_rules! simple {
    ($($method:ident => $visit:ident($($value:expr)?),)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.found.push(self.name);
            visitor.$visit($($value)?)
        })+
    };
}

impl<'de> Deserializer<'de> for Field<'_> {
    type Error = Error;

    simple! {
        deserialize_any => visit_str(""),
        deserialize_bool => visit_bool(false),
        deserialize_i64 => visit_i64(0),
        deserialize_u64 => visit_u64(0),
        deserialize_f64 => visit_f64(0.0),
        deserialize_option => visit_none(),
        deserialize_seq => visit_seq(Nothing),
        deserialize_map => visit_map(Nothing),
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { section: self.name, left: fields, found: self.found })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.found.push(self.name);
        let first: StrDeserializer<'_, Error> = variants.first().copied().unwrap_or_default().into_deserializer();
        visitor.visit_enum(first)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The fields of a section.
struct Fields<'a> {
    section: String,
    left: &'static [&'static str],
    found: &'a mut Vec<String>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(name) = self.left.first() else { return Ok(None) };
        seed.deserialize(IntoDeserializer::<Error>::into_deserializer(*name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, left) = self.left.split_first().unwrap_or((&"", &[]));
        self.left = left;
        let name = if self.section.is_empty() { (*name).to_owned() } else { format!("{}.{name}", self.section) };
        seed.deserialize(Field { name, found: &mut *self.found })
    }
}

/// A list or a table without entries.
struct Nothing;

impl<'de> SeqAccess<'de> for Nothing {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, _: T) -> Result<Option<T::Value>, Error> {
        Ok(None)
    }
}

impl<'de> MapAccess<'de> for Nothing {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, Error> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("there is no entry"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_once_and_secrets_are_among_them() {
        let names = collect().expect("every type of a setting can be read from nothing");
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "{names:?}");
        let defaults = serde_json::to_value(Config::default()).expect("settings are JSON");
        for (name, value) in defaults.as_object().into_iter().flatten() {
            let fields: Vec<String> = match value.as_object() {
                Some(fields) => fields.keys().map(|field| format!("{name}.{field}")).collect(),
                None => vec![name.clone()],
            };
            assert!(fields.iter().all(|field| names.contains(field)), "{fields:?}");
        }
        for secret in ["admin_token", "stripe.secret_key", "mail.smtp_url", "marketplace.webhook_secrets"] {
            assert!(names.iter().any(|name| name == secret), "{secret}");
        }
        assert!(names.len() > 80 && !names.iter().any(|name| name == "catalogue"), "{names:?}");
    }
}
