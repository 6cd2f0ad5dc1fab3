//! The actor of one customer.

use super::CustomerDeps;
use super::footprint::MemoryShare;
use super::message::{CustomerMsg, RouterMsg};
use super::pending::Pending;
use super::races::Races;
use crate::deadline::{ANSWER_MAX, within};
use crate::guaranteed_reply::GuaranteedReply;
use crate::ledger::LockedWithPermit;
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

/// Maximum number of decisions of one command. It is decided again if another node has written the account or the
/// outcome of a commit is unknown.
const TRIES_MAX: u8 = 8;

pub(crate) struct CustomerArguments {
    pub(super) id: CustomerId,
    pub(super) deps: Arc<CustomerDeps>,
    pub(super) router: ActorRef<RouterMsg>,
    /// The cached account, which may be stale.
    pub(super) account: Option<Account>,
}

/// Commands decided together and being committed.
struct Batch {
    /// Each with its own ledger entry.
    decided: Vec<(Box<Pending>, Entry)>,
    /// The account once all of them are committed.
    account: Account,
    /// Refused because of the commands decided before them, so final only once those are committed.
    refused: Vec<(Box<Pending>, Refusal)>,
}

/// The operation that an actor waits for. Commands that arrive meanwhile are queued.
#[derive(Default)]
enum UnderWay {
    #[default]
    Nothing,
    /// Loading the account.
    Load,
    /// Locking the account.
    Lock,
    /// Committing a batch.
    Commit(Box<Batch>),
}

impl UnderWay {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

pub(crate) struct CustomerState {
    id: CustomerId,
    deps: Arc<CustomerDeps>,
    router: ActorRef<RouterMsg>,
    account: Option<Account>,
    waiting: VecDeque<Box<Pending>>,
    under_way: UnderWay,
    /// Whether the account was loaded just before the next decision.
    is_fresh: bool,
    /// Refused on a cached account, which may be stale: the account is loaded again before the callers are answered.
    unconfirmed: Vec<(Box<Pending>, Refusal)>,
    races: Races,
    /// How many of the next commands are decided one by one, because the database refused their batch.
    singles: usize,
    /// Messages that the router has forwarded to this actor.
    received: u64,
    memory_share: MemoryShare,
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
        let mut memory_share = deps.footprint.add_actor();
        if let Some(account) = &account {
            memory_share.set_account(account);
        }
        Ok(CustomerState {
            id,
            deps,
            router,
            account,
            waiting: VecDeque::new(),
            under_way: UnderWay::Nothing,
            is_fresh: false,
            unconfirmed: Vec::new(),
            races: Races::default(),
            singles: 0,
            received: 0,
            memory_share,
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
                state.received += 1;
                if state.waiting.len() >= state.deps.queue_max {
                    pending.answer(Err(Error::Busy("this customer")));
                } else {
                    state.waiting.push_back(pending);
                }
            }
            CustomerMsg::Loaded(loaded) => state.on_loaded(loaded),
            CustomerMsg::Locked(locked) => state.on_locked(locked, &myself),
            CustomerMsg::Committed(result) => state.on_committed(result),
            CustomerMsg::Passivate => {
                // No command waits either: `advance` would have started it.
                if state.under_way.is_nothing() {
                    let account = state.account.clone().map(Box::new);
                    let _ = state.router.send_message(RouterMsg::Idle {
                        customer: state.id.clone(),
                        received: state.received,
                        account,
                    });
                }
                return Ok(());
            }
            CustomerMsg::Crash => {
                state.received += 1;
                panic!("a test asked for this");
            }
        }
        state.advance(&myself);
        Ok(())
    }
}

impl CustomerState {
    /// Starts the next operation, if none is under way and commands wait.
    fn advance(&mut self, myself: &ActorRef<CustomerMsg>) {
        while self.under_way.is_nothing() && !self.waiting.is_empty() {
            if self.races.needs_lock() {
                return self.lock(myself);
            }
            let Some(account) = self.account.clone() else {
                return self.load(myself);
            };
            let (batch, unit) = self.decide(account);
            match unit {
                Some(unit) => {
                    self.under_way = UnderWay::Commit(Box::new(batch));
                    let reply = Self::commit_reply(myself);
                    self.deps.ledger.commit_then(unit, |result| reply.send(CustomerMsg::Committed(result)));
                }
                // A commit proves that the account was current, so the refusals in its batch are final. Without a
                // commit, they are final only if the account was just loaded.
                None if self.is_fresh => self.refuse(batch.refused),
                None => {
                    self.unconfirmed = batch.refused;
                    self.load(myself);
                }
            }
        }
        self.is_fresh = false;
    }

    fn commit_reply(myself: &ActorRef<CustomerMsg>) -> GuaranteedReply<CustomerMsg> {
        GuaranteedReply::new(myself.clone(), CustomerMsg::Committed(Err(Arc::new(Error::Timeout("the ledger")))))
    }

    fn load(&mut self, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Load;
        let reply = GuaranteedReply::new(myself.clone(), CustomerMsg::Loaded(Err(Error::Timeout("the accounts"))));
        let on_loaded = |loaded: Result<_, Arc<Error>>| reply.send(CustomerMsg::Loaded(loaded.map_err(Error::from)));
        self.deps.loads.submit_then(self.id.clone(), on_loaded);
    }

    fn lock(&mut self, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Lock;
        let (ledger, id) = (self.deps.ledger.clone(), self.id.clone());
        let reply = GuaranteedReply::new(myself.clone(), CustomerMsg::Locked(Err(Error::Timeout("the ledger"))));
        tokio::spawn(async move {
            reply.send(CustomerMsg::Locked(ledger.lock(&id).await.map(|lock| lock.map(Box::new))));
        });
    }

