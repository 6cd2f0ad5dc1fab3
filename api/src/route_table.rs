//! Every route with its methods and the credentials that they need, read from the OpenAPI document, so that both are
//! known before the body of a request is read.

use poem::http::Method;
use serde_json::Value;
use std::collections::HashMap;

/// The credentials that an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// None.
    Open,
    /// A customer's API key.
    Customer,
    /// An admin token.
    Admin,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Its `operation_id`.
    pub id: &'static str,
    /// The credentials that it needs.
    pub access: Access,
}

/// All routes.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// Where they are in `routes`, by their paths.
    places: Node,
    /// The paths of operations by their ids.
    templates: HashMap<&'static str, &'static str>,
}

#[derive(Debug, Clone)]
struct Route {
    /// The path as the document has it, such as `/api/v1/holds/{id}`.
    template: &'static str,
    operations: Vec<(Method, Operation)>,
}

/// The routes whose paths begin alike, by their next part between slashes.
#[derive(Debug, Clone, Default)]
struct Node {
    next: HashMap<&'static str, Node>,
    /// Those whose next part is a parameter.
    parameter: Option<Box<Node>>,
    /// The route whose path ends here.
    place: Option<usize>,
}

impl Node {
    fn add(&mut self, template: &'static str, place: usize) {
        let mut node = self;
        for part in template.split('/') {
            node = match part.starts_with('{') {
                true => node.parameter.get_or_insert_default(),
                false => node.next.entry(part).or_default(),
            };
        }
        node.place = Some(place);
    }

    /// The route of the rest of a path, after the number of its parameters: the one with the fewest.
    fn find(&self, rest: Option<&str>) -> Option<(usize, usize)> {
        let Some(rest) = rest else { return self.place.map(|place| (0, place)) };
        let (part, rest) = rest.split_once('/').map_or((rest, None), |(part, rest)| (part, Some(rest)));
        let named = self.next.get(part).and_then(|node| node.find(rest));
        let parameter = self.parameter.as_deref().filter(|_| !part.is_empty());
        let any = parameter.and_then(|node| node.find(rest)).map(|(parameters, place)| (parameters + 1, place));
        named.into_iter().chain(any).min()
    }
}

impl RouteTable {
    /// Reads the routes of a document. Its paths and the names of its operations are kept for as long as the process
    /// runs.
    pub fn from_document(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).unwrap_or_default();
        let (mut routes, mut templates) = (Vec::new(), HashMap::new());
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            let mut route = Route { template: path.clone().leak(), operations: Vec::new() };
            for (method, operation) in methods.as_object().into_iter().flatten() {
                if let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes())
                    && let Some(id) = operation["operationId"].as_str()
                {
                    let id = &*id.to_owned().leak();
                    templates.insert(id, route.template);
                    route.operations.push((method, Operation { id, access: access(operation) }));
                }
            }
            routes.push(route);
        }
        Self { places: places(&routes), routes, templates }
    }

    /// Adds routes that are not in the document, with their methods. They need no credentials.
    #[must_use]
    pub fn with_open(mut self, paths: &[&'static str], methods: &[Method]) -> Self {
        self.routes.extend(paths.iter().map(|path| {
            let open = |method: &Method| (method.clone(), Operation { id: "other", access: Access::Open });
            Route { template: path, operations: methods.iter().map(open).collect() }
        }));
        self.places = places(&self.routes);
        self
    }

    /// The operation of a request, if there is one.
    pub fn operation(&self, method: &Method, path: &str) -> Option<Operation> {
        let mut operations = self.find(path)?.operations.iter();
        operations.find(|(known, _)| known == method).map(|(_, operation)| *operation)
    }

    /// The path of an operation, as the document has it.
    pub fn template_of(&self, operation: &str) -> Option<&'static str> {
        self.templates.get(operation).copied()
    }

    /// The path of the route that a path belongs to, as the document has it; `other` if there is none.
    pub fn template_at(&self, path: &str) -> &'static str {
        self.find(path).map_or("other", |route| route.template)
    }

    /// The methods of a path, as in `Allow`; `None` if there is no such path.
    pub fn allow(&self, path: &str) -> Option<String> {
        let operations = &self.find(path)?.operations;
        let mut methods: Vec<&str> = operations.iter().map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        Some(methods.join(", "))
    }

    /// A path without parameters precedes one with parameters.
    fn find(&self, path: &str) -> Option<&Route> {
        let path = match path.strip_suffix('/') {
            Some(shorter) if !shorter.is_empty() => shorter,
            _ => path,
        };
        let (_, place) = self.places.find(Some(path))?;
        self.routes.get(place)
    }
}

