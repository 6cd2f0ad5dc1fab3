//! Preflight: the database.

use super::{Finding, version_of};
use crate::count::counted;
use crate::domain::schema::Schema;

/// The connection to it.
pub const REACHABLE: &str = "database";
/// Its version.
pub const VERSION: &str = "database.version";
/// Whether it accepts writes.
pub const WRITABLE: &str = "database.writable";
/// What the user may do.
pub const PRIVILEGES: &str = "database.privileges";
/// Whether it is migrated.
pub const SCHEMA: &str = "database.schema";
/// Whether it has room for the connections of a node.
pub const CONNECTIONS: &str = "database.connections";
/// Whether its clock agrees with the machine's.
pub const CLOCK: &str = "database.clock";

/// The oldest Postgres that gets fixes.
const POSTGRES_MIN: u32 = 14;
/// The Postgres that the tests run on.
const POSTGRES_TESTED: u32 = 15;
/// Names of tables in one message.
const TABLES_NAMED_MAX: usize = 5;

/// What the user may do in Postgres.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The user.
    pub user: String,
    /// The schema that unqualified names mean; `None` if there is none.
    pub schema: Option<String>,
    /// Whether it may create tables there.
    pub may_create: bool,
    /// Tables that it may not read and write.
    pub unusable: Vec<String>,
    /// Tables that it may not change the form of, because it is not their owner.
    pub not_owned: Vec<String>,
}

/// Connections to a Postgres server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// `max_connections`, or less if the user or the database is limited.
    pub max: i64,
    /// Those that only superusers and their like get.
    pub reserved: i64,
    /// Those of other programs now.
    pub others: i64,
}

/// Judges the version of Postgres.
pub fn judge_version(text: &str) -> Finding {
    let said = format!("PostgreSQL {text}");
    match version_of(text) {
        Some((major, _)) if major < POSTGRES_MIN => {
            Finding::fail(VERSION, said, format!("upgrade to PostgreSQL {POSTGRES_TESTED} or later"))
        }
        Some((major, _)) if major < POSTGRES_TESTED => {
            Finding::warn(VERSION, said, format!("upgrade: the tests run on PostgreSQL {POSTGRES_TESTED}"))
        }
        Some(_) => Finding::ok(VERSION, said),
        None => Finding::warn(VERSION, format!("the version is unknown: {text}"), "check that it is PostgreSQL"),
    }
}

/// Judges whether the database accepts writes.
pub fn judge_writable(is_read_only: bool) -> Finding {
    if is_read_only {
        let remedy = "point DATABASE_URL to the primary, or end its read-only mode";
        return Finding::fail(WRITABLE, "the database is read only", remedy);
    }
    Finding::ok(WRITABLE, "the database accepts writes")
}

/// Judges the schema.
pub fn judge_schema(schema: &Schema, known: usize) -> Finding {
    let migrate = "run `bursar migrate up` before the nodes start";
    match schema {
        Schema::Ours => Finding::ok(SCHEMA, format!("all {} are applied", counted(count(known), "migration"))),
        Schema::Absent => Finding::fail(SCHEMA, "the database has no schema yet", migrate),
        Schema::Behind(missing) => {
            let pending = counted(count(missing.len()), "migration");
            Finding::fail(SCHEMA, format!("pending: {pending} ({})", missing.join(", ")), migrate)
        }
        Schema::Ahead(unknown) => {
            let message = format!("a newer release has migrated it ({})", unknown.join(", "));
            Finding::warn(SCHEMA, message, "start the newer release: this one works, but does not restart")
        }
        Schema::Foreign(unknown) => {
            let message = format!("the schema belongs to something else ({})", unknown.join(", "));
            Finding::fail(SCHEMA, message, "check that DATABASE_URL names the right database")
        }
    }
}

/// Judges what the user may do. `is_migrated`: no migration is pending, so nothing has to be created.
pub fn judge_privileges(found: &Privileges, is_migrated: bool) -> Finding {
    let Privileges { user, schema, may_create, unusable, not_owned } = found;
    let Some(schema) = schema else {
        let remedy = format!("create the schema that the search_path of {user} names, or change the search_path");
        return Finding::fail(PRIVILEGES, format!("{user} has no schema to work in"), remedy);
    };
    if !unusable.is_empty() {
        let remedy = format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}, or use their owner"
        );
        return Finding::fail(PRIVILEGES, format!("{user} may not read and write {}", names(unusable)), remedy);
    }
    if is_migrated {
        return Finding::ok(PRIVILEGES, format!("{user} may read and write all tables of {schema}"));
    }
    if !may_create {
        let remedy = format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}, or migrate as another user");
        return Finding::fail(PRIVILEGES, format!("{user} may not create tables in {schema}"), remedy);
    }
    if !not_owned.is_empty() {
        let remedy = "run `bursar migrate up` as the owner of the tables";
        return Finding::fail(
            PRIVILEGES,
            format!("{user} may not migrate {}: it is not the owner", names(not_owned)),
            remedy,
        );
    }
    Finding::ok(PRIVILEGES, format!("{user} may migrate, read and write {schema}"))
}

