//! The state that calls and the clock act on, and the few ways to change it. Nothing here waits or
//! reads the time.

use crate::blank::{filled, overlay};
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::ids::Ids;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::store::{ENTRIES_MAX, Store};
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// Who caused what is happening: a call, or nobody when the clock did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// The state.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    /// The sandbox's own time. Set at the beginning of each act.
    pub(crate) now_s: i64,
    /// The real time, which only deliveries go by.
    pub(crate) real_ms: i64,
    pub(crate) cause: Cause,
    pub(crate) rules: Rules,
    pub(crate) policy: Policy,
    /// What chance decides about deliveries and faults.
    pub(crate) rng: StdRng,
    /// Where people can look at invoices and receipts.
    pub(crate) url: String,
    /// The version in which events are made for those who name none.
    pub(crate) api_version: String,
}

impl World {
    /// An object as it is now.
    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.store.get(id)
    }

    /// A copy of an object, or null.
    pub(crate) fn copy(&self, id: &str) -> Value {
        self.get(id).cloned().unwrap_or_default()
    }

    /// An object that the path names.
    pub(crate) fn find(&self, kind: &str, id: &str) -> Result<Value, ApiError> {
        self.of_kind(kind, id).ok_or_else(|| ApiError::no_such(&named(kind), id, None))
    }

    /// An object that a parameter names.
    pub(crate) fn find_param(&self, kind: &str, id: &str, param: &str) -> Result<Value, ApiError> {
        self.of_kind(kind, id).ok_or_else(|| ApiError::no_such(&named(kind), id, Some(param)))
    }

    fn of_kind(&self, kind: &str, id: &str) -> Option<Value> {
        self.get(id).filter(|value| value.text("object") == kind && !value.is("deleted")).cloned()
    }

    /// A new id that no object has.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        loop {
            let id = self.ids.id(prefix);
            if self.get(&id).is_none() {
                return id;
            }
        }
    }

    /// Makes an object.
    pub(crate) fn make(&mut self, prefix: &str, kind: &str, fields: Value) -> Result<Value, ApiError> {
        let id = self.new_id(prefix);
        self.make_as(&id, kind, fields)
    }

    /// Makes an object whose id is known.
    pub(crate) fn make_as(&mut self, id: &str, kind: &str, fields: Value) -> Result<Value, ApiError> {
        if self.store.len() >= ENTRIES_MAX {
            return Err(ApiError::api(503, "The SANDBOX is full. Reset it."));
        }
        let mut object = filled(kind, fields);
        overlay(&mut object, json!({ "id": id }));
        if !matches!(kind, "card" | "refund" | "balance_transaction") {
            overlay(&mut object, json!({ "livemode": false }));
        }
        if !matches!(kind, "card" | "invoiceitem") && object.opt_int("created").is_none() {
            overlay(&mut object, json!({ "created": self.now_s }));
        }
        self.store.put(id, object.clone());
        Ok(object)
    }

    /// Changes fields of an object and gives what they were, as `previous_attributes` does.
    pub(crate) fn change(&mut self, id: &str, fields: Value) -> Value {
        let (Some(mut object), Value::Object(fields)) = (self.get(id).cloned(), fields) else { return Value::Null };
        let mut previous = Map::new();
        for (name, value) in fields {
            let before = object.get(&name).cloned().unwrap_or_default();
            if before != value {
                if !name.starts_with('_') {
                    previous.insert(name.clone(), before);
                }
                overlay(&mut object, Value::Object(Map::from_iter([(name, value)])));
            }
        }
        self.store.put(id, object);
        Value::Object(previous)
    }

    /// Changes fields of an object and emits an event if anything is different.
    pub(crate) fn change_and_emit(&mut self, id: &str, fields: Value, event: &str) -> Result<Value, ApiError> {
        let previous = self.change(id, fields);
        if previous.as_object().is_some_and(|previous| !previous.is_empty()) {
            self.emit_change(event, id, previous)?;
        }
        Ok(self.copy(id))
    }

    /// What the metadata of an object becomes, as a field to change; nothing if the call names none.
    pub(crate) fn metadata_change(object: &Value, form: &Form) -> Result<Map<String, Value>, ApiError> {
        let mut fields = Map::new();
        if form.has("metadata") {
            fields.insert("metadata".to_owned(), form.metadata(&object["metadata"])?);
        }
        Ok(fields)
    }
}

/// The kind in Stripe's words.
fn named(kind: &str) -> String {
    match kind {
        "payment_method" => "PaymentMethod".to_owned(),
        _ => kind.replace('.', " "),
    }
}
