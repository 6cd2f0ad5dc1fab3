//! A command in a customer's actor, and the metrics of committed commands.

use super::{Applied, Request};
use bursar_engine::clock::TimeMs;
use bursar_engine::domain::idempotency::check_same_request;
use bursar_engine::domain::ledger::{Entry, EntryKind, Op};
use bursar_engine::{Result, metric};
use tokio::sync::oneshot;

/// A command that waits to be decided or committed, and the channel to its caller.
pub(crate) struct Pending {
    pub(super) request: Request,
    reply: oneshot::Sender<Result<Applied>>,
    pub(super) tries: u8,
    /// Earlier tries that may have been committed: the sequence number and time of the entry that each decided.
    pub(super) uncertain: Vec<(i64, TimeMs)>,
}

impl Pending {
    pub(super) fn new(request: Request, reply: oneshot::Sender<Result<Applied>>) -> Self {
        Self { request, reply, tries: 0, uncertain: Vec::new() }
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.request.command.idempotency_key.as_deref()
    }

    /// Answers the caller, which may have stopped waiting.
    pub(super) fn answer(self, answer: Result<Applied>) {
        let _ = self.reply.send(answer);
    }

    /// Answers a command whose idempotency key `entry` has used before.
    pub(super) fn answer_replay(self, entry: Entry) {
        let request_hash = self.request.command.request_hash.as_deref();
        if let Err(refusal) = check_same_request(entry.request_hash.as_deref(), request_hash) {
            return self.answer(Err(refusal.into()));
        }
        let replayed = !self.uncertain.contains(&(entry.seq, entry.created_at_ms));
        if replayed {
            metrics::counter!(metric::COMMANDS_REPLAYED).increment(1);
        }
        self.answer(Ok(Applied { entry, replayed }));
    }

    /// Answers a command that was committed, with its entry.
    pub(super) fn answer_committed(self, entry: Entry) {
        count_credits(&entry);
        if let Op::Purchase { amount, .. } | Op::Exchange { amount, .. } = self.request.command.op
            && entry.kind != EntryKind::Grant
        {
            // The entry is the debit or the taking that follows the grant, so the granted credits are counted here.
            let source = source_label(&self.request.command.source);
            metrics::counter!(metric::CREDITS_GRANTED, "source" => source).increment(amount.0.unsigned_abs());
        }
        self.answer(Ok(Applied { entry, replayed: false }));
    }
}

fn count_credits(entry: &Entry) {
    let source = source_label(&entry.source);
    let counter = match entry.kind {
        EntryKind::Grant => metrics::counter!(metric::CREDITS_GRANTED, "source" => source),
        EntryKind::Debit | EntryKind::Capture => metrics::counter!(metric::CREDITS_SPENT, "source" => source),
        _ => return,
    };
    counter.increment(entry.amount.0.unsigned_abs());
}

/// Sources that have a metric label.
const SOURCES: [&str; 10] = [
    "usage",
    "hold",
    "signup",
    "stripe",
    "payment_method",
    "purchase",
    "reinstatement",
    "marketplace",
    "support",
    "system",
];

/// The metric label of a source. Other sources share one, to limit the number of labels.
fn source_label(source: &str) -> &'static str {
    SOURCES.into_iter().find(|s| *s == source).unwrap_or("other")
}