    /// Decides the waiting commands under the account's lock.
    fn on_locked(&mut self, locked: Result<Option<Box<LockedWithPermit>>>, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Nothing;
        let lock = match locked {
            Ok(Some(lock)) => lock,
            Ok(None) => return self.refuse_all(|| Error::NotFound("account")),
            Err(error) => {
                tracing::warn!(customer.id = %self.id, error = %error.chain(), "an account could not be locked");
                return self.refuse_all(unreadable_account(&error));
            }
        };
        let account = lock.locked.account.clone();
        self.races.record_locked(self.account.as_ref().is_some_and(|known| known.version == account.version));
        self.account = Some(account.clone());
        let (batch, unit) = self.decide(account);
        let Some(unit) = unit else {
            return self.refuse(batch.refused);
        };
        self.under_way = UnderWay::Commit(Box::new(batch));
        let (ledger, reply) = (self.deps.ledger.clone(), Self::commit_reply(myself));
        tokio::spawn(async move {
            reply.send(CustomerMsg::Committed(ledger.commit_locked(*lock, unit).await.map_err(Arc::new)));
        });
    }

    /// Answers all waiting commands with the same error.
    fn refuse_all(&mut self, make_error: fn() -> Error) {
        let unconfirmed = std::mem::take(&mut self.unconfirmed).into_iter().map(|(pending, _)| pending);
        for pending in unconfirmed.chain(self.waiting.drain(..)) {
            pending.answer(Err(make_error()));
        }
    }

    fn on_loaded(&mut self, loaded: Result<Option<Account>>) {
        self.under_way = UnderWay::Nothing;
        match loaded {
            Ok(Some(account)) => {
                let unconfirmed = std::mem::take(&mut self.unconfirmed);
                if self.account.as_ref().is_some_and(|cached| cached.version == account.version) {
                    self.refuse(unconfirmed);
                } else {
                    unconfirmed.into_iter().rev().for_each(|(pending, _)| self.waiting.push_front(pending));
                }
                self.memory_share.set_account(&account);
                self.account = Some(account);
                self.is_fresh = true;
            }
            Ok(None) => self.refuse_all(|| Error::NotFound("account")),
            // The batcher has logged the error.
            Err(error) => self.refuse_all(unreadable_account(&error)),
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
        let batch_max = if self.singles > 0 { 1 } else { self.deps.batch_max };
        while entries.len() < batch_max {
            // A second use of an idempotency key or lease waits until the first is committed.
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
        self.singles = self.singles.saturating_sub(decided.len() + refused.len());
        let batch = Batch { decided, refused, account: account.clone() };
        if entries.is_empty() {
            return (batch, None);
        }
        unit.account = Some(AccountWrite { customer_id: self.id.clone(), expected_version, account, entries });
        (batch, Some(unit))
    }

    /// Answers refused commands. A command whose idempotency key was used before gets the first result instead, even
    /// if the account would refuse it today.
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

    fn on_committed(&mut self, result: Result<UnitResult, Arc<Error>>) {
        let UnderWay::Commit(batch) = std::mem::take(&mut self.under_way) else { return };
        let batch = *batch;
        match result {
            Ok(UnitResult::Committed(_)) => {
                self.races.record_win();
                self.answer(batch);
            }
            Ok(UnitResult::Stale) => {
                self.account = None;
                self.races.record_loss();
                self.requeue(batch, false);
            }
            Ok(UnitResult::KeysUsed(entries)) => {
                let mut rest = Batch { decided: Vec::new(), ..batch };
                for (mut pending, own) in batch.decided {
                    let used = entries.iter().find(|entry| entry.idempotency_key.as_deref() == pending.key());
                    match used.filter(|_| pending.key().is_some()) {
                        Some(entry) => pending.answer_replay(entry.clone()),
                        None => {
                            // The debit was made before under its own key: drop it from the purchase, which still
                            // grants its credits.
                            let used = entries.iter().filter_map(|entry| entry.idempotency_key.as_deref());
                            for key in used {
                                pending.request.command.drop_spend(key);
                            }
                            rest.decided.push((pending, own));
                        }
                    }
                }
                self.requeue(rest, false);
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
                self.requeue(rest, false);
            }
            Err(error) if error.is_item_fault() => self.on_refused_by_database(batch, &error),
            // It may have been committed: the idempotency keys show it once the account is loaded again.
            Err(_) => {
                self.account = None;
                self.requeue(batch, true);
            }
        }
    }

    /// Handles a batch that was not committed because of one of its commands. A single command fails with the error.
    /// Several are decided again one by one, so that only the faulty one fails. If the error is retryable, such as a
    /// locked row, every command of the batch would meet it again, so all fail.
    fn on_refused_by_database(&mut self, batch: Batch, error: &Arc<Error>) {
        let mut rest = Batch { decided: Vec::new(), ..batch };
        if !error.is_retryable() && batch.decided.len() > 1 {
            self.singles = batch.decided.len();
            rest.decided = batch.decided;
        } else {
            for (pending, _) in batch.decided {
                pending.answer(Err(error.clone().into()));
            }
        }
        self.requeue(rest, false);
    }

    fn answer(&mut self, batch: Batch) {
        self.memory_share.set_account(&batch.account);
        self.account = Some(batch.account);
        for (pending, entry) in batch.decided {
            pending.answer_committed(entry);
        }
        self.refuse(batch.refused);
    }

    /// Puts commands back into the queue in their old order. `uncertain` means that they may have been committed.
    fn requeue(&mut self, batch: Batch, uncertain: bool) {
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

/// The error for commands whose account could not be read: `Stuck` if only this account is affected.
fn unreadable_account(error: &Error) -> fn() -> Error {
    if error.is_item_fault() { || Error::Stuck("this account") } else { || Error::Unavailable("the database") }
}
