//! The report of a run, for people.

use super::Journey;
use super::answer::Failure;
use super::client::Exchange;
use super::target::StripeMode;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt::Write;
use std::time::Duration;

/// Columns of numbers in the summary.
const NUMBERS: std::ops::Range<usize> = 2..7;

/// How a step ended.
#[derive(Debug)]
pub enum Ended {
    /// As expected.
    Passed,
    /// It was skipped, for this reason.
    Skipped(String),
    /// Not as expected.
    Failed {
        /// The expectation and the actual value.
        failure: Failure,
        /// The exchanges of this step, without secrets.
        exchanges: Vec<Exchange>,
    },
}

/// A step of a journey.
#[derive(Debug)]
pub struct Step {
    /// Its name, which is a claim.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub ended: Ended,
}

/// The result of a journey. It ends with the first failed step.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub journey: Journey,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Requests that it made.
    pub requests: usize,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    fn count(&self, of: impl Fn(&Ended) -> bool) -> usize {
        self.steps.iter().filter(|step| of(&step.ended)).count()
    }

    /// Steps that passed.
    pub fn passed(&self) -> usize {
        self.count(|ended| matches!(ended, Ended::Passed))
    }

    /// Skipped steps.
    pub fn skipped(&self) -> usize {
        self.count(|ended| matches!(ended, Ended::Skipped(_)))
    }

    /// Failed steps: one at most.
    pub fn failed(&self) -> usize {
        self.count(|ended| matches!(ended, Ended::Failed { .. }))
    }

    fn result(&self) -> &'static str {
        match (self.failed(), self.passed(), self.skipped()) {
            (1.., ..) => "FAILED",
            (_, 0, _) => "skipped",
            (_, _, 0) => "passed",
            _ => "passed in part",
        }
    }
}

/// The report of a run.
#[derive(Debug)]
pub struct Report {
    /// The server.
    pub url: String,
    /// The run's unique part of addresses and ids.
    pub run: String,
    /// Whether it was the safe subset for production.
    pub only_safe_steps: bool,
    /// Which Stripe the server uses.
    pub stripe: StripeMode,
    /// The journeys.
    pub outcomes: Vec<Outcome>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether no step failed and at least one passed.
    pub fn is_good(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.failed() == 0) && self.outcomes.iter().any(|one| one.passed() > 0)
    }

    /// The summary as a table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["JOURNEY", "RESULT", "PASSED", "SKIPPED", "FAILED", "REQUESTS", "SECONDS"]);
        for outcome in &self.outcomes {
            table.add_row([
                outcome.journey.name().to_owned(),
                outcome.result().to_owned(),
                outcome.passed().to_string(),
                outcome.skipped().to_string(),
                outcome.failed().to_string(),
                outcome.requests.to_string(),
                format!("{:.1}", outcome.took.as_secs_f64()),
            ]);
        }
        for at in NUMBERS {
            if let Some(column) = table.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let safe = if self.only_safe_steps { ", safe subset" } else { "" };
        let head = format!("{}, Stripe: {}{safe}, run {}", self.url, self.stripe.as_str(), self.run);
        format!("{head}, {:.1} s\n{}", self.took.as_secs_f64(), table.trim_fmt())
    }

    /// Every skipped step with its reason.
    pub fn skips(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for outcome in &self.outcomes {
            for step in &outcome.steps {
                if let Ended::Skipped(reason) = &step.ended {
                    lines.push(format!("skipped: {}: {}: {reason}", outcome.journey.name(), step.name));
                }
            }
        }
        lines
    }

    /// Every failed journey with its steps and the details of the failure.
    pub fn failures(&self) -> Vec<String> {
        self.outcomes.iter().filter_map(failure).collect()
    }
}

fn failure(outcome: &Outcome) -> Option<String> {
    let mut text = String::new();
    for step in &outcome.steps {
        // Writing to a string cannot fail.
        let _ = match &step.ended {
            Ended::Passed => writeln!(text, "  passed   {}", step.name),
            Ended::Skipped(_) => writeln!(text, "  skipped  {}", step.name),
            Ended::Failed { failure, exchanges } => {
                let details = details(failure, exchanges);
                writeln!(text, "  FAILED   {}\n{details}", step.name)
            }
        };
    }
    (outcome.failed() > 0).then(|| format!("FAILED: {}\n{text}", outcome.journey.name()))
}

/// The expectation, the actual value, and the exchanges, latest last.
pub fn details(failure: &Failure, exchanges: &[Exchange]) -> String {
    let mut text = format!("    expected  {}\n    got       {}\n", failure.expected, failure.got);
    for exchange in exchanges {
        let status = exchange.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let times = if exchange.times > 1 { format!(", {} times", exchange.times) } else { String::new() };
        let took_ms = exchange.took.as_millis();
        let _ = writeln!(text, "    {}  ->  {status} ({took_ms} ms{times})", exchange.request);
        if let Some(sent) = &exchange.sent {
            let _ = writeln!(text, "      sent  {sent}");
        }
        let _ = writeln!(text, "      received  {}", exchange.received);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run in which one step passed, one was skipped and one failed.
    pub fn report() -> Report {
        let exchange = Exchange {
            request: "POST /api/v1/usage".to_owned(),
            sent: Some(r#"{"units":1}"#.to_owned()),
            status: Some(402),
            received: r#"{"code":"payment_declined"}"#.to_owned(),
            took: Duration::from_millis(12),
            times: 1,
        };
        let failure = Failure::new("POST /api/v1/usage: status 200", "status 402");
        let step = |name: &str, ended| Step { name: name.to_owned(), took: Duration::from_millis(20), ended };
        let steps = vec![
            step("signs up", Ended::Passed),
            step("looks", Ended::Skipped("needs --sandbox-url".to_owned())),
            step("pays", Ended::Failed { failure, exchanges: vec![exchange] }),
        ];
        let outcome = Outcome { journey: Journey::Pro, steps, requests: 3, took: Duration::from_millis(1_500) };
        Report {
            url: "http://127.0.0.1:8080".to_owned(),
            run: "0badcafe".to_owned(),
            only_safe_steps: false,
            stripe: StripeMode::Sandbox,
            outcomes: vec![outcome],
            took: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_failure_is_shown_with_its_expectation_request_and_answer() {
        let report = report();
        assert!(!report.is_good());
        insta::assert_snapshot!(report.failures().join("\n"), @r#"
        FAILED: pro
          passed   signs up
          skipped  looks
          FAILED   pays
            expected  POST /api/v1/usage: status 200
            got       status 402
            POST /api/v1/usage  ->  402 (12 ms)
              sent  {"units":1}
              received  {"code":"payment_declined"}
        "#);
        assert_eq!(report.skips(), ["skipped: pro: looks: needs --sandbox-url"]);
    }

    #[test]
    fn a_run_in_which_everything_was_skipped_is_not_good() {
        let mut report = report();
        report.outcomes[0].steps.retain(|step| matches!(step.ended, Ended::Skipped(_)));
        assert!(!report.is_good());
    }
}
