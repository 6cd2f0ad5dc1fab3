//! Checks the URLs of the database and of the broker with the parsers that connect to them.

use lapin::uri::AMQPUri;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// Why the URL of a database cannot be used. Its password is not shown.
pub(super) fn database_problem(url: &str) -> Option<String> {
    if url.starts_with("sqlite:") {
        let is_readable = url.parse::<SqliteConnectOptions>().is_ok();
        return (!is_readable).then(|| "it must be like sqlite://folder/bursar.db".to_owned());
    }
    let is_readable = url.parse::<PgConnectOptions>().is_ok();
    server_problem(url, is_readable, "postgres://user:password@host:5432/database")
}

/// Why the URL of a broker cannot be used. Its password is not shown.
pub(super) fn broker_problem(url: &str) -> Option<String> {
    server_problem(url, url.parse::<AMQPUri>().is_ok(), "amqp://user:password@host:5672/%2f")
}

fn server_problem(url: &str, is_readable: bool, form: &str) -> Option<String> {
    let why = match reqwest::Url::parse(url) {
        // The text of such an error is fixed.
        Err(error) => error.to_string(),
        // The parsers ignore what follows a `#`, and take what precedes it for the host.
        Ok(parsed) if parsed.fragment().is_some() || parsed.path().contains('@') => {
            "its password ends too early".to_owned()
        }
        Ok(_) if !is_readable => "a part of it has an unknown form".to_owned(),
        Ok(_) => return None,
    };
    Some(format!(
        "{why}; it must be like {form}, with # as %23, / as %2F, ? as %3F, @ as %40 and % as %25 in the password"
    ))
}

/// Whether a URL is empty, or one of HTTP.
pub(super) fn may_be_http(url: &str) -> bool {
    let is_http = |parsed: reqwest::Url| matches!(parsed.scheme(), "http" | "https");
    url.is_empty() || reqwest::Url::parse(url).is_ok_and(is_http)
}

/// Why a URL cannot be the beginning of links.
pub(super) fn public_url_problem(url: &str) -> Option<String> {
    let parsed = reqwest::Url::parse(url).ok().filter(|parsed| matches!(parsed.scheme(), "http" | "https"));
    let is_bare = |parsed: &reqwest::Url| {
        parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none()
    };
    match parsed {
        Some(parsed) if is_bare(&parsed) => None,
        _ => Some("it must be like https://billing.example.com, without ?, # and a user's name".to_owned()),
    }
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let host = reqwest::Url::parse(url).ok().and_then(|parsed| parsed.host_str().map(str::to_owned));
    host.is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_the_connection_cannot_use_is_explained_without_its_password() {
        for url in [
            "postgres://bursar:aZ7k#b@localhost/bursar",
            "postgres://bursar:12#aZ7k@localhost/bursar",
            "postgres://bursar:12/aZ7k@localhost/bursar",
            "postgres://bursar:12?sslmode=aZ7k@localhost/bursar",
            "postgres://bursar:aZ7k@localhost:noport/bursar",
        ] {
            let problem = database_problem(url).unwrap_or_default();
            assert!(problem.contains("%23") && !problem.contains("aZ7k"), "{url}: {problem}");
        }
        for url in ["amqp://u:aZ7k@127.0.0.1:noport/%2f", "amqp://u:aZ7k#b@mq/%2f", "amqp://u:1#aZ7k@mq/%2f"] {
            let problem = broker_problem(url).unwrap_or_default();
            assert!(problem.contains("%23") && !problem.contains("aZ7k"), "{url}: {problem}");
        }
    }

    #[test]
    fn links_begin_with_a_url_of_http_without_query_or_name() {
        for url in ["https://billing.example.com", "https://example.com/billing/", "http://127.0.0.1:8080"] {
            assert_eq!(public_url_problem(url), None, "{url}");
        }
        for url in
            ["billing.example.com", "ftp://example.com", "https://a:b@example.com", "https://example.com/?a=b", "x"]
        {
            assert!(public_url_problem(url).is_some(), "{url}");
        }
    }

    #[test]
    fn a_url_that_connects_has_no_problem() {
        for url in [
            "postgres://bursar:a%23b@localhost/bursar",
            "postgresql://db.example.com:5432/bursar?sslmode=require",
            "postgres:///bursar?host=/run/postgresql",
            "sqlite://folder/bursar.db?mode=rwc",
            "sqlite::memory:",
        ] {
            assert_eq!(database_problem(url), None, "{url}");
        }
        for url in ["amqp://127.0.0.1", "amqps://u:p%2f@mq:5671/%2f", "amqp://u:p@mq/bursar?heartbeat=10"] {
            assert_eq!(broker_problem(url), None, "{url}");
        }
    }
}
