//! Groups of dead jobs that died of the same cause.
//!
//! Most reasons begin with a stable word, such as `customer_unknown: no customer for …`: that word is the cause. Other
//! reasons are sentences, in which whatever differs from job to job (identifiers, numbers, addresses) is left out.

use crate::clock::TimeMs;
use crate::ids::JobId;
use std::collections::HashMap;

/// Maximum number of dead jobs that are read to group them, the latest first.
pub const READ_MAX: u64 = 10_000;
/// The longest cause, in characters.
const CAUSE_LEN_MAX: usize = 120;
/// The cause of a job whose reason was not recorded.
pub const NO_REASON: &str = "no reason was recorded";
/// Stands for what differs from job to job.
const LEFT_OUT: &str = "…";

/// A dead job, as far as its group needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// The job.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The type of the event that it processes.
    pub event_type: Option<String>,
    /// Why it died.
    pub last_error: Option<String>,
    /// When it died.
    pub died_at_ms: TimeMs,
}

/// Dead jobs of one kind, and of one type of event, with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// The cause: a stable word or the common part of a sentence.
    pub cause: String,
    /// The kind of the jobs.
    pub kind: String,
    /// The type of the events that they process.
    pub event_type: Option<String>,
    /// Number of jobs.
    pub count: u64,
    /// When the first of them died.
    pub first_at_ms: TimeMs,
    /// When the last of them died.
    pub last_at_ms: TimeMs,
    /// The job that died last.
    pub latest: JobId,
    /// Why it died, in full.
    pub example: String,
}

/// Groups dead jobs, the largest group first; of equal ones, the one with the latest death.
pub fn group(jobs: impl IntoIterator<Item = DeadJob>) -> Vec<FailureGroup> {
    let mut groups: HashMap<(String, String, Option<String>), FailureGroup> = HashMap::new();
    for job in jobs {
        let reason = job.last_error.unwrap_or_default();
        let key = (cause_of(&reason), job.kind.clone(), job.event_type.clone());
        let group = groups.entry(key).or_insert_with_key(|(cause, ..)| FailureGroup {
            cause: cause.clone(),
            kind: job.kind,
            event_type: job.event_type,
            count: 0,
            first_at_ms: job.died_at_ms,
            last_at_ms: TimeMs::MIN,
            latest: job.id.clone(),
            example: String::new(),
        });
        group.count += 1;
        group.first_at_ms = group.first_at_ms.min(job.died_at_ms);
        if job.died_at_ms >= group.last_at_ms {
            (group.last_at_ms, group.latest, group.example) = (job.died_at_ms, job.id, reason);
        }
    }
    let mut groups: Vec<FailureGroup> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        let rank = |group: &FailureGroup| (group.count, group.last_at_ms);
        rank(other).cmp(&rank(one)).then_with(|| one.cause.cmp(&other.cause)).then_with(|| one.kind.cmp(&other.kind))
    });
    groups
}

/// The cause in the last error of a job.
pub fn cause_of(reason: &str) -> String {
    let reason = without_attempts(reason.trim());
    if reason.is_empty() {
        return NO_REASON.to_owned();
    }
    if let Some((word, _)) = reason.split_once(':')
        && is_stable_word(word)
    {
        return word.to_owned();
    }
    let mut words: Vec<&str> = Vec::new();
    for word in reason.split_whitespace() {
        let word = if differs(word) { LEFT_OUT } else { word };
        if word != LEFT_OUT || words.last() != Some(&LEFT_OUT) {
            words.push(word);
        }
    }
    let cause = words.join(" ");
    match cause.char_indices().nth(CAUSE_LEN_MAX) {
        Some((end, _)) => format!("{}{LEFT_OUT}", &cause[..end]),
        None => cause,
    }
}

/// What follows `gave up after 8 attempts: `.
fn without_attempts(reason: &str) -> &str {
    let rest = reason.strip_prefix("gave up after ").and_then(|rest| rest.split_once(": "));
    rest.map_or(reason, |(_, rest)| rest)
}

