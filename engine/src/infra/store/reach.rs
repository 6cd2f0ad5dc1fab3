//! Explains why a database cannot be reached, for the operator.

use super::DbOptions;
use crate::error::Error;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use std::io::ErrorKind;
use std::time::Duration;

/// Explains why connecting failed. The pool hides the cause behind a timeout, so this connects to Postgres once
/// more. The explanation contains no password.
pub async fn explain_unreachable(options: &DbOptions, error: &Error) -> String {
    if let Some(path) = options.url.strip_prefix("sqlite:") {
        let path = path.trim_start_matches("//").split('?').next().unwrap_or_default();
        return format!("the database {path} cannot be opened: {}", innermost(error));
    }
    let Ok(postgres) = options.url.parse::<PgConnectOptions>() else {
        return "DATABASE_URL is not like postgres://user:password@host/database".to_owned();
    };
    let timeout = Duration::from_millis(options.acquire_timeout_ms);
    let asked = match tokio::time::timeout(timeout, postgres.connect()).await {
        Ok(Ok(connection)) => {
            // It answers now, so a failure to close does not matter.
            let _ = connection.close().await;
            None
        }
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    explain(&postgres, asked.as_ref(), options.acquire_timeout_ms)
}

fn explain(postgres: &PgConnectOptions, error: Option<&sqlx::Error>, timeout_ms: u64) -> String {
    let place = match postgres.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", postgres.get_host(), postgres.get_port()),
    };
    let (user, database) = (postgres.get_username(), postgres.get_database().unwrap_or(postgres.get_username()));
    match error {
        Some(sqlx::Error::Io(io)) if io.kind() == ErrorKind::ConnectionRefused => {
            format!("the database at {place} refuses connections: check that it is running, and DATABASE_URL")
        }
        Some(sqlx::Error::Io(io)) => {
            format!("the database at {place} cannot be reached ({io}): check the host in DATABASE_URL")
        }
        Some(sqlx::Error::Database(database_error)) => match database_error.code().as_deref() {
            Some("28P01" | "28000") => {
                format!("the database at {place} does not let {user} in: check user and password in DATABASE_URL")
            }
            Some("3D000") => format!("the database at {place} has no database {database}: create it first"),
            _ => format!("the database at {place} refuses connections: {}", database_error.message()),
        },
        Some(other) => format!("the database at {place} cannot be used: {other}"),
        None => format!("the database at {place} did not answer within {timeout_ms} ms"),
    }
}

fn innermost(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_named_and_the_password_is_not() {
        let postgres: PgConnectOptions = "postgres://bursar:s3cret@db.internal:6543/books".parse().expect("valid");
        let refused = sqlx::Error::Io(ErrorKind::ConnectionRefused.into());
        let said = explain(&postgres, Some(&refused), 3_000);
        assert_eq!(
            said,
            "the database at db.internal:6543 refuses connections: check that it is running, and DATABASE_URL"
        );
        let said = explain(&postgres, None, 3_000);
        assert_eq!(said, "the database at db.internal:6543 did not answer within 3000 ms");
    }
}