/// Judges whether a node's connections fit, and those of a second one for a rolling deploy.
pub fn judge_connections(found: Connections, connections_max: u32) -> Finding {
    let Connections { max, reserved, others } = found;
    let (free, node) = (max - reserved - others, i64::from(connections_max).max(1));
    let nodes = free.max(0) / node;
    let message = format!(
        "of {max} connections {reserved} are reserved and {others} in use by other programs: room for {} of {node} \
         connections",
        counted(nodes, "process")
    );
    let remedy = "raise max_connections of Postgres, or lower database.connections_max";
    match nodes {
        0 => Finding::fail(CONNECTIONS, message, remedy),
        1 => Finding::warn(CONNECTIONS, message, format!("{remedy}: a deploy needs room for a second one")),
        _ => Finding::ok(CONNECTIONS, message),
    }
}

fn names(tables: &[String]) -> String {
    let shown = tables.iter().take(TABLES_NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match tables.len().saturating_sub(TABLES_NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {}", counted(count(more), "more table")),
    }
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn an_old_postgres_fails_and_one_that_is_not_tested_is_warned_of() {
        let state = |text: &str| judge_version(text).state;
        let found = ["13.9", "14.2", "15.14 (Debian 15.14-0)", "18beta1", "CockroachDB"].map(state);
        assert_eq!(found, [State::Fail, State::Warn, State::Ok, State::Ok, State::Warn]);
    }

    #[test]
    fn a_schema_that_is_not_migrated_fails_and_names_what_is_pending() {
        let behind = judge_schema(&Schema::Behind(vec!["m0002".to_owned()]), 2);
        assert!(behind.state == State::Fail && behind.message.contains("m0002"), "{behind:?}");
        assert_eq!(judge_schema(&Schema::Absent, 2).state, State::Fail);
        assert_eq!(judge_schema(&Schema::Foreign(Vec::new()), 2).state, State::Fail);
        assert_eq!(judge_schema(&Schema::Ahead(Vec::new()), 2).state, State::Warn);
        assert_eq!(judge_schema(&Schema::Ours, 2).message, "all 2 migrations are applied");
    }

    #[test]
    fn whoever_only_serves_needs_no_right_to_create() {
        let all = Privileges {
            user: "bursar".to_owned(),
            schema: Some("public".to_owned()),
            may_create: true,
            ..Privileges::default()
        };
        let state = |found: &Privileges, is_migrated| judge_privileges(found, is_migrated).state;
        assert_eq!([state(&all, true), state(&all, false)], [State::Ok; 2]);
        let serves = Privileges { may_create: false, not_owned: vec!["jobs".to_owned()], ..all.clone() };
        assert_eq!([state(&serves, true), state(&serves, false)], [State::Ok, State::Fail]);
        let owns_nothing = Privileges { not_owned: vec!["jobs".to_owned()], ..all.clone() };
        assert_eq!(state(&owns_nothing, false), State::Fail);
        let reads_nothing = Privileges { unusable: vec!["jobs".to_owned(); 7], ..all.clone() };
        let finding = judge_privileges(&reads_nothing, true);
        assert!(finding.state == State::Fail && finding.message.ends_with("jobs and 2 more tables"), "{finding:?}");
        assert_eq!(state(&Privileges { schema: None, ..all }, true), State::Fail);
    }

    #[test]
    fn the_connections_of_two_processes_must_fit() {
        let state = |max, connections_max| {
            judge_connections(Connections { max, reserved: 3, others: 7 }, connections_max).state
        };
        assert_eq!([state(50, 20), state(49, 20), state(29, 20)], [State::Ok, State::Warn, State::Fail]);
        let told = judge_connections(Connections { max: 100, reserved: 3, others: 0 }, 20).message;
        assert!(told.contains("room for 4 processes of 20 connections"), "{told}");
    }
}
