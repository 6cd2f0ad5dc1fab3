//! Access to fields of JSON objects.

use serde_json::Value;

/// Fields of an object. A missing field or one of another type reads as empty.
pub(crate) trait Fields {
    /// A string, or "".
    fn text(&self, name: &str) -> &str;
    /// A string that is not empty.
    fn opt(&self, name: &str) -> Option<&str>;
    /// A number, or 0.
    fn int(&self, name: &str) -> i64;
    /// A number.
    fn opt_int(&self, name: &str) -> Option<i64>;
    /// Whether it is true.
    fn is(&self, name: &str) -> bool;
    fn id(&self) -> &str;
}

impl Fields for Value {
    fn text(&self, name: &str) -> &str {
        self[name].as_str().unwrap_or_default()
    }

    fn opt(&self, name: &str) -> Option<&str> {
        self[name].as_str().filter(|text| !text.is_empty())
    }

    fn int(&self, name: &str) -> i64 {
        self[name].as_i64().unwrap_or(0)
    }

    fn opt_int(&self, name: &str) -> Option<i64> {
        self[name].as_i64()
    }

    fn is(&self, name: &str) -> bool {
        self[name].as_bool().unwrap_or(false)
    }

    fn id(&self) -> &str {
        self.text("id")
    }
}

/// Removes the sandbox's internal fields, whose names begin with `_`.
pub(crate) fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.starts_with('_'));
            // Keys of metadata are the customer's own.
            let inside = fields.iter_mut().filter(|(name, _)| *name != "metadata");
            inside.for_each(|(_, field)| strip(field));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
