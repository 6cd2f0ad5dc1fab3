//! One customer's actor.

use super::router::RouterMsg;
use super::{Applied, CustomerDeps, Request};
use crate::owed::Owed;
use bursar_engine::clock::TimeMs;
use bursar_engine::ids::CustomerId;
use bursar_engine::ledger::{Account, Decision, Entry, EntryKind, Op, Refusal, decide};
use bursar_engine::store::account::{self, AccountWrite};
use bursar_engine::store::commit::{Unit, UnitResult};
use bursar_engine::{Error, Result, mail, metric};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How often a command is decided again after somebody else wrote the account, or after nobody
/// knows whether the commit went through.
const TRIES_MAX: u8 = 8;

/// A command that waits for its turn or its commit.
pub(crate) struct Pending {
    request: Request,
    reply: oneshot::Sender<Result<Applied>>,
    tries: u8,
    /// Earlier tries that may have been committed without our knowing: sequence number and time of
    /// the entry that each had decided.
    uncertain: Vec<(i64, TimeMs)>,
}

impl Pending {
    pub(super) fn new(request: Request, reply: oneshot::Sender<Result<Applied>>) -> Self {
        Self { request, reply, tries: 0, uncertain: Vec::new() }
    }

    fn key(&self) -> Option<&str> {
        self.request.command.idempotency_key.as_deref()
    }

    /// A caller that has stopped waiting needs no answer.
    fn answer(self, answer: Result<Applied>) {
        let _ = self.reply.send(answer);
    }

    /// Answers a command whose key was used before by `entry`.
    fn answer_replay(self, entry: Entry) {
        if entry.request_hash != self.request.command.request_hash {
            return self.answer(Err(Refusal::KeyReused.into()));
        }
        let replayed = !self.uncertain.contains(&(entry.seq, entry.created_at_ms));
        if replayed {
            metrics::counter!(metric::COMMANDS_REPLAYED).increment(1);
        }
        self.answer(Ok(Applied { entry, replayed }));
    }
}

pub(crate) enum CustomerMsg {
    Apply(Box<Pending>),
    Loaded(Result<Option<Account>>),
    Committed(Result<UnitResult, Arc<Error>>),
    MayIGo,
    Crash,
}

pub(crate) struct CustomerArguments {
    pub(super) id: CustomerId,
    pub(super) deps: Arc<CustomerDeps>,
    pub(super) router: ActorRef<RouterMsg>,
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
    /// The commit of a batch.
    Commit(Batch),
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
    /// The account was loaded for the very decision that follows.
    fresh: bool,
    /// Refused on an account that another node may have written since: loaded again before anybody
    /// is told.
    doubtful: Vec<(Box<Pending>, Refusal)>,
    /// So many commands are decided one by one: the database refused them when they were together.
    singly: usize,
    seen: u64,
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
        let CustomerArguments { id, deps, router } = arguments;
        Ok(CustomerState {
            id,
            deps,
            router,
            account: None,
            waiting: VecDeque::new(),
            under_way: UnderWay::Nothing,
            fresh: false,
            doubtful: Vec::new(),
            singly: 0,
            seen: 0,
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
            CustomerMsg::Committed(result) => state.committed(result),
            CustomerMsg::MayIGo => {
                // Then nothing waits either: see `advance`.
                if state.under_way.is_nothing() {
                    let _ = state.router.send_message(RouterMsg::MayGo(state.id.clone(), state.seen));
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
            let Some(account) = self.account.clone() else {
                return self.load(myself);
            };
            let (batch, unit) = self.decide(account);
            match unit {
                Some(unit) => {
                    self.under_way = UnderWay::Commit(batch);
                    let ledger = self.deps.ledger.clone();
                    let unknown = CustomerMsg::Committed(Err(Arc::new(Error::Timeout("the ledger"))));
                    let owed = Owed::new(myself.clone(), unknown);
                    tokio::spawn(async move { owed.send(CustomerMsg::Committed(ledger.commit(unit).await)) });
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

    fn load(&mut self, myself: &ActorRef<CustomerMsg>) {
        self.under_way = UnderWay::Load;
        let (loads, id) = (self.deps.loads.clone(), self.id.clone());
        let owed = Owed::new(myself.clone(), CustomerMsg::Loaded(Err(Error::Timeout("the accounts"))));
        tokio::spawn(async move { owed.send(CustomerMsg::Loaded(loads.submit(id).await.map_err(Error::from))) });
    }

    fn loaded(&mut self, loaded: Result<Option<Account>>) {
        self.under_way = UnderWay::Nothing;
        let why: fn() -> Error = match loaded {
            Ok(Some(account)) => {
                let doubtful = std::mem::take(&mut self.doubtful);
                if self.account.as_ref().is_some_and(|cached| cached.version == account.version) {
                    self.refuse(doubtful);
                } else {
                    doubtful.into_iter().rev().for_each(|(pending, _)| self.waiting.push_front(pending));
                }
                self.account = Some(account);
                self.fresh = true;
                return;
            }
            Ok(None) => || Error::NotFound("account"),
            // Logged once, for the whole batch.
            Err(_) => || Error::Unavailable("the database"),
        };
        let doubtful = std::mem::take(&mut self.doubtful).into_iter().map(|(pending, _)| pending);
        for pending in doubtful.chain(self.waiting.drain(..)) {
            pending.answer(Err(why()));
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
                        unit.effects.extend(mail::low_credit_job(&self.id, &account, &own, warn_at, now_ms));
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
                match account::entry_find_by_key(db.read(), &id, &key).await {
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
            Ok(UnitResult::Committed(_)) => self.answer(batch),
            Ok(UnitResult::Stale) => {
                self.account = None;
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
            Err(error) if error.is_particular() => self.refused_by_database(batch, &error),
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
        self.account = Some(batch.account);
        for (pending, entry) in batch.decided {
            count(&entry);
            if let Op::Purchase { amount, .. } = pending.request.command.op
                && entry.kind != EntryKind::Grant
            {
                // The entry is the debit that the purchase was made for.
                let source = source_label(&pending.request.command.source);
                metrics::counter!(metric::CREDITS_GRANTED, "source" => source).increment(amount.unsigned_abs());
            }
            pending.answer(Ok(Applied { entry, replayed: false }));
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

fn count(entry: &Entry) {
    let source = source_label(&entry.source);
    let name = match entry.kind {
        EntryKind::Grant => metric::CREDITS_GRANTED,
        EntryKind::Debit | EntryKind::Capture => metric::CREDITS_SPENT,
        _ => return,
    };
    metrics::counter!(name, "source" => source).increment(entry.amount.unsigned_abs());
}

/// Sources that are counted under their own name.
const SOURCES: [&str; 10] = [
    "usage",
    "hold",
    "signup",
    "stripe",
    "payment_method",
    "purchase",
    "reinstatement",
    "marketplace",
    "support",
    "system",
];

/// Sources are fixed words of ours; anything else would be an unbounded label.
fn source_label(source: &str) -> &'static str {
    SOURCES.into_iter().find(|s| *s == source).unwrap_or("other")
}
