//! Who is behind an admin token.
//!
//! A node remembers all valid tokens for `admin.token_cache_ms`, so a token costs no query, and an unknown one costs
//! few: it makes the node look again, but not more often than every 250 ms, however many strangers guess. This node
//! forgets a token as soon as it revokes it. On other nodes it works until they look again.

use crate::database::connect_command;
use bursar_engine::clock::{Clock, TimeMs};
use bursar_engine::config::Config;
use bursar_engine::domain::admin_token::{
    ADMIN_TOKENS_MAX, AdminToken, BOOTSTRAP, LAST_USE_PRECISION_MS, PREFIX, Scope, Scopes, State,
};
use bursar_engine::domain::api_key::secret_hash;
use bursar_engine::ids::AdminTokenId;
use bursar_engine::infra::store::Db;
use bursar_engine::infra::store::admin_token as rows;
use bursar_engine::usecase::admin_token::bootstrap_warning;
use bursar_engine::{Error, Result};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a node does not look for new tokens again because of an unknown one, or after a failure.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long a command waits for the database's answer.
const ASK_MAX: Duration = Duration::from_secs(3);
/// Maximum number of tokens in memory. Two requests at once may make a few more than [`ADMIN_TOKENS_MAX`].
const KNOWN_MAX: u64 = 2 * ADMIN_TOKENS_MAX;

/// The member of staff, or the program, that is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The name in the audit log: `admin:<name>/<token's id>`, or `admin:bootstrap`.
    pub actor: String,
    /// What it may do.
    pub scopes: Scopes,
}

/// All valid tokens.
pub struct AdminTokens {
    db: Db,
    clock: Clock,
    remember_for: Duration,
    /// The hash of the bootstrap token; `None` if it is switched off.
    bootstrap_hash: Option<String>,
    known: Mutex<Known>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

/// What a node knows.
#[derive(Default)]
struct Known {
    tokens: Arc<Vec<Holder>>,
    /// When the look began that found them; `None` before the first one, and after a token was made or revoked here.
    looked_at: Option<Instant>,
    failed_at: Option<Instant>,
    /// How often tokens were made or revoked here. A look that began before finds nothing that counts.
    changes: u64,
}

/// A valid token.
struct Holder {
    hash: String,
    token: AdminToken,
    /// The last recorded use; 0 if there is none.
    last_used_ms: AtomicI64,
}

impl AdminTokens {
    /// Knows nobody but the bootstrap token yet.
    pub fn new(config: &Config, db: &Db, clock: &Clock) -> Self {
        Self {
            db: db.clone(),
            clock: clock.clone(),
            remember_for: Duration::from_millis(config.admin.token_cache_ms),
            bootstrap_hash: config.has_bootstrap().then(|| secret_hash(&config.admin_token)),
            known: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// Finds who is behind a token; `None` if it is unknown, expired or revoked. Records the use within a minute.
    ///
    /// # Errors
    /// The database's. The bootstrap token needs no database.
    pub async fn identify(&self, raw: &str) -> Result<Option<Admin>> {
        let hash = secret_hash(raw);
        if self.bootstrap_hash.as_deref().is_some_and(|bootstrap| equal(bootstrap, &hash)) {
            return Ok(Some(Admin { actor: BOOTSTRAP.to_owned(), scopes: Scopes::of([Scope::Admin]) }));
        }
        if !raw.starts_with(PREFIX) {
            return Ok(None);
        }
        let mut tokens = self.tokens(self.remember_for).await?;
        if find(&tokens, &hash).is_none() {
            tokens = self.tokens(LOOK_AGAIN_AFTER.min(self.remember_for)).await?;
        }
        let now_ms = self.clock.now_ms();
        let Some(holder) = find(&tokens, &hash).filter(|holder| holder.token.state(now_ms) == State::Valid) else {
            return Ok(None);
        };
        if holder.begin_touch(now_ms) {
            self.touch(holder.token.id.clone(), now_ms);
        }
        Ok(Some(Admin { actor: holder.token.actor(), scopes: holder.token.scopes.clone() }))
    }

    /// Forgets all tokens, because one was made or revoked here.
    pub fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.changes += 1;
        (known.looked_at, known.failed_at) = (None, None);
    }

    /// The number of valid tokens that this node knows of.
    pub fn count_known(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).tokens.len() as u64
    }

    /// Looks for all valid tokens now.
    ///
    /// # Errors
    /// The database's.
    pub async fn look(&self) -> Result<()> {
        self.tokens(Duration::ZERO).await.map(drop)
    }

