//! Preflight: looks at everything around a server without starting one. All checks run at once, each with a time limit
//! of its own, and one that fails, hangs or panics stops no other. Nothing is changed.
//!
//! | module | contents |
//! |---|---|
//! | [`database`] | connects, and looks at version, privileges, schema, connections and clock |
//! | [`broker`] | logs in, and looks at version, exchanges and queues |
//! | [`mail`] | logs in at the SMTP server |
//! | [`stripe`] | looks at key, permissions, webhook endpoint, prices and clock |

pub mod broker;
pub mod database;
pub mod mail;
pub mod stripe;

use crate::clock::Clock;
use crate::config::Config;
use crate::domain::preflight::Finding;
use std::time::Duration;

/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long it waits for something that other checks need, too: they are skipped and do not fail one by one.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);

/// What to look at.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The settings of the server.
    pub config: Config,
    /// The clock.
    pub clock: Clock,
    /// The address at which Stripe reaches the server, such as `https://billing.example.com`, if it is known.
    pub public_url: Option<String>,
}

/// Looks at the database, the broker, the SMTP server and Stripe.
pub async fn preflight(of: &Surroundings) -> Vec<Finding> {
    let db = database::connect(&of.config);
    let (database, broker, mail, stripe) = tokio::join!(
        database::check(of, db.clone()),
        broker::check(&of.config),
        mail::check(&of.config),
        stripe::check(of, db.clone()),
    );
    database::close(db).await;
    [database, broker, mail, stripe].concat()
}

/// Runs a check that makes findings under these names. If it takes too long or panics, the first of them fails and the
/// others are skipped.
pub async fn within_limit(
    names: &[&'static str],
    check: impl Future<Output = Vec<Finding>> + Send + 'static,
) -> Vec<Finding> {
    within(LIMIT, names, check).await
}

async fn within(
    limit: Duration,
    names: &[&'static str],
    check: impl Future<Output = Vec<Finding>> + Send + 'static,
) -> Vec<Finding> {
    let mut task = tokio::spawn(check);
    let failure = match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(findings)) => return findings,
        Ok(Err(_)) => {
            ("the check itself failed".to_owned(), "report this with the lines above: it is a mistake of Bursar's")
        }
        Err(_) => {
            task.abort();
            (
                format!("no answer within {} s", limit.as_secs()),
                "check the network, and firewalls between the two machines",
            )
        }
    };
    let (message, remedy) = failure;
    let mut findings: Vec<Finding> = Vec::new();
    for &name in names {
        findings.push(match findings.is_empty() {
            true => Finding::fail(name, message.clone(), remedy),
            false => Finding::skipped(name, "the check before it did not end"),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::preflight::State;

    fn states(findings: &[Finding]) -> Vec<(&'static str, State)> {
        findings.iter().map(|finding| (finding.name, finding.state)).collect()
    }

    #[tokio::test]
    async fn a_check_that_hangs_fails_in_time_and_stops_no_other() {
        let hangs = within(Duration::from_millis(1), &["a", "b"], std::future::pending());
        let works = within_limit(&["c"], async { vec![Finding::ok("c", "fine")] });
        let (hangs, works) = tokio::join!(hangs, works);
        assert_eq!(states(&hangs), [("a", State::Fail), ("b", State::Skipped)]);
        assert_eq!(states(&works), [("c", State::Ok)]);
    }

    #[tokio::test]
    async fn a_check_that_panics_fails_and_stops_no_other() {
        let breaks = within_limit(&["a"], async { panic!("a mistake") });
        let works = within_limit(&["c"], async { vec![Finding::ok("c", "fine")] });
        let (breaks, works) = tokio::join!(breaks, works);
        assert_eq!((states(&breaks), states(&works)), (vec![("a", State::Fail)], vec![("c", State::Ok)]));
    }
}
