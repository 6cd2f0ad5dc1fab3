//! Parts of an invoice's credits whose job is dead or was not run in time.

use super::{Class, Difference, Repair};
use crate::clock::{TimeMs, rfc3339};
use crate::domain::sale::grant::PartArgs;
use crate::ids::{CustomerId, JobId};

/// How late a part may be: its job may have failed and be tried again.
pub const OVERDUE_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

/// A job that grants a part, dead or overdue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckPart {
    /// The job.
    pub job_id: JobId,
    /// Its customer.
    pub customer_id: Option<CustomerId>,
    /// Its arguments as JSON.
    pub args: String,
    /// Whether it was given up.
    pub is_dead: bool,
    /// When it was due.
    pub run_at_ms: TimeMs,
    /// Its last error.
    pub last_error: Option<String>,
}

/// The difference. A dead job is made to run again, because its grant has a key of its own.
pub fn compare(stuck: &StuckPart) -> Difference {
    let what = match serde_json::from_str::<PartArgs>(&stuck.args) {
        Ok(part) => format!("{} credits of {}", part.credits, part.invoice),
        Err(_) => "credits of an invoice".to_owned(),
    };
    let state = if stuck.is_dead { "dead" } else { "not run" };
    let why = stuck.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let theirs = format!("{what}, due {}", rfc3339(stuck.run_at_ms));
    let found = Difference::new(Class::GrantOverdue, stuck.job_id.as_str(), format!("{state}{why}"), theirs);
    let found = match &stuck.customer_id {
        Some(customer) => found.for_customer(customer),
        None => found,
    };
    if stuck.is_dead { found.with_repair(Repair::Requeue(stuck.job_id.clone())) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_part_is_run_again_and_a_late_one_is_told() {
        let dead = StuckPart {
            job_id: JobId::new(),
            customer_id: Some(CustomerId::new()),
            args: r#"{"customer":"c","invoice":"in_1","key":"k","credits":5,"expires_at_ms":null}"#.to_owned(),
            is_dead: true,
            run_at_ms: 0,
            last_error: Some("no answer".to_owned()),
        };
        let found = compare(&dead);
        assert_eq!(found.repair, Some(Repair::Requeue(dead.job_id.clone())));
        assert_eq!(
            (found.ours.as_str(), found.theirs.starts_with("5 credits of in_1, due 1970")),
            ("dead: no answer", true)
        );
        let unreadable = StuckPart { customer_id: None, args: "{}".to_owned(), is_dead: false, ..dead.clone() };
        let told = compare(&unreadable);
        assert_eq!((told.customer_id, told.theirs.starts_with("credits of an invoice, due 1970")), (None, true));
        assert_eq!(compare(&StuckPart { is_dead: false, ..dead }).repair, None);
    }
}
