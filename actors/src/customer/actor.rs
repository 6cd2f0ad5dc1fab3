//! One customer's actor.

use super::CustomerDeps;
use super::footprint::Share;
use super::pending::Pending;
use super::router::RouterMsg;
use crate::deadline::{ANSWER_MAX, within};
use crate::ledger::Lock;
use crate::owed::Owed;
use bursar_engine::domain::effect::Effect;
use bursar_engine::domain::ledger::{Account, Decision, Entry, decide};
use bursar_engine::domain::mail;
use bursar_engine::error::Refusal;
use bursar_engine::ids::CustomerId;
use bursar_engine::infra::store::account::{self, AccountWrite};
use bursar_engine::infra::store::commit::{Unit, UnitResult};
use bursar_engine::{Error, Result, metric};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// How often a command is decided again after somebody else wrote the account, or after nobody
/// knows whether the commit went through.
const TRIES_MAX: u8 = 8;
/// Races against other nodes that are lost, one after the other, before decisions are made under the
/// account's lock: nobody loses those.
const LOST_MAX: u8 = 2;
/// Locked decisions in a row for which nobody else had written the account, before it is unlocked.
const ALONE_MIN: u8 = 16;

pub(crate) enum CustomerMsg {
    Apply(Box<Pending>),
    Loaded(Result<Option<Account>>),
    Locked(Result<Option<Box<Lock>>>),
    Committed(Result<UnitResult, Arc<Error>>),
    MayIGo,
    Crash,
}

pub(crate) struct CustomerArguments {
    pub(super) id: CustomerId,
    pub(super) deps: Arc<CustomerDeps>,
    pub(super) router: ActorRef<RouterMsg>,
    /// As it was when it was last seen.
    pub(super) account: Option<Account>,
}

/// Commands decided together, on their way to the disk.
struct Batch {
    /// Each with the entry that it led to.
    decided: Vec<(Box<Pending>, Entry)>,
    /// The account once all of them are committed.
    account: Account,
    /// Refused on top of what was decided before them: true only once that is committed.
    refused: Vec<(Box<Pending>, Refusal)>,
}

/// What an actor waits for. Commands that come meanwhile wait, too.
#[derive(Default)]
enum UnderWay {
    /// Nothing.
    #[default]
    Nothing,
    /// The account.
    Load,
    /// The account under its lock.
    Lock,
    /// The commit of a batch.
    Commit(Batch),
}

impl UnderWay {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

/// How races against other nodes went that write this account, too.
#[derive(Debug, Default)]
struct Races {
    /// Lost one after the other.
    lost: u8,
    /// Locked decisions in a row for which nobody else had written the account.
    alone: u8,
}

impl Races {
    /// Whether decisions are made under the lock.
    fn are_lost(&self) -> bool {
        self.lost >= LOST_MAX
    }

    fn lose(&mut self) {
        self.lost = self.lost.saturating_add(1);
        self.alone = 0;
    }

    fn win(&mut self) {
        if !self.are_lost() {
            self.lost = 0;
        }
    }

    /// A look at the account under its lock: whether it is as this node wrote it.
    fn look(&mut self, is_own: bool) {
        self.alone = if is_own { self.alone + 1 } else { 0 };
        if self.alone >= ALONE_MIN {
            *self = Self::default();
        }
    }
}

pub(crate) struct CustomerState {
    id: CustomerId,
    deps: Arc<CustomerDeps>,
    router: ActorRef<RouterMsg>,
    account: Option<Account>,
    waiting: VecDeque<Box<Pending>>,
    under_way: UnderWay,
    /// The account was loaded for the very decision that follows.
    fresh: bool,
    /// Refused on an account that another node may have written since: loaded again before anybody
    /// is told.
    doubtful: Vec<(Box<Pending>, Refusal)>,
    races: Races,
    /// So many commands are decided one by one: the database refused them when they were together.
    singly: usize,
    seen: u64,
    share: Share,
}

pub(crate) struct CustomerActor;

impl Actor for CustomerActor {
    type Msg = CustomerMsg;
    type State = CustomerState;
    type Arguments = CustomerArguments;

