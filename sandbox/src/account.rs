//! The state of the imitated account, and the functions that change it. Nothing here waits or reads the time.

use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::ids::Ids;
use crate::options::Options;
use crate::policy::Policy;
use crate::rules::Rules;
use crate::store::{ENTRIES_MAX, Store};
use crate::template::{from_template, overlay};
use crate::version::Version;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// The cause of a change: a call, or none if it is the clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

/// The imitated Stripe account.
pub(crate) struct StripeAccount {
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    /// The sandbox's time, set when a transaction begins, or that of the test clock in force.
    pub(crate) now_s: i64,
    /// The sandbox's time while a test clock is in force.
    outside_s: Option<i64>,
    /// The time that the clock is on its way to. What happens on the way is kept as long as what happens then.
    pub(crate) arrival_s: Option<i64>,
    /// The real time, for deliveries only.
    pub(crate) real_ms: i64,
    pub(crate) cause: Cause,
    pub(crate) rules: Rules,
    pub(crate) policy: Policy,
    /// Random decisions about deliveries and faults.
    pub(crate) rng: StdRng,
    /// The base URL of the pages of invoices and receipts.
    pub(crate) url: String,
    /// The API version of events for endpoints that name none.
    pub(crate) api_version: String,
}

impl StripeAccount {
    /// The account as it is stored, at time 0.
    pub(crate) fn new(options: &Options, store: Store, url: &str) -> Self {
        // The same seed must not produce the same ids again after a restart.
        let seed = options.seed.unwrap_or_else(rand::random) ^ store.seq().rotate_left(32);
        Self {
            store,
            ids: Ids::new(seed),
            now_s: 0,
            outside_s: None,
            arrival_s: None,
            real_ms: 0,
            cause: Cause::default(),
            rules: options.rules.clone(),
            policy: options.policy.clone(),
            rng: StdRng::seed_from_u64(seed.wrapping_add(1)),
            url: url.to_owned(),
            api_version: Version::parse(&options.api_version).unwrap_or_default().as_str().to_owned(),
        }
    }

    /// Runs something at the time of a test clock.
    pub(crate) fn at<T>(&mut self, clock_s: i64, run: impl FnOnce(&mut Self) -> T) -> T {
        let outside_s = self.now_s;
        (self.now_s, self.outside_s) = (clock_s, Some(outside_s));
        let result = run(self);
        (self.now_s, self.outside_s) = (outside_s, None);
        result
    }

    /// The sandbox's time, whatever test clock is in force. Events and deliveries go by it.
    pub(crate) fn sandbox_s(&self) -> i64 {
        self.outside_s.unwrap_or(self.now_s)
    }

    /// The time from which an event that is made now is kept.
    pub(crate) fn kept_from_s(&self) -> i64 {
        self.arrival_s.unwrap_or_else(|| self.sandbox_s())
    }

    /// An object's current state.
    pub(crate) fn get(&self, id: &str) -> Option<&Value> {
        self.store.get(id)
    }

    /// A copy of an object, null if there is none.
    pub(crate) fn copy(&self, id: &str) -> Value {
        self.get(id).cloned().unwrap_or_default()
    }

    /// Finds the object that the path names.
    pub(crate) fn find(&self, kind: &str, id: &str) -> Result<Value, ApiError> {
        self.of_kind(kind, id).ok_or_else(|| ApiError::no_such(&display_name(kind), id, None))
    }

    /// Finds the object that a parameter names.
    pub(crate) fn find_param(&self, kind: &str, id: &str, param: &str) -> Result<Value, ApiError> {
        self.of_kind(kind, id).ok_or_else(|| ApiError::no_such(&display_name(kind), id, Some(param)))
    }

    fn of_kind(&self, kind: &str, id: &str) -> Option<Value> {
        self.get(id).filter(|value| value.text("object") == kind && !value.is("deleted")).cloned()
    }

    /// An unused id.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        loop {
            let id = self.ids.id(prefix);
            if self.get(&id).is_none() {
                return id;
            }
        }
    }

    /// Creates an object with a new id.
    pub(crate) fn make(&mut self, prefix: &str, kind: &str, fields: Value) -> Result<Value, ApiError> {
        let id = self.new_id(prefix);
        self.make_as(&id, kind, fields)
    }

    /// Creates an object with a given id.
    pub(crate) fn make_as(&mut self, id: &str, kind: &str, fields: Value) -> Result<Value, ApiError> {
        if self.store.len() >= ENTRIES_MAX {
            return Err(ApiError::api(503, "The SANDBOX is full. Reset it."));
        }
        let mut object = from_template(kind, fields);
        overlay(&mut object, json!({ "id": id }));
        if !matches!(kind, "card" | "discount" | "refund" | "balance_transaction") {
            overlay(&mut object, json!({ "livemode": false }));
        }
        if !matches!(kind, "card" | "discount" | "invoiceitem") && object.opt_int("created").is_none() {
            overlay(&mut object, json!({ "created": self.now_s }));
        }
        // What belongs to a customer lives in its time.
        if object.get("test_clock").is_some_and(Value::is_null) {
            let clock = self.copy(object.text("customer"))["test_clock"].clone();
            overlay(&mut object, json!({ "test_clock": clock }));
        }
        self.store.put(id, object.clone());
        Ok(object)
    }

    /// Changes fields of an object and returns the previous values, as in `previous_attributes`.
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

    /// Changes fields of an object and emits an event if any value differs.
    pub(crate) fn change_and_emit(&mut self, id: &str, fields: Value, event: &str) -> Result<Value, ApiError> {
        let previous = self.change(id, fields);
        if previous.as_object().is_some_and(|previous| !previous.is_empty()) {
            self.emit_change(event, id, previous)?;
        }
        Ok(self.copy(id))
    }

    /// The changed `metadata` field of an object, empty if the call does not name it.
    pub(crate) fn metadata_change(object: &Value, form: &Form) -> Result<Map<String, Value>, ApiError> {
        let mut fields = Map::new();
        if form.has("metadata") {
            fields.insert("metadata".to_owned(), form.metadata(&object["metadata"])?);
        }
        Ok(fields)
    }
}

/// The kind in Stripe's error messages.
fn display_name(kind: &str) -> String {
    match kind {
        "payment_method" => "PaymentMethod".to_owned(),
        _ => kind.replace('.', " "),
    }
}