    /// The valid tokens, found by a look that began at most `age_max` ago.
    async fn tokens(&self, age_max: Duration) -> Result<Arc<Vec<Holder>>> {
        if let Some(tokens) = self.fresh(age_max)? {
            return Ok(tokens);
        }
        let asked_at = Instant::now();
        let _turn = self.looking.lock().await;
        loop {
            // The look of another request may have begun after this one asked.
            if let Some(tokens) = self.fresh(age_max.max(asked_at.elapsed()))? {
                return Ok(tokens);
            }
            let (began_at, changes) = (Instant::now(), self.changes());
            let found = rows::admin_token_list_valid(self.db.read(), self.clock.now_ms(), KNOWN_MAX).await;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(found) if known.changes == changes => {
                    known.tokens = Arc::new(found.into_iter().map(Holder::new).collect());
                    (known.looked_at, known.failed_at) = (Some(began_at), None);
                    return Ok(known.tokens.clone());
                }
                Ok(_) => {}
                Err(error) => {
                    known.failed_at = Some(Instant::now());
                    return Err(error);
                }
            }
        }
    }

    fn fresh(&self, age_max: Duration) -> Result<Option<Arc<Vec<Holder>>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked_at.is_some_and(|at| at.elapsed() <= age_max) {
            return Ok(Some(known.tokens.clone()));
        }
        if known.failed_at.is_some_and(|at| at.elapsed() <= LOOK_AGAIN_AFTER) {
            return Err(Error::Unavailable("the database"));
        }
        Ok(None)
    }

    fn changes(&self) -> u64 {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Records a use in the background: no request waits for it, and one that is lost is recorded with the next use.
    fn touch(&self, id: AdminTokenId, now_ms: TimeMs) {
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = rows::admin_token_touch(db.write(), &id, now_ms).await {
                tracing::debug!(error = %error.chain(), "the use of an admin token could not be recorded");
            }
        });
    }
}

impl Holder {
    fn new((hash, token): (String, AdminToken)) -> Self {
        let last_used_ms = AtomicI64::new(token.last_used_at_ms.unwrap_or(0));
        Self { hash, token, last_used_ms }
    }

    /// Whether the caller has to record a use at `now_ms`: once in [`LAST_USE_PRECISION_MS`].
    fn begin_touch(&self, now_ms: TimeMs) -> bool {
        let last_ms = self.last_used_ms.load(Ordering::Relaxed);
        now_ms - last_ms >= LAST_USE_PRECISION_MS
            && self.last_used_ms.compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// For commands: warns about the bootstrap token as a server does at its start, if the database can be asked. `config
/// check` has to work without one, so no answer is no warning. `command` names the session, as in [`connect_command`].
pub async fn find_bootstrap_warning(config: &Config, command: &str) -> Option<String> {
    // Only if one token would be too many is the database asked at all.
    bootstrap_warning(config, 1)?;
    let count = async {
        let db = connect_command(config, command).await.ok()?;
        let found = rows::admin_token_count_valid(db.read(), Clock::System.now_ms()).await;
        db.close().await;
        found.ok()
    };
    bootstrap_warning(config, tokio::time::timeout(ASK_MAX, count).await.ok()??)
}

/// Finds a token by its hash. Compares with all of them, each in constant time.
fn find<'a>(tokens: &'a [Holder], hash: &str) -> Option<&'a Holder> {
    tokens.iter().fold(None, |found, holder| if equal(&holder.hash, hash) { Some(holder) } else { found })
}

fn equal(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_engine::domain::admin_token::NewAdminToken;

    fn holder(name: &str) -> (String, Holder) {
        let new = NewAdminToken::generate(name, Scopes::of([Scope::Read]), None, BOOTSTRAP, 0).expect("valid");
        (new.raw.hash(), Holder::new((new.raw.hash(), new.token)))
    }

    #[test]
    fn a_token_is_found_by_its_hash_only() {
        let ((first, ada), (second, bob)) = (holder("ada"), holder("bob"));
        let tokens = [ada, bob];
        let name = |hash: &str| find(&tokens, hash).map(|holder| holder.token.name.clone());
        assert_eq!([name(&first), name(&second)], [Some("ada".to_owned()), Some("bob".to_owned())]);
        for unknown in ["", &first[1..], &first.to_uppercase(), &format!("{first}0")] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_use_is_recorded_once_a_minute() {
        let (_, holder) = holder("ada");
        let uses = [1_000_000, 1_000_001, 1_059_999, 1_060_000, 1_060_000, 1_200_000];
        assert_eq!(uses.map(|at_ms| holder.begin_touch(at_ms)), [true, false, false, true, false, true]);
    }
}
