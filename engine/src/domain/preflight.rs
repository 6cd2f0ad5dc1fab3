//! Preflight: whether everything around the server is as it needs it. Each check asks for facts elsewhere; here is what
//! they mean, and what to do about them.
//!
//! | module | contents |
//! |---|---|
//! | [`database`] | version, privileges, schema, connections |
//! | [`broker`] | version, exchanges and queues |
//! | [`mail`] | the SMTP server |
//! | [`stripe`] | key, webhook endpoint, events, API version |
//! | [`price`] | the catalogue's prices at Stripe |
//! | [`machine`] | clocks, disk, open files |

pub mod broker;
pub mod database;
pub mod machine;
pub mod mail;
pub mod price;
pub mod stripe;

use serde::Serialize;

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// Not looked at, because it is not configured or something before it failed.
    Skipped,
    /// The server works, but probably not as the operator wants.
    Warn,
    /// The server does not work, or loses money or events.
    Fail,
}

impl State {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check has found, in one sentence. A check may find several things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, such as `database.version`.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found. It holds no secrets.
    pub message: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, state: State::Ok, message: message.into(), remedy: None }
    }

    /// It was not looked at.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, state: State::Skipped, message: why.into(), remedy: None }
    }

    /// It is unlikely to be wanted.
    pub fn warn(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Warn, message: message.into(), remedy: Some(remedy.into()) }
    }

    /// It is wrong.
    pub fn fail(name: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Fail, message: message.into(), remedy: Some(remedy.into()) }
    }
}

/// What all checks have found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing failed and, if `strict`, nothing is warned of.
    pub fn is_passed(&self, strict: bool) -> bool {
        let worst = if strict { State::Skipped } else { State::Warn };
        self.findings.iter().all(|finding| finding.state <= worst)
    }

    /// How many findings are in this state.
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

/// The first two numbers of a version such as `3.13.7` or `15.14 (Debian 15.14-1)`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| -> Option<u32> {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let (major, rest) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    Some((number(major)?, number(rest).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_fails_and_a_warning_does_only_if_strict() {
        let report = |findings: &[Finding]| Report { findings: findings.to_vec() };
        let (ok, skipped) = (Finding::ok("a", "x"), Finding::skipped("b", "x"));
        let (warn, fail) = (Finding::warn("c", "x", "y"), Finding::fail("d", "x", "y"));
        assert!(report(&[ok.clone(), skipped.clone()]).is_passed(true));
        assert!(report(&[ok.clone(), warn.clone()]).is_passed(false) && !report(&[ok, warn]).is_passed(true));
        assert!(!report(&[skipped, fail.clone()]).is_passed(false));
        assert_eq!(report(&[fail]).count(State::Fail), 1);
    }

    #[test]
    fn a_version_is_read_from_what_servers_say() {
        for (text, version) in [
            ("3.13.7", Some((3, 13))),
            ("4.0", Some((4, 0))),
            ("15.14 (Debian 15.14-0+deb12u1)", Some((15, 14))),
            ("17beta1", Some((17, 0))),
            ("3.12.0-rc.1", Some((3, 12))),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(version_of(text), version, "{text}");
        }
    }
}
