//! Classifies failures of the database: whether they are temporary, and what caused them.

use super::db::demotion;
use crate::error::Error;
use sea_orm::{DbErr, RuntimeErr, SqlErr};

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        if sqlstate(&error).as_deref() == Some(READ_ONLY_TRANSACTION) {
            demotion::record_refusal();
        }
        if is_temporary(&error) { Self::DatabaseUnavailable(error) } else { Self::Database(error) }
    }
}

impl Error {
    /// Whether the database refused this transaction's rows or values (a locked row, an invalid value) rather than
    /// being unavailable. The transaction is certainly aborted, and others may succeed.
    pub fn is_item_fault(&self) -> bool {
        match self {
            Self::DatabaseUnavailable(error) => {
                sqlstate(error).is_some_and(|code| code == LOCK_NOT_AVAILABLE || code.starts_with(ROLLBACK_CLASS))
            }
            Self::Stuck(_) => true,
            other => !other.is_retryable(),
        }
    }

    /// Whether a unique constraint refused the row.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }

    /// Whether a statement names a missing table.
    pub fn is_missing_table(&self) -> bool {
        let Self::Database(error) = self else { return false };
        // SQLite has no code for this.
        sqlstate(error).is_some_and(|code| code == UNDEFINED_TABLE) || error.to_string().contains("no such table")
    }
}

/// A lock was not available in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A statement names a missing table.
const UNDEFINED_TABLE: &str = "42P01";

/// Rollbacks by the database, such as of one of two transactions in a deadlock.
const ROLLBACK_CLASS: &str = "40";

/// The SQLSTATE of Postgres, or the number of SQLite.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return None;
    };
    error.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}

fn sqlstate(error: &DbErr) -> Option<String> {
    code(error).filter(|code| code.len() == 5)
}

/// A transaction may not write: the server is a standby after a failover, or its operator (or a full disk) made it
/// read-only.
const READ_ONLY_TRANSACTION: &str = "25006";

/// The server ended a transaction that was idle for too long: its session is closed, and nothing is committed.
const IDLE_IN_TRANSACTION_SESSION_TIMEOUT: &str = "25P03";

/// Temporary SQLSTATE classes and codes: connection exceptions (08), a read-only database (25006), a session that
/// was closed because its transaction was idle (25P03), rollbacks such as deadlock (40), lack of resources such as
/// a full disk (53), lock not available (55P03), operator intervention such as a restart (57), system errors such
/// as I/O errors (58). Internal errors (XX) are not temporary, because a single row or query can cause them.
/// Source: PostgreSQL manual, appendix A.
const TEMPORARY_POSTGRES: [&str; 8] = [
    "08",
    READ_ONLY_TRANSACTION,
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ROLLBACK_CLASS,
    "53",
    LOCK_NOT_AVAILABLE,
    "57",
    "58",
];

/// Temporary result codes of SQLite: busy (5), locked (6), read-only (8), I/O error (10), full (13), cannot open
/// (14). The low byte of an extended code is the code.
const TEMPORARY_SQLITE: [u32; 6] = [5, 6, 8, 10, 13, 14];

/// Whether a code of either database is temporary. Only those of Postgres have five characters.
fn is_temporary_code(code: &str) -> bool {
    if code.len() == 5 {
        return TEMPORARY_POSTGRES.iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| TEMPORARY_SQLITE.contains(&(code & 0xff)))
}

fn is_temporary(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner)) => match &**inner {
            sea_orm::sqlx::Error::Database(_) => code(error).is_some_and(|code| is_temporary_code(&code)),
            sea_orm::sqlx::Error::Io(_)
            | sea_orm::sqlx::Error::Tls(_)
            | sea_orm::sqlx::Error::Protocol(_)
            | sea_orm::sqlx::Error::PoolTimedOut
            | sea_orm::sqlx::Error::PoolClosed
            | sea_orm::sqlx::Error::WorkerCrashed => true,
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_there_but_takes_no_writes_is_a_failure_that_passes() {
        // Standby, I/O error, missing file, full disk; SQLite: read-only, I/O error while syncing, full,
        // cannot open.
        for code in ["25006", "58000", "58030", "58P01", "53100", "8", "1032", "10", "1034", "13", "14"] {
            assert!(is_temporary_code(code), "{code}");
        }
        for code in ["08006", "25P03", "40001", "40P01", "55P03", "57P01", "57014", "5", "6", "517"] {
            assert!(is_temporary_code(code), "{code}");
        }
    }

    #[test]
    fn what_the_database_says_of_one_statement_or_one_row_does_not_pass() {
        // Aborted transaction, raised by a trigger, unique violation, invalid text, internal error, corrupt
        // row; SQLite: error, corrupt, unique constraint, mismatch.
        for code in ["25P02", "P0001", "23505", "22021", "55000", "XX000", "XX001", "1", "11", "2067", "20", ""] {
            assert!(!is_temporary_code(code), "{code}");
        }
    }
}
