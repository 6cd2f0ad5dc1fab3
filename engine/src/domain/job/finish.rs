//! Ends an attempt: outcome and job become the row to write.

use super::{Backoff, Job, JobKind, JobState, Outcome, Policy, REASON_LEN_MAX, RESCUES_MAX, Wake};
use crate::clock::TimeMs;
use crate::count::counted;
use crate::ids::JobId;

/// Reason for the pause of a stream after the death of a job it depends on.
pub const PAUSED_BY_DEAD_JOB: &str = "a job of this stream is dead and what follows depends on it";

/// An attempt at a job, under its lease.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The job.
    pub job: &'a Job,
    /// The lease's epoch.
    pub epoch: i64,
    /// When the attempt began.
    pub started_at_ms: TimeMs,
}

/// The end of one attempt, ready to commit under its epoch.
#[derive(Debug, Clone)]
pub struct JobFinish {
    /// The job.
    pub job_id: JobId,
    /// Its kind, for metrics.
    pub kind: String,
    /// Its stream.
    pub stream_key: String,
    /// The epoch of the lease under which the job ran.
    pub epoch: i64,
    /// Number of the attempt that ends.
    pub attempt: i64,
    /// Attempts counted once this one has ended; a snooze is not counted.
    pub attempt_after: i64,
    /// The job's new state.
    pub state: JobState,
    /// When it is due again.
    pub run_at_ms: TimeMs,
    /// The stored outcome: `done`, `retry`, `snooze`, `cancel`, `dead`.
    pub outcome: &'static str,
    /// Why.
    pub reason: Option<String>,
    /// When the attempt began.
    pub started_at_ms: TimeMs,
    /// When it ended.
    pub finished_at_ms: TimeMs,
    /// Whether the stream stops here until a person acts.
    pub pauses_stream: bool,
}

impl JobFinish {
    /// The message to the dispatcher if the job is to run again.
    pub fn wake(&self) -> Option<Wake> {
        (self.state == JobState::Available).then(|| Wake {
            stream_key: self.stream_key.clone(),
            job_id: self.job_id.clone(),
            attempt: self.attempt_after,
            run_at_ms: self.run_at_ms,
        })
    }
}

/// Converts an outcome into the end of an attempt. `jitter` is from 0 to 1.
pub fn finish(attempt: &Attempt<'_>, outcome: Outcome, backoff: Backoff, now_ms: TimeMs, jitter: f64) -> JobFinish {
    let Attempt { job, epoch, started_at_ms } = *attempt;
    let attempt = job.attempt + 1;
    let kind = JobKind::parse(&job.kind);
    let backoff = Backoff { max_ms: backoff.max_ms.min(kind.map_or(i64::MAX, JobKind::backoff_max_ms)), ..backoff };
    let outcome = if job.rescues > RESCUES_MAX && !matches!(outcome, Outcome::Done | Outcome::Cancel { .. }) {
        Outcome::Dead { reason: format!("its node died {} while it ran", counted(job.rescues, "time")) }
    } else {
        outcome
    };
    let (state, name, reason, attempt_after, run_at_ms) = match outcome {
        Outcome::Done => (JobState::Succeeded, "done", None, attempt, job.run_at_ms),
        Outcome::Snooze { until_ms } => (JobState::Available, "snooze", None, job.attempt, until_ms),
        Outcome::Cancel { reason } => (JobState::Cancelled, "cancel", Some(reason), attempt, job.run_at_ms),
        Outcome::Dead { reason } => (JobState::Dead, "dead", Some(reason), attempt, job.run_at_ms),
        Outcome::Retry { reason } if attempt >= job.attempts_max => (
            JobState::Dead,
            "dead",
            Some(format!("gave up after {}: {reason}", counted(attempt, "attempt"))),
            attempt,
            job.run_at_ms,
        ),
        Outcome::Retry { reason } => {
            let run_at_ms = now_ms + backoff.delay_ms(attempt, jitter);
            (JobState::Available, "retry", Some(reason), attempt, run_at_ms)
        }
    };
    let policy = kind.map_or(Policy::Block, JobKind::policy);
    JobFinish {
        job_id: job.id.clone(),
        kind: job.kind.clone(),
        stream_key: job.stream_key.clone(),
        epoch,
        attempt,
        attempt_after,
        state,
        run_at_ms,
        outcome: name,
        reason: reason.map(shorten),
        started_at_ms,
        finished_at_ms: now_ms,
        pauses_stream: state == JobState::Dead && policy == Policy::Block,
    }
}