/// Whether a word is one of the stable ones, such as `price_unknown` or `unreadable`.
fn is_stable_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Whether a word of a sentence may differ from job to job. Statuses of HTTP and SMTP are kept, because they tell
/// causes apart.
fn differs(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
    let is_status = bare.len() == 3 && bare.bytes().all(|byte| byte.is_ascii_digit());
    !is_status && (bare.bytes().any(|byte| byte.is_ascii_digit()) || bare.contains(['@', '/', '=']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: &str, event_type: Option<&str>, reason: Option<&str>, died_at_ms: TimeMs) -> DeadJob {
        DeadJob {
            id: JobId::new(),
            kind: kind.to_owned(),
            event_type: event_type.map(str::to_owned),
            last_error: reason.map(str::to_owned),
            died_at_ms,
        }
    }

    #[test]
    fn the_cause_is_the_stable_word_with_or_without_attempts() {
        for reason in [
            "customer_unknown: no customer for Stripe customer cus_1 yet",
            "gave up after 8 attempts: customer_unknown: no customer cst_2 yet",
            " customer_unknown: x ",
        ] {
            assert_eq!(cause_of(reason), "customer_unknown", "{reason}");
        }
        assert_eq!(cause_of("unreadable: not JSON: at line 3"), "unreadable");
    }

    #[test]
    fn a_sentence_is_a_cause_without_what_differs() {
        let one = cause_of("gave up after 3 attempts: there is no customer cst_06h055fesprhr17icghjgpmuuk");
        assert_eq!(one, cause_of("there is no customer cst_06h055ngr9q7nbr2cktu46oq6k"));
        assert_eq!(one, "there is no customer …");
        assert_eq!(cause_of("550 5.1.1 <ada@example.com>: mailbox full"), "550 … mailbox full");
        assert_ne!(cause_of("the server answered 500"), cause_of("the server answered 404"));
        assert_eq!(cause_of("a 12345 b2 c"), "a … c", "neighbours that are left out are one");
    }

    #[test]
    fn a_cause_is_never_empty_and_never_long() {
        for reason in ["", "  ", "gave up after 8 attempts: "] {
            assert_eq!(cause_of(reason), if reason.starts_with('g') { "gave up after … attempts:" } else { NO_REASON });
        }
        let long = cause_of(&"ü b ".repeat(1_000));
        assert_eq!(long.chars().count(), CAUSE_LEN_MAX + 1);
        assert_eq!(cause_of(": odd"), ": odd");
    }

    #[test]
    fn a_cause_of_a_cause_is_itself() {
        for reason in
            ["customer_unknown: x", "there is no customer cst_1", "550 5.1.1 <a@b.c>: full", "", "gave up after x: y z"]
        {
            let cause = cause_of(reason);
            assert_eq!(cause_of(&cause), cause, "{reason}");
        }
    }

    #[test]
    fn groups_differ_by_cause_kind_and_type_and_the_largest_comes_first() {
        let unknown = Some("customer_unknown: no customer for cus_1");
        let latest =
            job("stripe.event", Some("invoice.paid"), Some("gave up after 8 attempts: customer_unknown: y"), 9);
        let groups = group([
            job("mail.send", None, Some("550 no such mailbox"), 20),
            job("stripe.event", Some("invoice.paid"), unknown, 3),
            latest.clone(),
            job("stripe.event", Some("refund.created"), unknown, 5),
            job("stripe.event", Some("invoice.paid"), unknown, 7),
            job("mail.send", None, None, 30),
        ]);
        let found: Vec<_> = groups.iter().map(|one| (one.cause.as_str(), one.kind.as_str(), one.count)).collect();
        assert_eq!(
            found,
            [
                ("customer_unknown", "stripe.event", 3),
                (NO_REASON, "mail.send", 1),
                ("550 no such mailbox", "mail.send", 1),
                ("customer_unknown", "stripe.event", 1),
            ]
        );
        assert_eq!((groups[0].first_at_ms, groups[0].last_at_ms, &groups[0].latest), (3, 9, &latest.id));
        assert_eq!(groups[0].example, "gave up after 8 attempts: customer_unknown: y");
        assert_eq!(groups[0].event_type.as_deref(), Some("invoice.paid"));
    }
}