    async fn pre_start(
        &self,
        _: ActorRef<CustomerMsg>,
        arguments: CustomerArguments,
    ) -> Result<CustomerState, ActorProcessingErr> {
        let CustomerArguments { id, deps, router, account } = arguments;
        let mut share = deps.footprint.join();
        if let Some(account) = &account {
            share.remember(account);
        }
        Ok(CustomerState {
            id,
            deps,
            router,
            account,
            waiting: VecDeque::new(),
            under_way: UnderWay::Nothing,
            fresh: false,
            doubtful: Vec::new(),
            races: Races::default(),
            singly: 0,
            seen: 0,
            share,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CustomerMsg>,
        message: CustomerMsg,
        state: &mut CustomerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CustomerMsg::Apply(pending) => {
                state.seen += 1;
                if state.waiting.len() >= state.deps.queue_max {
                    pending.answer(Err(Error::Busy("this customer")));
                } else {
                    state.waiting.push_back(pending);
                }
            }
            CustomerMsg::Loaded(loaded) => state.loaded(loaded),
            CustomerMsg::Locked(locked) => state.locked(locked, &myself),
            CustomerMsg::Committed(result) => state.committed(result),
            CustomerMsg::MayIGo => {
                // Then nothing waits either: see `advance`.
                if state.under_way.is_nothing() {
                    let account = state.account.clone().map(Box::new);
                    let _ = state.router.send_message(RouterMsg::MayGo(state.id.clone(), state.seen, account));
                }
                return Ok(());
            }
            CustomerMsg::Crash => {
                state.seen += 1;
                panic!("a test asked for this");
            }
        }
        state.advance(&myself);
        Ok(())
    }
}

impl CustomerState {
    /// Starts whatever comes next, if nothing is under way.
    fn advance(&mut self, myself: &ActorRef<CustomerMsg>) {
        while self.under_way.is_nothing() && !self.waiting.is_empty() {
            if self.races.are_lost() {
                return self.lock(myself);
            }
            let Some(account) = self.account.clone() else {
                return self.load(myself);
            };
            let (batch, unit) = self.decide(account);
            match unit {
                Some(unit) => {
                    self.under_way = UnderWay::Commit(batch);
                    let owed = Self::owed_commit(myself);
                    self.deps.ledger.commit_then(unit, |result| owed.send(CustomerMsg::Committed(result)));
                }
                // What was committed together with them vouches for refusals; these stand alone.
                None if self.fresh => self.refuse(batch.refused),
                None => {
                    self.doubtful = batch.refused;
                    self.load(myself);
                }
            }
        }
        self.fresh = false;
    }

    fn owed_commit(myself: &ActorRef<CustomerMsg>) -> Owed<CustomerMsg> {
        Owed::new(myself.clone(), CustomerMsg::Committed(Err(Arc::new(Error::Timeout("the ledger")))))
    }

    fn load(&mut self, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Load;
        let owed = Owed::new(myself.clone(), CustomerMsg::Loaded(Err(Error::Timeout("the accounts"))));
        let reply = |loaded: Result<_, Arc<Error>>| owed.send(CustomerMsg::Loaded(loaded.map_err(Error::from)));
        self.deps.loads.submit_then(self.id.clone(), reply);
    }

    fn lock(&mut self, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Lock;
        let (ledger, id) = (self.deps.ledger.clone(), self.id.clone());
        let owed = Owed::new(myself.clone(), CustomerMsg::Locked(Err(Error::Timeout("the ledger"))));
        tokio::spawn(
            async move { owed.send(CustomerMsg::Locked(ledger.lock(&id).await.map(|lock| lock.map(Box::new)))) },
        );
    }

    /// Decides what waits while nobody else can write the account.
    fn locked(&mut self, locked: Result<Option<Box<Lock>>>, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Nothing;
        let lock = match locked {
            Ok(Some(lock)) => lock,
            Ok(None) => return self.refuse_all(|| Error::NotFound("account")),
            Err(error) => {
                tracing::warn!(customer.id = %self.id, error = %error.chain(), "an account could not be locked");
                return self.refuse_all(unusable(&error));
            }
        };
        let account = lock.locked.account.clone();
        self.races.look(self.account.as_ref().is_some_and(|known| known.version == account.version));
        self.account = Some(account.clone());
        let (batch, unit) = self.decide(account);
        let Some(unit) = unit else {
            return self.refuse(batch.refused);
        };
        self.under_way = UnderWay::Commit(batch);
        let (ledger, owed) = (self.deps.ledger.clone(), Self::owed_commit(myself));
        tokio::spawn(async move {
            owed.send(CustomerMsg::Committed(ledger.commit_locked(*lock, unit).await.map_err(Arc::new)));
        });
    }

