//! Reading fields of objects that are kept as JSON.

use serde_json::Value;

/// Fields of an object; what is missing or of another type reads as empty.
pub(crate) trait Fields {
    /// A text, or "".
    fn text(&self, name: &str) -> &str;
    /// A text that is there and not empty.
    fn opt(&self, name: &str) -> Option<&str>;
    /// A number, or 0.
    fn int(&self, name: &str) -> i64;
    /// A number that is there.
    fn opt_int(&self, name: &str) -> Option<i64>;
    /// Whether it is true.
    fn is(&self, name: &str) -> bool;
    /// The id of the object.
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

/// Takes away what only the sandbox knows: every field whose name begins with `_`.
pub(crate) fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.starts_with('_'));
            // Metadata is the customer's own, whatever it is called.
            let inside = fields.iter_mut().filter(|(name, _)| *name != "metadata");
            inside.for_each(|(_, field)| strip(field));
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
