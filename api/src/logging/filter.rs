//! The log filter, which staff may change while the process runs.

use bursar_engine::clock::TimeMs;
use std::env::VarError;
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The filter without a setting.
pub const DEFAULT: &str = "warn,bursar=info";
/// The longest filter, in bytes.
pub const LEN_MAX: usize = 1_000;
/// The variable that sets it at start.
const VARIABLE: &str = "BURSAR_LOG";
/// The levels, as a filter names them.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The control of this process's filter, once its log is started.
static CONTROL: OnceLock<FilterControl> = OnceLock::new();

/// Sets the control of this process. A second one is ignored.
pub(super) fn set(control: FilterControl) {
    let _ = CONTROL.set(control);
}

/// The control of this process's filter; `None` if the log was not started by [`logging`](crate::logging).
pub fn control() -> Option<&'static FilterControl> {
    CONTROL.get()
}

/// Reads a filter: directives such as `warn` or `bursar=debug`, separated by commas.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<EnvFilter, String> {
    if text.len() > LEN_MAX {
        return Err(format!("a log filter has at most {LEN_MAX} characters"));
    }
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    if directives.is_empty() {
        return Err(format!("a log filter has at least one level, such as {DEFAULT}"));
    }
    for directive in &directives {
        check(directive)?;
    }
    // The library takes no blanks around a directive.
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

/// Checks a directive. The library takes a word that is no level for a target of which everything is logged, which
/// would hide a misspelt level.
fn check(directive: &str) -> Result<(), String> {
    let is_level = LEVELS.iter().any(|level| directive.eq_ignore_ascii_case(level));
    let is_number = directive.parse::<u8>().is_ok_and(|level| level < 6);
    let levels = LEVELS.join(", ");
    if directive.ends_with('=') || (!directive.contains(['=', '[']) && !is_level && !is_number) {
        let target = directive.trim_end_matches('=');
        return Err(format!("{directive}: the level is missing or none of {levels}; a target has one: {target}=debug"));
    }
    if directive.contains(char::is_whitespace) && !directive.contains('[') {
        return Err(format!("{directive}: a blank is in it; directives are separated by commas"));
    }
    EnvFilter::try_new(directive).map(drop).map_err(|error| format!("{directive}: {error}"))
}

/// Reads the environment's filter; the default if it has none.
///
/// # Errors
/// What is wrong with it.
pub fn of_environment() -> Result<String, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{VARIABLE} must be a log filter such as {DEFAULT}: {why}");
    match std::env::var(VARIABLE) {
        Ok(text) if !text.trim().is_empty() => match parse(&text) {
            Ok(_) => Ok(text.trim().to_owned()),
            Err(why) => Err(wrong(&why)),
        },
        Err(error @ VarError::NotUnicode(_)) => Err(wrong(&error)),
        Ok(_) | Err(VarError::NotPresent) => Ok(DEFAULT.to_owned()),
    }
}

/// A filter in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The filter.
    pub filter: String,
    /// Who set it and when; `None` if it is that of the start.
    pub set_by: Option<(String, TimeMs)>,
}

/// Changes the filter of a running log.
pub struct FilterControl {
    at_start: String,
    in_force: Mutex<InForce>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl FilterControl {
    /// Begins with the filter of the start.
    pub fn new(at_start: &str, handle: reload::Handle<EnvFilter, Registry>) -> Self {
        let in_force = InForce { filter: at_start.to_owned(), set_by: None };
        Self { at_start: at_start.to_owned(), in_force: Mutex::new(in_force), handle }
    }

    /// The filter of the start.
    pub fn at_start(&self) -> &str {
        &self.at_start
    }

    /// The filter in force.
    pub fn in_force(&self) -> InForce {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a filter into force.
    ///
    /// # Errors
    /// What is wrong with it; the one before stays in force.
    pub fn set(&self, filter: &str, by: &str, now_ms: TimeMs) -> Result<InForce, String> {
        let parsed = parse(filter)?;
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(parsed).map_err(|error| error.to_string())?;
        *in_force = InForce { filter: filter.trim().to_owned(), set_by: Some((by.to_owned(), now_ms)) };
        Ok(in_force.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn usual_filters_are_read() {
        for text in [
            DEFAULT,
            "off",
            "WARN",
            "2",
            " warn , bursar=debug,bursar::access=off ",
            "info,bursar_engine::infra::stripe=trace",
            "warn,bursar[job{kind=7}]=debug",
            "warn,",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
    }

    #[test]
    fn a_wrong_filter_is_refused_with_the_reason() {
        let long = format!("bursar={}", "x".repeat(LEN_MAX));
        for (text, reason) in [
            ("", "at least one level"),
            (" , ", "at least one level"),
            (long.as_str(), "at most 1000 characters"),
            ("inf", "inf: the level is missing or none of"),
            ("warn,bursar", "bursar=debug"),
            ("warn,bursar=", "bursar=debug"),
            ("warn bursar=debug", "separated by commas"),
            ("warn,bursar=loud", "bursar=loud: "),
            ("bursar=info=debug", "bursar=info=debug: "),
            ("warn,=debug", "=debug: invalid filter directive"),
        ] {
            assert!(parse(text).err().is_some_and(|why| why.contains(reason)), "{text}: {:?}", parse(text).err());
        }
    }

    #[test]
    fn a_filter_takes_effect_at_once_and_a_wrong_one_changes_nothing() {
        let (layer, handle) = reload::Layer::<_, Registry>::new(parse("warn").expect("valid"));
        let control = FilterControl::new("warn", handle);
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let is_debug = || tracing::enabled!(target: "bursar::see", tracing::Level::DEBUG);
        assert!(!is_debug());
        let by = Some(("admin:ada".to_owned(), 7));
        let set = control.set(" warn,bursar=debug ", "admin:ada", 7);
        assert_eq!(set, Ok(InForce { filter: "warn,bursar=debug".to_owned(), set_by: by }), "without blanks around");
        assert!(is_debug() && LevelFilter::current() >= LevelFilter::DEBUG);
        assert!(control.set("bursar=loud", "admin:bob", 8).is_err());
        assert_eq!(set, Ok(control.in_force()));
        assert!(is_debug());
        assert_eq!(control.at_start(), "warn");
    }
}