    /// Answers all that waits with one error.
    fn refuse_all(&mut self, why: fn() -> Error) {
        let doubtful = std::mem::take(&mut self.doubtful).into_iter().map(|(pending, _)| pending);
        for pending in doubtful.chain(self.waiting.drain(..)) {
            pending.answer(Err(why()));
        }
    }

    fn loaded(&mut self, loaded: Result<Option<Account>>) {
        self.under_way = UnderWay::Nothing;
        match loaded {
            Ok(Some(account)) => {
                let doubtful = std::mem::take(&mut self.doubtful);
                if self.account.as_ref().is_some_and(|cached| cached.version == account.version) {
                    self.refuse(doubtful);
                } else {
                    doubtful.into_iter().rev().for_each(|(pending, _)| self.waiting.push_front(pending));
                }
                self.share.remember(&account);
                self.account = Some(account);
                self.fresh = true;
            }
            Ok(None) => self.refuse_all(|| Error::NotFound("account")),
            // Logged once, for the whole batch.
            Err(error) => self.refuse_all(unusable(&error)),
        }
    }

    /// Decides as many waiting commands as fit into one batch, each on top of the one before it.
    fn decide(&mut self, mut account: Account) -> (Batch, Option<Unit>) {
        let now_ms = self.deps.clock.now_ms();
        let expected_version = account.version;
        let (mut decided, mut refused) = (Vec::new(), Vec::new());
        let mut entries: Vec<Entry> = Vec::new();
        let mut unit = Unit::default();
        let mut keys: HashSet<String> = HashSet::new();
        let batch_max = if self.singly > 0 { 1 } else { self.deps.batch_max };
        while entries.len() < batch_max {
            // The second use of a key, or of a lease, waits until the first is committed.
            let is_second = |pending: &Pending| {
                let lease = pending.request.finish.as_ref().map(|finish| &finish.stream_key);
                pending.request.command.keys().any(|key| keys.contains(key))
                    || lease.is_some_and(|stream| unit.finishes.iter().any(|finish| finish.stream_key == *stream))
            };
            if self.waiting.front().is_some_and(|pending| is_second(pending)) {
                break;
            }
            let Some(pending) = self.waiting.pop_front() else { break };
            match decide(&account, &pending.request.command, now_ms) {
                Err(refusal) => refused.push((pending, refusal)),
                Ok(Decision { account: after, entries: new }) => {
                    keys.extend(pending.request.command.keys().map(str::to_owned));
                    unit.finishes.extend(pending.request.finish.clone());
                    unit.effects.extend(pending.request.effects.iter().cloned());
                    if let Some(own) = new.last().cloned() {
                        let warn_at = self.deps.warn_at;
                        let low = mail::low_credit_job(&self.id, &account, &own, warn_at, now_ms);
                        unit.effects.extend(low.map(Effect::JobInsert));
                        decided.push((pending, own));
                    }
                    entries.extend(new);
                    account = after;
                }
            }
        }
        self.singly = self.singly.saturating_sub(decided.len() + refused.len());
        let batch = Batch { decided, refused, account: account.clone() };
        if entries.is_empty() {
            return (batch, None);
        }
        unit.account = Some(AccountWrite { customer_id: self.id.clone(), expected_version, account, entries });
        (batch, Some(unit))
    }

    /// Refusals count only against what is committed; and a key that was used before gets its first
    /// answer, even if the account would refuse the command today.
    fn refuse(&self, refused: Vec<(Box<Pending>, Refusal)>) {
        for (pending, refusal) in refused {
            let Some(key) = pending.key().map(str::to_owned) else {
                pending.answer(Err(refusal.into()));
                continue;
            };
            let (db, id) = (self.deps.db.clone(), self.id.clone());
            tokio::spawn(async move {
                match within(ANSWER_MAX, account::entry_find_by_key(db.read(), &id, &key)).await {
                    Ok(Some(entry)) => pending.answer_replay(entry),
                    Ok(None) => {
                        metrics::counter!(metric::COMMANDS_REFUSED, "reason" => refusal.name()).increment(1);
                        pending.answer(Err(refusal.into()));
                    }
                    Err(error) => pending.answer(Err(error)),
                }
            });
        }
    }

