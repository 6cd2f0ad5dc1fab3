use super::samples;
use crate::render::render;
use crate::version::Version;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values of unexpected types.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!(true)),
        Just(json!(-7)),
        Just(json!("text")),
        Just(json!([])),
        Just(json!([null, 1, {"object": "invoice"}])),
        Just(json!({})),
        Just(json!({"object": "list", "data": [{}]})),
        Just(json!({"id": "x_1", "object": "price", "recurring": 7})),
    ]
}

/// Collects the JSON pointers of all places in a value.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Array(values) => values.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        _ => return,
    };
    for (key, value) in inside {
        let place = format!("{here}/{key}");
        places(value, &place, found);
        found.push(place);
    }
}

/// A sample with unexpected values in some places.
fn canonical() -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), odd()), 0..6);
    (prop::sample::select(samples::all()), changes).prop_map(|(mut object, changes)| {
        for (index, value) in changes {
            let mut found = Vec::new();
            places(&object, "", &mut found);
            if !found.is_empty()
                && let Some(place) = object.pointer_mut(&found[index.index(found.len())])
            {
                *place = value;
            }
        }
        object
    })
}

/// The id and kind of an object, and of an event's object.
fn identity(object: &Value) -> Vec<Option<&str>> {
    let places = ["/id", "/object", "/data/object/id", "/data/object/object"];
    places.iter().map(|place| object.pointer(place).and_then(Value::as_str)).collect()
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(Version::all().collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn rendering_never_panics_and_keeps_ids_and_kinds(object in canonical(), version in version()) {
        let mut rendered = object.clone();
        render(&mut rendered, version);
        prop_assert_eq!(identity(&rendered), identity(&object));
    }

    #[test]
    fn rendering_at_the_newest_version_is_idempotent(object in canonical()) {
        let mut once = object;
        render(&mut once, Version::newest());
        let mut twice = once.clone();
        render(&mut twice, Version::newest());
        prop_assert_eq!(twice, once);
    }

    #[test]
    fn internal_fields_are_never_rendered(object in prop::sample::select(samples::all()), version in version()) {
        let mut rendered = object;
        render(&mut rendered, version);
        prop_assert!(!rendered.to_string().contains("\"_"), "{}", rendered);
    }
}