fn shorten(mut reason: String) -> String {
    if reason.len() > REASON_LEN_MAX {
        let end = (0..=REASON_LEN_MAX).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
        reason.truncate(end);
        reason.push('…');
    }
    // Postgres text cannot contain NUL.
    reason.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: JobKind, attempt: i64, rescues: i64) -> Job {
        Job {
            id: JobId::new(),
            kind: kind.as_str().to_owned(),
            args: "{}".to_owned(),
            stream_key: "s".to_owned(),
            seq: 1,
            state: JobState::Running,
            attempt,
            attempts_max: 3,
            rescues,
            run_at_ms: 0,
            unique_key: None,
            event_id: None,
            customer_id: None,
            last_error: None,
            created_at_ms: 0,
            finished_at_ms: None,
        }
    }

    fn end(job: &Job, outcome: Outcome, backoff: Backoff, now_ms: TimeMs, jitter: f64) -> JobFinish {
        finish(&Attempt { job, epoch: 7, started_at_ms: 10 }, outcome, backoff, now_ms, jitter)
    }

    fn retry() -> Outcome {
        Outcome::Retry { reason: "no answer".to_owned() }
    }

    #[test]
    fn a_failure_before_the_last_attempt_waits_and_the_last_one_is_death_with_its_reason() {
        let early = end(&job(JobKind::StripeEvent, 1, 0), retry(), Backoff::default(), 1_000, 0.0);
        assert_eq!((early.state, early.attempt_after, early.run_at_ms), (JobState::Available, 2, 21_000));
        let last = end(&job(JobKind::StripeEvent, 2, 0), retry(), Backoff::default(), 1_000, 0.0);
        assert_eq!(last.state, JobState::Dead);
        assert!(last.reason.expect("a reason").contains("no answer"));
    }

    #[test]
    fn what_a_customer_waits_for_is_never_far_from_its_next_attempt() {
        let mut waited_for = job(JobKind::OperationRun, 20, 0);
        waited_for.attempts_max = JobKind::OperationRun.attempts_max();
        let ended = end(&waited_for, retry(), Backoff::default(), 0, 0.0);
        assert_eq!(ended.run_at_ms, JobKind::OperationRun.backoff_max_ms());
    }

    #[test]
    fn a_snooze_uses_up_no_attempt() {
        let snooze =
            end(&job(JobKind::StripeEvent, 1, 0), Outcome::Snooze { until_ms: 99 }, Backoff::default(), 5, 0.0);
        assert_eq!((snooze.state, snooze.attempt_after, snooze.run_at_ms), (JobState::Available, 1, 99));
    }

    #[test]
    fn only_a_kind_that_says_so_blocks_its_stream_when_it_dies() {
        let dead = || Outcome::Dead { reason: "x".to_owned() };
        let blocks = end(&job(JobKind::AccountSettle, 0, 0), dead(), Backoff::default(), 5, 0.0);
        let parks = end(&job(JobKind::StripeEvent, 0, 0), dead(), Backoff::default(), 5, 0.0);
        assert!(blocks.pauses_stream);
        assert!(!parks.pauses_stream);
    }

    #[test]
    fn a_job_that_keeps_killing_its_node_is_given_up() {
        let poison = end(&job(JobKind::StripeEvent, 0, RESCUES_MAX + 1), retry(), Backoff::default(), 5, 0.0);
        assert_eq!(poison.state, JobState::Dead);
    }

    #[test]
    fn a_reason_is_cut_at_a_character_and_holds_no_nul() {
        let long = "é\0".repeat(REASON_LEN_MAX);
        let cut = shorten(long);
        assert!(cut.len() <= REASON_LEN_MAX + 4);
        assert!(!cut.contains('\0'));
    }
}
