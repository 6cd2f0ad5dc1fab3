//! Admin tokens: which member of staff, or which program, may do what.
//!
//! A token has a name, [`Scopes`] and usually an end. It is shown once and stored as a hash. What it does is recorded
//! under [`AdminToken::actor`].

mod scope;

pub use scope::{Scope, Scopes};

use crate::clock::TimeMs;
use crate::domain::api_key::RawKey;
use crate::error::{Error, Result};
use crate::ids::AdminTokenId;

/// Prefix of every raw token, so that secret scanners find leaked ones.
pub const PREFIX: &str = "bat_";
/// The actor of what is done with the configured bootstrap token.
pub const BOOTSTRAP: &str = "admin:bootstrap";
/// Maximum number of valid tokens at one time.
pub const ADMIN_TOKENS_MAX: u64 = 500;
/// The longest name, in characters.
const NAME_LEN_MAX: usize = 64;
/// The longest life of a token that expires: ten years.
pub const LIFE_MAX_S: i64 = 10 * 365 * 24 * 60 * 60;
/// How exactly the last use is recorded. So a token causes at most one write in this time on each node.
pub const LAST_USE_PRECISION_MS: i64 = 60_000;

/// A token as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Its identifier.
    pub id: AdminTokenId,
    /// Whose it is, or what it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The first characters of the raw token.
    pub hint: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it expires; never if `None`.
    pub expires_at_ms: Option<TimeMs>,
    /// When it was last used, to within [`LAST_USE_PRECISION_MS`].
    pub last_used_at_ms: Option<TimeMs>,
    /// When it was revoked.
    pub revoked_at_ms: Option<TimeMs>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// Whether a token can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can.
    Valid,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl State {
    /// The name as shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl AdminToken {
    /// Whether it can be used at `now_ms`.
    pub fn state(&self, now_ms: TimeMs) -> State {
        if self.revoked_at_ms.is_some() {
            State::Revoked
        } else if self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms) {
            State::Expired
        } else {
            State::Valid
        }
    }

    /// Its name and id, for the audit log: `admin:<name>/<id>`. Names may occur twice, ids do not.
    pub fn actor(&self) -> String {
        format!("admin:{}/{}", self.name, self.id)
    }
}

/// A newly created token, with its secret.
#[derive(Debug)]
pub struct NewAdminToken {
    /// The token itself.
    pub raw: RawKey,
    /// The record to store.
    pub token: AdminToken,
}

impl NewAdminToken {
    /// Generates a token.
    ///
    /// # Errors
    /// `invalid_name` unless the name has 1 to 64 letters, digits or `.`, `_`, `-`, `@`; `invalid_expiry` if the life
    /// is not from a second to ten years.
    pub fn generate(
        name: &str,
        scopes: Scopes,
        expires_in_s: Option<i64>,
        created_by: &str,
        now_ms: TimeMs,
    ) -> Result<Self> {
        let name = check_name(name)?;
        if expires_in_s.is_some_and(|life_s| !(1..=LIFE_MAX_S).contains(&life_s)) {
            return Err(Error::invalid("invalid_expiry", format!("expires_in_s must be from 1 to {LIFE_MAX_S}")));
        }
        let raw = RawKey::with_prefix(PREFIX);
        let token = AdminToken {
            id: AdminTokenId::new(),
            name,
            scopes,
            hint: raw.hint(),
            created_by: created_by.to_owned(),
            created_at_ms: now_ms,
            expires_at_ms: expires_in_s.map(|life_s| now_ms + life_s * 1_000),
            last_used_at_ms: None,
            revoked_at_ms: None,
            revoked_by: None,
        };
        Ok(Self { raw, token })
    }
}

/// Checks a name. It stands in `admin:<name>/<id>`, so it has no colon, slash or space, and nobody may pose as the
/// bootstrap token.
fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_plain) || name == "bootstrap" {
        return Err(Error::invalid(
            "invalid_name",
            format!(
                "the name must have 1 to {NAME_LEN_MAX} letters, digits or . _ - @, such as ada@example.com, and not be \
                 bootstrap"
            ),
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generate(name: &str, expires_in_s: Option<i64>) -> Result<NewAdminToken> {
        NewAdminToken::generate(name, Scopes::of([Scope::Read]), expires_in_s, BOOTSTRAP, 1_000)
    }

    #[test]
    fn a_token_is_valid_until_it_expires_or_is_revoked() {
        let mut token = generate("ada", Some(2)).expect("valid").token;
        assert_eq!([token.state(2_999), token.state(3_000)], [State::Valid, State::Expired]);
        token.revoked_at_ms = Some(1_500);
        assert_eq!([token.state(1_500), token.state(9_000)], [State::Revoked; 2]);
        let lasting = generate("ada", None).expect("valid").token;
        assert_eq!(lasting.state(i64::MAX), State::Valid);
    }

    #[test]
    fn the_actor_has_name_and_id() {
        let token = generate(" ada@example.com ", None).expect("valid").token;
        assert_eq!(token.actor(), format!("admin:ada@example.com/{}", token.id));
    }

    #[test]
    fn a_name_that_could_be_mistaken_for_another_actor_is_refused() {
        for name in ["", " ", "bootstrap", "ada:x", "ada/adt_1", "ada lovelace", "ädä", "a\u{200b}", &"x".repeat(65)]
        {
            let refused = generate(name, None).expect_err(name);
            assert_eq!(refused.code(), Some("invalid_name"), "{name}");
        }
        for name in ["a", "ada@example.com", "deploy-bot_2", &"x".repeat(64)] {
            assert!(generate(name, None).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_life_of_nothing_or_of_centuries_is_refused() {
        for life_s in [i64::MIN, -1, 0, LIFE_MAX_S + 1, i64::MAX] {
            assert_eq!(generate("ada", Some(life_s)).expect_err("refused").code(), Some("invalid_expiry"));
        }
        assert_eq!(generate("ada", Some(60)).expect("valid").token.expires_at_ms, Some(61_000));
    }

    #[test]
    fn a_raw_token_is_long_has_its_prefix_and_is_not_shown_by_debug() {
        let new = generate("ada", None).expect("valid");
        assert!(new.raw.expose().starts_with(PREFIX) && new.raw.expose().len() > 50);
        assert_eq!(new.token.hint, new.raw.expose()[..12]);
        assert!(!format!("{new:?}").contains(&new.raw.expose()[12..]));
    }
}
