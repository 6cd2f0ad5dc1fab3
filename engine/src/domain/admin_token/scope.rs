//! What an admin token may do.

use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::fmt;

/// A kind of deed that a token may be allowed. Each admin route needs exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Look at everything but admin tokens.
    Read,
    /// Run work again, or stop it: events, jobs, mails, replays, streams, reconciliations.
    Replay,
    /// Change what a customer has: credits, limits, keys, links, address, suspension.
    Adjust,
    /// Give money back.
    Refund,
    /// Vouch for addresses and origins of signups, as a company's own backend.
    Onboard,
    /// Everything, with admin tokens, the catalogue and decisions about prices.
    Admin,
}

impl Scope {
    /// All scopes, in the order in which they are shown.
    pub const ALL: [Self; 6] = [Self::Read, Self::Replay, Self::Adjust, Self::Refund, Self::Onboard, Self::Admin];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Replay => "replay",
            Self::Adjust => "adjust",
            Self::Refund => "refund",
            Self::Onboard => "onboard",
            Self::Admin => "admin",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The scopes of a token, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// These scopes. The caller gives at least one.
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// Reads names, each once or more often.
    ///
    /// # Errors
    /// `invalid_scopes` if there is none, or one is unknown.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let parse = |name: &str| {
            Scope::parse(name).ok_or_else(|| {
                let known = Self::of(Scope::ALL);
                Error::invalid("invalid_scopes", format!("{name} is not a scope: the scopes are {known}"))
            })
        };
        let scopes: BTreeSet<Scope> = names.into_iter().map(parse).collect::<Result<_>>()?;
        if scopes.is_empty() {
            return Err(Error::invalid("invalid_scopes", "a token needs at least one scope"));
        }
        Ok(Self(scopes))
    }

    /// Whether they allow what needs `scope`. `admin` allows everything.
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|scope| scope.as_str())
    }
}

/// Shows the names with commas.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_itself_only_and_admin_allows_all() {
        for held in Scope::ALL {
            for needed in Scope::ALL {
                let expected = held == needed || held == Scope::Admin;
                assert_eq!(Scopes::of([held]).allow(needed), expected, "{held} {needed}");
            }
        }
    }

    #[test]
    fn names_are_read_back_in_order_and_once() {
        let scopes = Scopes::parse(["refund", "read", "refund"]).expect("valid");
        assert_eq!(scopes.to_string(), "read, refund");
        assert_eq!(Scopes::parse(scopes.names()).expect("valid"), scopes);
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
    }

    #[test]
    fn no_scope_and_unknown_scopes_are_refused() {
        for wrong in [&[][..], &["root"], &["read", "Refund"], &[""], &["read replay"]] {
            let refused = Scopes::parse(wrong.iter().copied()).expect_err("refused");
            assert_eq!(refused.code(), Some("invalid_scopes"), "{wrong:?}");
        }
    }
}
