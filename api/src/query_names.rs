//! Refuses query parameters that a route does not have. A misspelt name would otherwise be ignored, and the request
//! would do something else than was asked.

use serde_json::Value;

/// The query parameters of each route, from the OpenAPI document.
#[derive(Debug, Default)]
pub(crate) struct QueryNames {
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    method: String,
    /// The parts of its path; `None` stands for any.
    parts: Vec<Option<String>>,
    names: Vec<String>,
}

impl QueryNames {
    /// Reads the routes of an OpenAPI document.
    pub(crate) fn of(document: &Value) -> Self {
        let mut routes = Vec::new();
        for (path, operations) in document["paths"].as_object().into_iter().flatten() {
            let part = |text: &str| (!text.starts_with('{')).then(|| text.to_owned());
            for (method, operation) in operations.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let names = parameters.filter(|parameter| parameter["in"] == "query");
                let names = names.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned));
                let (method, parts) = (method.to_uppercase(), path.split('/').map(part).collect());
                routes.push(Route { method, parts, names: names.collect() });
            }
        }
        Self { routes }
    }

    /// What is wrong with a query, in words; `None` if nothing is, or if there is no such route.
    pub(crate) fn problem(&self, method: &str, path: &str, query: &str) -> Option<String> {
        let route = self.find(method, path)?;
        let mut url = reqwest::Url::parse("http://localhost").ok()?;
        url.set_query(Some(query));
        let unknown =
            url.query_pairs().map(|(name, _)| name).find(|name| !route.names.iter().any(|own| own == name))?;
        // What a stranger sends is shown as far as it looks like a name.
        let shown: String = unknown.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
        Some(match route.names.as_slice() {
            [] => format!("This route has no query parameters, and so no {shown}."),
            names => format!("This route has no query parameter {shown}. It has {}.", names.join(", ")),
        })
    }

    /// The route of a path: the one that names most of its parts.
    fn find(&self, method: &str, path: &str) -> Option<&Route> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |route: &&Route| {
            let pairs = || route.parts.iter().zip(&parts);
            route.method == method
                && route.parts.len() == parts.len()
                && pairs().all(|(own, given)| own.as_deref().is_none_or(|own| own == *given))
        };
        self.routes.iter().filter(fits).max_by_key(|route| route.parts.iter().flatten().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> QueryNames {
        let query = |name: &str| json!({ "in": "query", "name": name });
        QueryNames::of(&json!({ "paths": {
            "/api/v1/subscription": {
                "delete": { "parameters": [query("at_once"), { "in": "header", "name": "Idempotency-Key" }] },
                "get": {},
            },
            "/admin/v1/jobs/{id}": { "get": {} },
            "/admin/v1/jobs/stuck": { "get": { "parameters": [query("limit"), query("cursor")] } },
        } }))
    }

    #[test]
    fn a_parameter_that_a_route_does_not_have_is_named_with_those_that_it_has() {
        let said = names().problem("DELETE", "/api/v1/subscription", "at_period_end=false");
        let words = "This route has no query parameter at_period_end. It has at_once.";
        assert_eq!(said.as_deref(), Some(words));
        assert_eq!(names().problem("DELETE", "/api/v1/subscription", "at_once=true"), None);
        assert_eq!(names().problem("DELETE", "/api/v1/subscription", "at%5Fonce=true"), None);
        let said = names().problem("GET", "/api/v1/subscription", "x=1");
        assert_eq!(said.as_deref(), Some("This route has no query parameters, and so no x."));
        let header = names().problem("DELETE", "/api/v1/subscription", "Idempotency-Key=1");
        assert!(header.is_some(), "it is no query parameter");
    }

    #[test]
    fn the_route_that_names_more_of_a_path_counts_and_other_paths_are_left_alone() {
        assert_eq!(names().problem("GET", "/admin/v1/jobs/stuck", "limit=1&cursor=x"), None);
        assert!(names().problem("GET", "/admin/v1/jobs/job_1", "limit=1").is_some());
        assert_eq!(names().problem("GET", "/elsewhere", "x=1"), None);
        assert_eq!(names().problem("POST", "/admin/v1/jobs/job_1", "x=1"), None);
        assert_eq!(names().problem("GET", "/admin/v1/jobs/job_1", ""), None);
    }
}