fn places(routes: &[Route]) -> Node {
    let mut places = Node::default();
    for (place, route) in routes.iter().enumerate() {
        places.add(route.template, place);
    }
    places
}

fn access(operation: &Value) -> Access {
    let mut schemes = operation["security"].as_array().into_iter().flatten().filter_map(Value::as_object);
    match schemes.next().and_then(|scheme| scheme.keys().next()).map(String::as_str) {
        None => Access::Open,
        Some("AdminAuth") => Access::Admin,
        Some(_) => Access::Customer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RouteTable {
        let document = serde_json::json!({ "paths": {
            "/api/v1/usage": { "post": { "operationId": "a", "security": [{ "CustomerAuth": [] }] } },
            "/api/v1/holds/{id}": { "delete": { "operationId": "b", "security": [{ "CustomerAuth": [] }] } },
            "/api/v1/holds/mine": { "get": { "operationId": "c" }, "put": { "operationId": "d" }, "parameters": [] },
            "/api/v1/holds/{id}/capture": { "post": { "operationId": "f", "security": [{ "CustomerAuth": [] }] } },
            "/admin/v1/events": { "get": { "operationId": "e", "security": [{ "AdminAuth": [] }] } },
        }});
        RouteTable::from_document(&document.to_string()).with_open(&["/docs", "/"], &[Method::GET])
    }

    #[test]
    fn an_operation_has_the_credentials_of_the_document() {
        let table = table();
        for (method, path, access) in [
            (Method::POST, "/api/v1/usage", Some(Access::Customer)),
            (Method::GET, "/api/v1/usage", None),
            (Method::DELETE, "/api/v1/holds/hld_1", Some(Access::Customer)),
            (Method::DELETE, "/api/v1/holds/mine", None),
            (Method::PUT, "/api/v1/holds/mine", Some(Access::Open)),
            (Method::DELETE, "/api/v1/holds/", None),
            (Method::DELETE, "/api/v1/holds/a/b", None),
            (Method::POST, "/api/v1/holds/hld_1/capture", Some(Access::Customer)),
            (Method::POST, "/api/v1/holds/mine/capture", Some(Access::Customer)),
            (Method::POST, "/api/v1/holds//capture", None),
            (Method::POST, "/api/v1/holds/hld_1/capture/again", None),
            (Method::POST, "api/v1/usage", None),
            (Method::GET, "/admin/v1/events", Some(Access::Admin)),
            (Method::GET, "/docs", Some(Access::Open)),
            (Method::GET, "/docs/", Some(Access::Open)),
            (Method::GET, "/", Some(Access::Open)),
            (Method::GET, "/nowhere", None),
        ] {
            assert_eq!(table.operation(&method, path).map(|found| found.access), access, "{method} {path}");
        }
    }

    #[test]
    fn a_template_hides_what_is_in_a_path() {
        let table = table();
        for (path, template) in [
            ("/api/v1/holds/hld_secret", "/api/v1/holds/{id}"),
            ("/api/v1/holds/mine", "/api/v1/holds/mine"),
            ("/docs/", "/docs"),
            ("/", "/"),
            ("/nowhere/secret", "other"),
            ("", "other"),
        ] {
            assert_eq!(table.template_at(path), template, "{path}");
        }
        assert_eq!([table.template_of("b"), table.template_of("z")], [Some("/api/v1/holds/{id}"), None]);
    }

    #[test]
    fn the_methods_of_a_path_are_known() {
        let table = table();
        assert_eq!(table.allow("/api/v1/usage").as_deref(), Some("POST"));
        assert_eq!(table.allow("/api/v1/holds/mine").as_deref(), Some("GET, HEAD, PUT"));
        assert_eq!(table.allow("/docs").as_deref(), Some("GET, HEAD"));
        assert_eq!(table.allow("/nowhere"), None);
    }
}
