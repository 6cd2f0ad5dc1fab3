//! Masks secrets in reports.

use serde_json::Value;
use std::cell::RefCell;

/// The replacement of a secret.
const MASKED: &str = "***";
/// JSON fields that are always secret.
const SECRET_FIELDS: [&str; 4] = ["api_key", "token", "client_secret", "marketplace_link"];
/// Shorter texts are not masked, since they occur everywhere.
const SECRET_LEN_MIN: usize = 4;

/// The secrets to mask.
#[derive(Default)]
pub struct Mask {
    secrets: RefCell<Vec<String>>,
}

impl Mask {
    /// Masks this text from now on.
    pub fn add(&self, secret: &str) {
        if secret.len() >= SECRET_LEN_MIN {
            self.secrets.borrow_mut().push(secret.to_owned());
        }
    }

    /// Returns the text with its secrets masked.
    pub fn hide(&self, text: &str) -> String {
        let text = match serde_json::from_str::<Value>(text) {
            Ok(mut value) if value.is_object() || value.is_array() => {
                hide_fields(&mut value);
                value.to_string()
            }
            _ => text.to_owned(),
        };
        self.secrets.borrow().iter().fold(text, |text, secret| text.replace(secret, MASKED))
    }
}

fn hide_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRET_FIELDS.contains(&name.as_str()) && value.is_string() {
                    *value = MASKED.into();
                } else {
                    hide_fields(value);
                }
            }
        }
        Value::Array(rows) => rows.iter_mut().for_each(hide_fields),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_field_name_and_by_known_value() {
        let mask = Mask::default();
        mask.add("whsec_known");
        mask.add("");
        let shown = mask.hide(r#"{"rows":[{"api_key":"bsk_1","name":"Ada"}],"said":"it is whsec_known"}"#);
        assert_eq!(shown, r#"{"rows":[{"api_key":"***","name":"Ada"}],"said":"it is ***"}"#);
        assert_eq!(mask.hide("plain whsec_known"), "plain ***");
    }
}