    fn committed(&mut self, result: Result<UnitResult, Arc<Error>>) {
        let UnderWay::Commit(batch) = std::mem::take(&mut self.under_way) else { return };
        match result {
            Ok(UnitResult::Committed(_)) => {
                self.races.win();
                self.answer(batch);
            }
            Ok(UnitResult::Stale) => {
                self.account = None;
                self.races.lose();
                self.again(batch, false);
            }
            Ok(UnitResult::KeysUsed(entries)) => {
                let mut rest = Batch { decided: Vec::new(), ..batch };
                for (mut pending, own) in batch.decided {
                    let used = entries.iter().find(|entry| entry.idempotency_key.as_deref() == pending.key());
                    match used.filter(|_| pending.key().is_some()) {
                        Some(entry) => pending.answer_replay(entry.clone()),
                        None => {
                            // What was bought is granted even if what it was bought for is paid already.
                            let used = entries.iter().filter_map(|entry| entry.idempotency_key.as_deref());
                            for key in used {
                                pending.request.command.drop_spend(key);
                            }
                            rest.decided.push((pending, own));
                        }
                    }
                }
                self.again(rest, false);
            }
            Ok(UnitResult::Fenced(streams)) => {
                let mut rest = Batch { decided: Vec::new(), ..batch };
                for (pending, own) in batch.decided {
                    let stream = pending.request.finish.as_ref().map(|finish| &finish.stream_key);
                    if stream.is_some_and(|stream| streams.contains(stream)) {
                        let message = "the lease was lost before the result was committed";
                        pending.answer(Err(Error::conflict("fenced", message)));
                    } else {
                        rest.decided.push((pending, own));
                    }
                }
                self.again(rest, false);
            }
            Err(error) if error.is_item_fault() => self.refused_by_database(batch, &error),
            // It may have been committed. The account is loaded, and the keys tell.
            Err(_) => {
                self.account = None;
                self.again(batch, true);
            }
        }
    }

    /// Certainly nothing of it is committed, and for a reason that lies in it: whoever asked is told. Of
    /// several commands, only the one that it is about is to fail, unless all wait for one locked row.
    fn refused_by_database(&mut self, batch: Batch, error: &Arc<Error>) {
        let mut rest = Batch { decided: Vec::new(), ..batch };
        if !error.is_retryable() && batch.decided.len() > 1 {
            self.singly = batch.decided.len();
            rest.decided = batch.decided;
        } else {
            for (pending, _) in batch.decided {
                pending.answer(Err(error.clone().into()));
            }
        }
        self.again(rest, false);
    }

    fn answer(&mut self, batch: Batch) {
        self.share.remember(&batch.account);
        self.account = Some(batch.account);
        for (pending, entry) in batch.decided {
            pending.answer_committed(entry);
        }
        self.refuse(batch.refused);
    }

    /// Puts commands back to be decided again, in their old order.
    fn again(&mut self, batch: Batch, uncertain: bool) {
        let decided = batch.decided.into_iter().map(|(mut pending, entry)| {
            if uncertain {
                pending.uncertain.push((entry.seq, entry.created_at_ms));
            }
            pending
        });
        let refused = batch.refused.into_iter().map(|(pending, _)| pending);
        let mut back: Vec<Box<Pending>> = Vec::new();
        for mut pending in decided.chain(refused) {
            pending.tries += 1;
            if pending.tries >= TRIES_MAX {
                let error = if !pending.uncertain.is_empty() {
                    Error::Timeout("the ledger")
                } else {
                    Error::Busy("this account")
                };
                pending.answer(Err(error));
            } else {
                back.push(pending);
            }
        }
        for pending in back.into_iter().rev() {
            self.waiting.push_front(pending);
        }
    }
}

/// What those are told who wait for an account that could not be read: whether it is the account's fault.
fn unusable(error: &Error) -> fn() -> Error {
    if error.is_item_fault() { || Error::Stuck("this account") } else { || Error::Unavailable("the database") }
}
