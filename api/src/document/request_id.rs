//! Declares the identifier of requests, which the middleware reads and answers for every route.

use crate::request_id::LEN_MAX;
use crate::sample;
use serde_json::{Value, json};

/// The name as people write it.
const NAME: &str = "X-Request-Id";

/// Adds the optional header to every request, and the header to every response.
pub(super) fn declare(document: &mut Value) {
    // Any text is taken, so the schema has no restriction: one that cannot be used is replaced, and not refused.
    let parameter = format!(
        "Identifies the request in the answer and in the operator's log. It has 1 to {LEN_MAX} visible ASCII characters \
         without quotes and backslashes; any other is replaced by a new one."
    );
    let header =
        "The identifier of the request, by which the operator finds it in the log: the request's own, or a new one.";
    let (schema, example) = (json!({ "type": "string" }), sample::REQUEST);
    document["components"]["parameters"] = json!({ NAME: {
        "name": NAME, "in": "header", "required": false, "description": parameter, "schema": schema, "example": example,
    } });
    document["components"]["headers"] = json!({ NAME: {
        "required": true, "description": header, "schema": schema, "example": example,
    } });
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let methods = paths.into_iter().flatten().filter_map(|(_, methods)| methods.as_object_mut()).flatten();
    for (_, operation) in methods.filter(|(_, operation)| operation["operationId"].is_string()) {
        let reference = |kind: &str| json!({ "$ref": format!("#/components/{kind}/{NAME}") });
        match operation.get_mut("parameters").and_then(Value::as_array_mut) {
            Some(parameters) => parameters.push(reference("parameters")),
            None => operation["parameters"] = json!([reference("parameters")]),
        }
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (_, response) in responses.into_iter().flatten() {
            if !response["headers"].is_object() {
                response["headers"] = json!({});
            }
            response["headers"][NAME] = reference("headers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_response_of_it_names_the_identifier() {
        let mut document = json!({ "components": {}, "paths": { "/a": {
            "get": { "operationId": "a", "responses": { "200": {}, "503": { "headers": { "Retry-After": {} } } } },
            "put": { "operationId": "b", "parameters": [{ "name": "x" }], "responses": { "200": {} } },
        } } });
        declare(&mut document);
        let (parameter, header) =
            (json!("#/components/parameters/X-Request-Id"), json!("#/components/headers/X-Request-Id"));
        let of = |method: &str| document["paths"]["/a"][method].clone();
        assert_eq!(of("get")["parameters"][0]["$ref"], parameter);
        assert_eq!(
            (&of("put")["parameters"][0]["name"], &of("put")["parameters"][1]["$ref"]),
            (&json!("x"), &parameter)
        );
        for response in [&of("get")["responses"]["200"], &of("get")["responses"]["503"], &of("put")["responses"]["200"]]
        {
            assert_eq!(response["headers"][NAME]["$ref"], header);
        }
        assert!(of("get")["responses"]["503"]["headers"]["Retry-After"].is_object(), "others stay");
        assert!(document.pointer("/components/parameters/X-Request-Id/schema").is_some());
        assert!(document.pointer("/components/headers/X-Request-Id/schema").is_some());
    }
}
