//! The log of a run, and its progress bar.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// One line of the log.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Milliseconds from the beginning of the load; negative before it.
    pub at_ms: i64,
    /// The text.
    pub what: String,
}

/// The log of a run.
pub struct RunLog {
    label: String,
    created: Instant,
    state: Mutex<State>,
    bar: ProgressBar,
}

#[derive(Default)]
struct State {
    load_began: Option<Instant>,
    lines: Vec<(Instant, String)>,
}

impl RunLog {
    /// An empty log; `label` comes before each line.
    pub fn new(label: &str) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed}  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(label.to_owned());
        bar.enable_steady_tick(TICK);
        Self { label: label.to_owned(), created: Instant::now(), state: Mutex::new(State::default()), bar }
    }

    /// Marks the beginning of the load, from which the log counts its times.
    pub fn load_begins(&self) {
        self.state().load_began = Some(Instant::now());
    }

    /// When the load began, or the run if the load has not begun.
    pub fn began(&self) -> Instant {
        self.state().load_began.unwrap_or(self.created)
    }

    /// Adds a line to the log and prints it.
    #[allow(clippy::print_stdout, reason = "this is the command's output")]
    pub fn note(&self, what: &str) {
        let now = Instant::now();
        let began = self.began();
        self.state().lines.push((now, what.to_owned()));
        let at_tenths = offset_ms(now, began).div_euclid(100);
        let text = format!("{} {:>4}.{} s  {what}", self.label, at_tenths.div_euclid(10), at_tenths.rem_euclid(10));
        self.bar.suspend(|| println!("{text}"));
    }

    /// Shows a message in the progress bar.
    pub fn show(&self, message: String) {
        self.bar.set_message(message);
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        let began = self.began();
        let state = self.state();
        state.lines.iter().map(|(at, what)| Line { at_ms: offset_ms(*at, began), what: what.clone() }).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunLog {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn offset_ms(at: Instant, began: Instant) -> i64 {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    if at >= began { ms(at - began) } else { -ms(began - at) }
}
