//! Preflight: the broker.

use super::{Finding, version_of};

/// The connection to it.
pub const REACHABLE: &str = "broker";
/// Its version.
pub const VERSION: &str = "broker.version";
/// Its exchanges and queues.
pub const TOPOLOGY: &str = "broker.topology";

/// The oldest RabbitMQ whose quorum queues do what is asked of them: a lifetime for messages, and dead letters that
/// arrive at least once. Source: RabbitMQ 3.10, release notes.
const RABBITMQ_MIN: (u32, u32) = (3, 10);
/// Names in one message.
const NAMED_MAX: usize = 3;

/// How an exchange or a queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there, as it should be.
    Same,
    /// It is not there.
    Missing,
    /// It is there in another form.
    Differs,
    /// The user may not declare it.
    Refused,
    /// The broker answers something else.
    Unknown(String),
}

/// An exchange or a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
}

/// Judges the version that the broker says.
pub fn judge_version(said: Option<&str>) -> Finding {
    let oldest = format!("{}.{}", RABBITMQ_MIN.0, RABBITMQ_MIN.1);
    match (said, said.and_then(version_of)) {
        (Some(text), Some(version)) if version < RABBITMQ_MIN => {
            Finding::fail(VERSION, format!("RabbitMQ {text}"), format!("upgrade to RabbitMQ {oldest} or later"))
        }
        (Some(text), Some(_)) => Finding::ok(VERSION, format!("RabbitMQ {text}")),
        _ => Finding::warn(
            VERSION,
            "the broker does not say its version",
            format!("check that it is RabbitMQ {oldest} or later"),
        ),
    }
}

/// Judges the exchanges and queues. `may_create`: the user may make what is missing.
pub fn judge_topology(parts: &[Part], may_create: bool, prefix: &str) -> Vec<Finding> {
    let with = |is_it: fn(&Standing) -> bool| -> Vec<&str> {
        parts.iter().filter(|part| is_it(&part.standing)).map(|part| part.name.as_str()).collect()
    };
    let differing = with(|standing| *standing == Standing::Differs);
    let refused = with(|standing| *standing == Standing::Refused);
    let missing = with(|standing| *standing == Standing::Missing);
    let mut findings = Vec::new();
    if !differing.is_empty() {
        findings.push(Finding::fail(
            TOPOLOGY,
            format!("{} of other settings of [amqp]", exist(&differing)),
            "set amqp.shards, amqp.tiers_ms and amqp.queue_len_max as on the other nodes, or choose a new amqp.prefix",
        ));
    }
    if !refused.is_empty() || (!missing.is_empty() && !may_create) {
        let names = if refused.is_empty() { &missing } else { &refused };
        findings.push(Finding::fail(
            TOPOLOGY,
            format!("the user may not declare {}", listed(names)),
            format!("rabbitmqctl set_permissions USER \"^{prefix}\" \"^{prefix}\" \"^{prefix}\""),
        ));
    }
    for part in parts {
        if let Standing::Unknown(why) = &part.standing {
            let message = format!("{} cannot be looked at: {why}", part.name);
            findings.push(Finding::fail(TOPOLOGY, message, "see the log of the broker"));
        }
    }
    if findings.is_empty() {
        findings.push(match missing.len() {
            0 => Finding::ok(TOPOLOGY, format!("all {} exchanges and queues are there", parts.len())),
            len if len == parts.len() => Finding::ok(TOPOLOGY, "exchanges and queues are made at the first start"),
            _ => Finding::ok(TOPOLOGY, format!("the next start makes {}", listed(&missing))),
        });
    }
    findings
}

fn exist(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "exists, with the form" } else { "exist, with the form" };
    format!("{} {verb}", listed(names))
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn parts(standings: &[Standing]) -> Vec<Part> {
        let part = |(at, standing): (usize, &Standing)| Part { name: format!("q.{at}"), standing: standing.clone() };
        standings.iter().enumerate().map(part).collect()
    }

    fn states(standings: &[Standing], may_create: bool) -> Vec<State> {
        judge_topology(&parts(standings), may_create, "bursar.v1").iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn an_old_broker_fails_and_one_that_says_nothing_is_warned_of() {
        let state = |said: Option<&str>| judge_version(said).state;
        let found = [Some("3.9.29"), Some("3.10.0"), Some("4.1.3"), None].map(state);
        assert_eq!(found, [State::Fail, State::Ok, State::Ok, State::Warn]);
    }

    #[test]
    fn what_is_missing_must_be_creatable_and_what_is_there_must_fit() {
        use Standing::{Differs, Missing, Refused, Same};
        assert_eq!(states(&[Same, Same], false), [State::Ok], "nothing has to be made");
        assert_eq!(states(&[Missing, Missing], true), [State::Ok]);
        assert_eq!(states(&[Same, Missing], true), [State::Ok]);
        assert_eq!(states(&[Same, Missing], false), [State::Fail]);
        assert_eq!(states(&[Differs, Refused], true), [State::Fail, State::Fail], "each gets a line");
        assert_eq!(states(&[Standing::Unknown("x".to_owned())], true), [State::Fail]);
    }

    #[test]
    fn many_names_are_cut_short() {
        let told = judge_topology(&parts(&vec![Standing::Differs; 5]), true, "bursar.v1");
        assert!(told[0].message.starts_with("q.0, q.1, q.2 and 2 more exist, with the form of other"), "{told:?}");
    }
}
