//! Progress on the standard error; hidden if that is not a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often a spinner turns.
const TICK_MS: u64 = 120;

/// A progress bar, or a spinner if the amount of work is unknown. Dropping it clears it.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for this many steps.
    pub fn bar(label: &str, total: u64) -> Self {
        let progress = Self { bar: ProgressBar::new(total) };
        progress.set_style(label, "{prefix} [{bar:30}] {pos}/{len}  {eta} left  {msg}");
        progress
    }

    /// A spinner.
    pub fn spinner(label: &str) -> Self {
        let progress = Self { bar: ProgressBar::no_length() };
        progress.set_style(label, "{spinner} {prefix}  {msg}");
        progress.bar.enable_steady_tick(Duration::from_millis(TICK_MS));
        progress
    }

    fn set_style(&self, label: &str, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_prefix(label.to_owned());
    }

    /// Sets the position and the total.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Advances by one step.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Sets the message.
    pub fn set_message(&self, message: &str) {
        self.bar.set_message(message.to_owned());
    }

    /// Whether it is hidden.
    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
