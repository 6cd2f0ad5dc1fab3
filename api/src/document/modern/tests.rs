//! Samples of the framework's document, and what becomes of them.

use super::*;

fn modern(mut schema: Value) -> Value {
    modernize_schema(&mut schema);
    schema
}

#[test]
fn a_nullable_type_becomes_two_types() {
    assert_eq!(modern(json!({ "type": "string", "nullable": true })), json!({ "type": ["string", "null"] }));
    assert_eq!(modern(json!({ "type": "string", "nullable": false })), json!({ "type": "string" }));
}

#[test]
fn null_is_among_the_values_of_a_nullable_enumeration() {
    let schema = modern(json!({ "type": "string", "enum": ["a"], "nullable": true }));
    assert_eq!(schema, json!({ "type": ["string", "null"], "enum": ["a", null] }));
}

#[test]
fn a_nullable_reference_becomes_a_choice_with_its_description_beside_it() {
    let reference = json!({ "$ref": "#/components/schemas/Hold" });
    let schema = modern(json!({ "allOf": [reference], "nullable": true, "description": "It." }));
    assert_eq!(schema, json!({ "oneOf": [reference, { "type": "null" }], "description": "It." }));
}

#[test]
fn a_described_reference_needs_no_combination() {
    let schema = modern(json!({ "allOf": [{ "$ref": "#/components/schemas/Hold" }], "description": "It." }));
    assert_eq!(schema, json!({ "$ref": "#/components/schemas/Hold", "description": "It." }));
}

#[test]
fn a_combination_of_two_schemas_stays_one() {
    let parts = json!([{ "$ref": "#/components/schemas/Hold" }, { "$ref": "#/components/schemas/Grant" }]);
    assert_eq!(modern(json!({ "allOf": parts })), json!({ "allOf": parts }));
}

#[test]
fn an_exclusive_limit_is_a_number() {
    let schema = modern(json!({ "type": "integer", "minimum": 0.0, "exclusiveMinimum": true, "maximum": 5.0 }));
    assert_eq!(schema, json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": 5 }));
    let schema = modern(json!({ "type": "number", "maximum": 0.5, "exclusiveMaximum": false }));
    assert_eq!(schema, json!({ "type": "number", "maximum": 0.5 }));
}

#[test]
fn the_example_of_a_schema_becomes_a_list_and_a_field_of_that_name_stays() {
    let schema = modern(json!({ "type": "object", "example": { "example": 1 },
        "properties": { "example": { "type": "integer", "example": 1 } } }));
    let expected = json!({ "type": "object", "examples": [{ "example": 1 }],
        "properties": { "example": { "type": "integer", "examples": [1] } } });
    assert_eq!(schema, expected);
}

#[test]
fn objects_of_requests_are_closed_and_those_of_answers_are_open() {
    let object = |inner: Value| json!({ "type": "object", "properties": { "a": inner } });
    let named =
        |name: &str| json!({ "content": { "application/json": { "schema": { "$ref": format!("{SCHEMAS}{name}") } } } });
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let mut document = json!({
        "paths": { "/a": { "post": { "requestBody": named("Asked"), "responses": { "200": named("Said") } } } },
        "components": { "schemas": {
            "Asked": object(json!({ "$ref": format!("{SCHEMAS}Inner") })),
            "Inner": object(texts.clone()),
            "Said": object(object(json!({ "type": "string" }))),
        } },
    });
    close_requests(&mut document);
    let schemas = &document["components"]["schemas"];
    let closed = ["Asked", "Inner", "Said"].map(|name| schemas[name]["additionalProperties"] == false);
    assert_eq!(closed, [true, true, false]);
    assert_eq!(
        (&schemas["Inner"]["properties"]["a"], &schemas["Said"]["properties"]["a"]["additionalProperties"]),
        (&texts, &Value::Null)
    );
}

#[test]
fn schemas_inside_schemas_are_changed_too() {
    let inner = json!({ "type": "string", "nullable": true });
    let schema = modern(json!({ "type": "array", "items": { "type": "object", "properties": { "a": inner } } }));
    assert_eq!(schema["items"]["properties"]["a"]["type"], json!(["string", "null"]));
}

fn document() -> Value {
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Bursar", "version": "1.0.0" },
        "servers": [],
        "paths": {
            "/a": { "get": {
                "operationId": "get_a",
                "parameters": [
                    { "name": "limit", "in": "query", "explode": true, "deprecated": false,
                      "schema": { "type": "integer", "format": "uint64" } },
                    { "name": "Stripe-Signature", "in": "header", "required": false, "schema": { "type": "string" } },
                ],
                "responses": { "200": {
                    "headers": { "RETRY-AFTER": { "schema": { "type": "integer", "format": "uint64" } } },
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/HoldBody" },
                        "example": { "$ref": 1 } } },
                } },
            } },
            "/b": { "post": { "operationId": "onboard", "responses": {} } },
            "/c": { "post": { "operationId": "other", "security": [{ "CustomerAuth": [] }], "responses": {} } },
        },
        "components": { "schemas": { "HoldBody": { "title": "HoldBody", "type": "object",
            "properties": { "created_at": { "type": "string" } } } } },
    })
}

#[test]
fn a_document_names_its_version_dialect_server_and_licence() {
    let mut document = document();
    modernize(&mut document);
    assert_eq!((&document["openapi"], &document["jsonSchemaDialect"]), (&json!(VERSION), &json!(DIALECT)));
    assert_eq!(document["servers"][0]["url"], "/");
    assert_eq!(document["info"]["license"]["name"], LICENCE.0);
}

#[test]
fn schemas_are_renamed_together_with_what_refers_to_them() {
    let mut document = document();
    modernize(&mut document);
    let hold = &document["components"]["schemas"]["Hold"];
    assert_eq!((&hold["title"], &hold["properties"]["created_at"]["format"]), (&json!("Hold"), &json!("date-time")));
    let media = &document["paths"]["/a"]["get"]["responses"]["200"]["content"]["application/json"];
    assert_eq!(media["schema"]["$ref"], "#/components/schemas/Hold");
    assert_eq!(media["example"], json!({ "$ref": 1 }));
}

#[test]
fn every_operation_says_which_credentials_it_takes() {
    let mut document = document();
    modernize(&mut document);
    assert_eq!(document["paths"]["/a"]["get"]["security"], json!([]));
    assert_eq!(document["paths"]["/b"]["post"]["security"], json!([{}, { "AdminAuth": [] }]));
    assert_eq!(document["paths"]["/c"]["post"]["security"], json!([{ "CustomerAuth": [] }]));
}

#[test]
fn parameters_and_headers_lose_defaults_and_get_limits() {
    let mut document = document();
    modernize(&mut document);
    let operation = &document["paths"]["/a"]["get"];
    let schema = json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 100 });
    assert_eq!(operation["parameters"][0], json!({ "name": "limit", "in": "query", "schema": schema }));
    assert_eq!(operation["parameters"][1]["required"], true);
    let header = &operation["responses"]["200"]["headers"]["Retry-After"];
    assert_eq!(header["schema"], json!({ "type": "integer", "format": "int64", "minimum": 0 }));
}
