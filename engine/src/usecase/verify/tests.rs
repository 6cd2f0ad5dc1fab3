//! A healthy database holds, even while it is written; each check finds its corruption.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod audit_log;
mod corruption;

use super::*;
use crate::amount::{Credits, MoneyMinor};
use crate::clock::TimeMs;
use crate::config::MarketplaceConfig;
use crate::domain::catalogue::write::write;
use crate::domain::catalogue::{
    Catalogue, CatalogueVersion, GrantSchedule, Interval, IntervalUnit, Plan, Price, version,
};
use crate::domain::customer::Source;
use crate::domain::effect::Effect;
use crate::domain::github;
use crate::domain::job::{Backoff, JobFilter, Outcome, finish};
use crate::domain::ledger::{Command, GrantKind, Op, decide};
use crate::domain::marketplace::{rules, terms::Terms};
use crate::domain::operation::{Charge, Request, UsageCharge, payment_key};
use crate::domain::payment::Invoice;
use crate::domain::replay::ReplayStep;
use crate::domain::sale::grant::grants;
use crate::domain::sale::{Sale, SaleRecord};
use crate::domain::webhook::StoredEvent;
use crate::domain::webhook::delivery::{Delivery, Fate};
use crate::ids::{CustomerId, EventId, HoldId};
use crate::infra::seal::{SealBox, key_new};
use crate::infra::store::account::{self, AccountWrite};
use crate::infra::store::catalogue::catalogue_version_insert;
use crate::infra::store::commit::{Unit, UnitResult, commit_units};
use crate::infra::store::{DbOptions, customer, event, marketplace, operation, payment};
use crate::key::PlanKey;
use crate::migrations::{Migrator, MigratorTrait};
use crate::usecase::audit::seal as seal_audit_log;
use crate::usecase::intake::take_in;
use crate::usecase::onboard::{AddressRule, Onboarded, Signup, onboard};
use crate::usecase::operation::request::ask;
use crate::usecase::replay::{self, NewReplay};
use crate::usecase::work::claim;
use corruption::{AUDIT_CORRUPTIONS, JOB_CORRUPTIONS, LEDGER_CORRUPTIONS, SALE_CORRUPTIONS};
use sea_orm::ConnectionTrait;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const NODE: &str = "node-1";
const LEASE_MS: i64 = 30_000;

fn seal() -> SealBox {
    SealBox::new(&key_new()).unwrap()
}

async fn sign_up(db: &Db, name: &str, credits: i64) -> Onboarded {
    let email = format!("{name}@example.com");
    let plan = Plan { signup_credits: Credits(credits), ..Catalogue::built_in().entry_plan().clone() };
    let signup = Signup {
        email: &email,
        name,
        source: Source::Direct,
        plan: &plan,
        marketplace_link: None,
        address: AddressRule::Assumed,
        per_mailbox_per_day: 0,
    };
    onboard(db, &seal(), signup, 100).await.unwrap()
}

/// A temporary folder.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("bursar-verify-{}", EventId::new()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn connect(file: &Path) -> Db {
    Db::connect(&DbOptions::new(format!("sqlite://{}", file.display()))).await.unwrap()
}

async fn act(db: &Db, customer_id: &CustomerId, command: &Command, now_ms: TimeMs) {
    let tx = db.begin().await.unwrap();
    let before = account::account_find(&tx, customer_id).await.unwrap().unwrap();
    let decision = decide(&before, command, now_ms).unwrap();
    let write = AccountWrite {
        customer_id: customer_id.clone(),
        expected_version: before.version,
        account: decision.account,
        entries: decision.entries,
    };
    account::account_update_many(&tx, &[&write]).await.unwrap();
    account::entry_append_many(&tx, &[&write]).await.unwrap();
    tx.commit().await.unwrap();
}

fn usage(op: Op) -> Command {
    Command { source: "usage".to_owned(), ..Command { op, ..Command::settle() } }
}

fn paid(kind: GrantKind, amount: i64, invoice: &str) -> Command {
    let op = Op::Grant { kind, amount: Credits(amount), expires_at_ms: None };
    Command::internal(op, "stripe", format!("stripe:invoice:{invoice}")).with_reference(invoice)
}

fn delivery(external_id: &str, stream: &str, fate: Fate) -> Delivery {
    let event = StoredEvent {
        id: EventId::new(),
        source: "stripe".to_owned(),
        external_id: external_id.to_owned(),
        event_type: "invoice.paid".to_owned(),
        payload: b"{}".to_vec(),
        stream_key: stream.to_owned(),
        deliveries: 1,
        received_at_ms: 100,
    };
    Delivery { event, fate }
}

/// Runs the head of a stream.
async fn work(db: &Db, stream: &str, outcome: Outcome, effects: Vec<Effect>, now_ms: TimeMs) {
    let claimed = claim(db, &[stream.to_owned()], NODE, now_ms, LEASE_MS).await.unwrap();
    let finishes = vec![finish(&claimed[0].attempt(), outcome, Backoff::default(), now_ms + 5, 0.0)];
    let unit = Unit { account: None, finishes, effects };
    let results = commit_units(db, &[unit], NODE, now_ms + 5).await.unwrap();
    assert!(matches!(results[0], UnitResult::Committed(_)));
}

/// Stores a paid invoice.
async fn invoiced(db: &Db, customer_id: &CustomerId, id: &str, credits: i64) {
    let invoice = Invoice {
        id: id.to_owned(),
        customer_id: customer_id.clone(),
        subscription_id: None,
        is_paid: true,
        amount: Some(MoneyMinor(100)),
        currency: Some("usd".to_owned()),
        credits: Credits(credits),
        brings_now: true,
        terms: None,
        failure: None,
        failure_code: None,
        decline_code: None,
        refunded: MoneyMinor::ZERO,
        disputed: MoneyMinor::ZERO,
        kept: MoneyMinor::ZERO,
        created_at_ms: 300,
        updated_at_ms: 300,
    };
    payment::invoice_put_many(db.write(), &[&invoice]).await.unwrap();
}

/// Four customers with every kind of entry.
async fn healthy_ledgers(db: &Db) {
    let mut customers = Vec::new();
    for name in ["ada", "bob", "eve", "joe", "kim"] {
        customers.push(sign_up(db, name, 5).await.customer.id);
    }
    let [ada, bob, _, joe, kim] = &customers[..] else { unreachable!() };
    bought(db, joe).await;
    paid_a_quarter(db, kim).await;
    let expiring = Op::Grant { kind: GrantKind::Included, amount: Credits(60), expires_at_ms: Some(5_000) };
    act(db, ada, &Command::internal(expiring, "stripe", "stripe:invoice:in_1".to_owned()), 200).await;
    act(db, ada, &paid(GrantKind::Purchased, 10, "in_2"), 300).await;
    invoiced(db, ada, "in_2", 10).await;
    act(db, ada, &usage(Op::Debit { amount: Credits(7) }), 400).await;
    let hold = |id: &HoldId, amount| usage(Op::Hold { id: id.clone(), amount: Credits(amount), expires_at_ms: 60_000 });
    let (captured, released, open) = (HoldId::new(), HoldId::new(), HoldId::new());
    act(db, ada, &hold(&captured, 6), 500).await;
    act(db, ada, &hold(&released, 5), 600).await;
    act(db, ada, &usage(Op::Capture { id: captured, amount: Some(Credits(4)) }), 700).await;
    act(db, ada, &usage(Op::Release { id: released }), 800).await;
    act(db, ada, &hold(&open, 3), 900).await;
    act(
        db,
        ada,
        &usage(Op::Adjust { amount: Credits(-2), reason: "by mistake".to_owned(), expires_at_ms: None }),
        1_000,
    )
    .await;
    act(db, ada, &Command::settle(), 6_000).await;
    act(db, bob, &paid(GrantKind::Purchased, 10, "in_3"), 300).await;
    act(db, bob, &usage(Op::Debit { amount: Credits(12) }), 400).await;
    let claw_back = Op::ClawBack {
        grant: 2,
        granted: Credits(10),
        returned: Vec::new(),
        total: Credits(10),
        unspent: Credits::ZERO,
        unspent_before: Credits::ZERO,
    };
    act(db, bob, &Command::internal(claw_back, "stripe", "stripe:refund:re_1".to_owned()), 500).await;
    act(db, bob, &paid(GrantKind::Purchased, 10, "in_4"), 600).await;
    let limit = Op::SetLimit { limit: Credits(1), reason: "pays later".to_owned() };
    act(db, bob, &usage(limit), 700).await;
    charged(db, bob).await;
}

/// Three months that were paid at once and are granted monthly: two of them are granted, the third is not due.
async fn paid_a_quarter(db: &Db, customer_id: &CustomerId) {
    let every = Interval { count: 3, unit: IntervalUnit::Month };
    let pro = Catalogue::built_in().prices[0].clone();
    let price = Price { every, grant: GrantSchedule::Monthly, ..pro };
    let sale = Sale { price, quantity: 1, from_ms: Some(0), until_ms: Some(1) };
    let grants = grants("in_5", std::slice::from_ref(&sale), 300);
    let mut record = SaleRecord::new(&[sale], Credits::ZERO, &grants, &grants[0].key, 300);
    record.later[1].at_ms = i64::MAX / 2;
    for (grant, metadata) in grants.iter().zip([Some(record.to_metadata()), None]) {
        act(db, customer_id, &Command { metadata, ..grant.command("in_5") }, 300).await;
    }
}

/// A purchase on the Marketplace with a granted first period.
async fn bought(db: &Db, customer_id: &CustomerId) {
    let body = serde_json::json!({
        "action": "purchased",
        "effective_date": "1970-01-01",
        "marketplace_purchase": { "account": { "id": 4, "login": "acme" }, "plan": { "id": 1, "name": "Pro" } },
    });
    let said = github::read_purchase(body.to_string().as_bytes()).unwrap();
    let (catalogue, pro) = (Catalogue::built_in(), PlanKey::trusted("pro"));
    let account = rules::apply_purchase(None, &said, Some(&pro), "evt_1", &catalogue, 200);
    marketplace::marketplace_put(db.write(), &account).await.unwrap();
    assert!(marketplace::marketplace_link(db.write(), 4, customer_id, 200).await.unwrap());
    let linked = marketplace::marketplace_find(db.read(), 4).await.unwrap().unwrap();
    let customer = customer::customer_find(db.read(), customer_id).await.unwrap();
    let terms = Terms { catalogue: &catalogue, config: &MarketplaceConfig::default() };
    let verdict = rules::settle(Some(&linked), linked.clone(), customer.as_ref(), terms, 300);
    act(db, customer_id, &verdict.ledger.unwrap().1, 300).await;
    let is_row = |effect: &Effect| matches!(effect, Effect::MarketplacePut(_));
    let effects = verdict.effects.into_iter().filter(is_row).collect();
    let unit = Unit { account: None, finishes: Vec::new(), effects };
    commit_units(db, &[unit], NODE, 300).await.unwrap();
}

/// A charge that succeeded, and one under way.
async fn charged(db: &Db, customer_id: &CustomerId) {
    let charge = Charge {
        credits: Credits(1),
        amount_minor: MoneyMinor(2_900),
        currency: "usd".to_owned(),
        payment_method_id: "pm_1".to_owned(),
        card: "pm_1::".to_owned(),
        description: "1 fix credit".to_owned(),
        reserved: None,
        lifetime_days: None,
    };
    let usage = UsageCharge { units: Credits(1), reference: None, metadata: None, charge: Some(charge) };
    let customer = customer::customer_find(db.read(), customer_id).await.unwrap().unwrap();
    let mut asked = Vec::new();
    for key in ["api:1", "api:2"] {
        let request = Request::UsageCharge(usage.clone());
        asked.push(ask(db, &customer, request, key, "hash", 700).await.unwrap().operation);
    }
    let spend = asked[0].spend(800).map(Box::new);
    let op = Op::Purchase { amount: Credits(1), expires_at_ms: None, reserved: None, spend };
    let command = Command::internal(op, "purchase", payment_key("pi_1")).with_reference("pi_1");
    act(db, customer_id, &command, 800).await;
    let end = asked[0].succeeded(Some("pi_1".to_owned()), 800);
    assert_eq!(operation::operation_put_many(db.write(), &[&end]).await.unwrap(), 1);
}

/// Streams with jobs in every state, including a replayed one that never had an attempt.
async fn healthy_jobs(db: &Db) {
    let deliveries = [
        delivery("evt_1", "stripe:cus_1", Fate::Process),
        delivery("evt_2", "stripe:cus_1", Fate::Ignore),
        delivery("evt_3", "stripe:cus_1", Fate::Process),
        delivery("evt_4", "stripe:cus_1", Fate::Process),
        delivery("evt_5", "stripe:cus_2", Fate::Process),
        delivery("evt_6", "stripe:cus_3", Fate::Quarantine("wrong_mode: test".to_owned())),
        delivery("evt_7", "stripe:cus_3", Fate::Process),
        delivery("evt_1", "stripe:cus_1", Fate::Process),
    ];
    take_in(db, &deliveries, 100).await.unwrap();
    // Known epochs, so that corruptions can name them.
    db.write().execute_unprepared("UPDATE streams SET epoch = 0").await.unwrap();
    let retry = Outcome::Retry { reason: "no answer".to_owned() };
    work(db, "stripe:cus_1", retry, Vec::new(), 1_000).await;
    work(db, "stripe:cus_1", Outcome::Snooze { until_ms: 200_000 }, Vec::new(), 100_000).await;
    work(db, "stripe:cus_1", Outcome::Done, Vec::new(), 300_000).await;
    work(db, "stripe:cus_1", Outcome::Dead { reason: "no such plan".to_owned() }, Vec::new(), 400_000).await;
    claim(db, &["stripe:cus_2".to_owned()], NODE, 1_000, LEASE_MS).await.unwrap();

    let quarantined = event::event_find(db.read(), "evt_6").await.unwrap().unwrap().job_id;
    let filter = JobFilter { stream: Some("stripe:cus_3".to_owned()), ..JobFilter::default() };
    let new = NewReplay {
        idempotency_key: "api:replay".to_owned(),
        request_hash: "hash".to_owned(),
        filter,
        dry_run: false,
        rate_per_second: 10,
        reason: "the mode was corrected".to_owned(),
        actor: "admin:test".to_owned(),
    };
    let replay_id = replay::create(db, new, 2_000).await.unwrap().id;
    db.write().execute_unprepared("UPDATE replays SET state = 'running'").await.unwrap();
    let step = ReplayStep { n: 1, requeue: Some(quarantined), state: "replayed", result: None };
    let effects = vec![Effect::ReplayItems { replay_id, steps: vec![step] }];
    work(db, "stripe:cus_3", Outcome::Done, effects, 3_000).await;
    work(db, "stripe:cus_3", Outcome::Done, Vec::new(), 4_000).await;
}

async fn healthy(file: &Path) -> Db {
    let db = connect(file).await;
    Migrator::up(db.write(), None).await.unwrap();
    let version = CatalogueVersion {
        version: version::FIRST,
        catalogue: write(&Catalogue::built_in()),
        applied_by: "system".to_owned(),
        reason: "a test".to_owned(),
        applied_at_ms: 100,
    };
    assert!(catalogue_version_insert(db.write(), &version).await.unwrap());
    healthy_ledgers(&db).await;
    healthy_jobs(&db).await;
    assert!(!seal_audit_log(&db, 500_000).await.unwrap(), "all rows are sealed");
    db
}

async fn proven(db: &Db) -> Report {
    verify(db, |_| {}).await.unwrap()
}

/// Rebuilds the tables without constraints and triggers, so that they can be corrupted.
async fn loosen(db: &Db) {
    let run = |sql: String| async move { db.write().execute_unprepared(&sql).await.unwrap() };
    run("PRAGMA foreign_keys = OFF".to_owned()).await;
    let tables = "accounts ledger_entries events streams jobs attempts operations invoices mails marketplace_accounts \
                  audit_log audit_seals audit_unsealed";
    for table in tables.split(' ') {
        run(format!("CREATE TABLE loose AS SELECT * FROM {table}")).await;
        run(format!("DROP TABLE {table}")).await;
        run(format!("ALTER TABLE loose RENAME TO {table}")).await;
    }
}

#[tokio::test]
async fn a_healthy_database_holds_and_every_check_looked_at_something() {
    let dir = Dir::new();
    let db = healthy(&dir.file("healthy")).await;
    let report = proven(&db).await;
    assert!(report.holds(), "{report:#?}");
    for check in &report.checks {
        assert!(check.checked > 0, "nothing was looked at: {}", check.name);
    }
    let obligations: Vec<u8> = report.checks.iter().map(|check| check.obligation).collect();
    assert!(obligations.is_sorted());
    assert_eq!(obligations.into_iter().collect::<HashSet<_>>(), HashSet::from([1, 2, 3, 4, 5, 6, 8, 9, 12]));
    db.close().await;
}

#[tokio::test]
async fn an_empty_database_holds() {
    let dir = Dir::new();
    let db = connect(&dir.file("empty")).await;
    Migrator::up(db.write(), None).await.unwrap();
    assert!(proven(&db).await.holds());
    db.close().await;
}

fn corruptions() -> impl Iterator<Item = &'static corruption::Corruption> {
    LEDGER_CORRUPTIONS.iter().chain(SALE_CORRUPTIONS).chain(JOB_CORRUPTIONS).chain(AUDIT_CORRUPTIONS)
}

#[tokio::test]
async fn each_corruption_is_found_by_the_check_that_is_made_for_it() {
    let dir = Dir::new();
    let original = dir.file("healthy");
    let db = healthy(&original).await;
    loosen(&db).await;
    assert!(proven(&db).await.holds(), "without constraints it is still healthy");
    db.close().await;
    for (at, (name, words, sql)) in corruptions().enumerate() {
        let copy = dir.file(&format!("corrupt-{at}"));
        std::fs::copy(&original, &copy).unwrap();
        let db = connect(&copy).await;
        db.write().execute_unprepared(sql).await.unwrap();
        let report = proven(&db).await;
        let check = report.checks.iter().find(|check| check.name == *name).unwrap();
        assert!(!report.holds() && !check.holds(), "{sql} is not found by: {name}");
        assert!(check.violations.iter().any(|violation| violation.contains(words)), "{words}: {check:#?}");
        db.close().await;
    }
}

#[test]
fn every_check_has_a_corruption_that_it_finds() {
    let tried: HashSet<&str> = corruptions().map(|(name, ..)| *name).collect();
    let all: HashSet<&str> = CHECKS
        .iter()
        .map(|check| check.name)
        .chain([fold::NAME, fold::SETTLE_NAME, sales::LINES_NAME, sales::PARTS_NAME, sales::KEPT_NAME, plans::NAME])
        .chain([audit::NAME])
        .collect();
    assert_eq!(tried, all);
}

#[tokio::test]
async fn violations_beyond_the_first_hundred_are_only_counted() {
    let dir = Dir::new();
    let db = healthy(&dir.file("many")).await;
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO customers \
               SELECT 'cst_' || i, 'e', 'e' || i, 'n', 'direct', 'trial', NULL, 0, 0, 0, NULL, 'assumed', NULL, NULL FROM n";
    db.write().execute_unprepared(sql).await.unwrap();
    let sql = "INSERT INTO accounts SELECT id, 1, 0, 0, 0, '{}', 0, NULL FROM customers WHERE email = 'e'";
    db.write().execute_unprepared(sql).await.unwrap();
    let report = proven(&db).await;
    for name in [fold::NAME, "every account is the sum of its entries"] {
        let check = report.checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!((check.violations_total, check.violations.len() as u64), (250, VIOLATIONS_SHOWN_MAX), "{name}");
    }
    db.close().await;
}

#[tokio::test]
async fn a_ledger_longer_than_one_round_is_folded_whole() {
    let dir = Dir::new();
    let db = healthy(&dir.file("long")).await;
    let customer = sign_up(&db, "long", 5).await;
    let mut account = customer.account;
    let mut entries = Vec::new();
    let grant = Op::Grant { kind: GrantKind::Adjustment, amount: Credits(1), expires_at_ms: None };
    for at in 0..12_000 {
        let op = if at % 2 == 0 { grant.clone() } else { Op::Debit { amount: Credits(1) } };
        let decision = decide(&account, &usage(op), 200).unwrap();
        account = decision.account;
        entries.extend(decision.entries);
    }
    let customer_id = customer.customer.id;
    let write = AccountWrite { customer_id, expected_version: 1, account, entries };
    account::account_update_many(db.write(), &[&write]).await.unwrap();
    account::entry_append_many(db.write(), &[&write]).await.unwrap();
    let report = proven(&db).await;
    assert!(report.holds(), "{report:#?}");
    db.close().await;
}

#[tokio::test]
async fn a_database_that_is_being_written_holds() {
    let dir = Dir::new();
    let db = healthy(&dir.file("live")).await;
    let customer = sign_up(&db, "live", 100_000).await.customer.id;
    let done = AtomicBool::new(false);
    let writes = async {
        for at in 0..100 {
            let now_ms = 1_000_000 + at * 100;
            act(&db, &customer, &usage(Op::Debit { amount: Credits(1) }), now_ms).await;
            let stream = format!("stripe:live_{}", at % 3);
            take_in(&db, &[delivery(&format!("evt_live_{at}"), &stream, Fate::Process)], now_ms).await.unwrap();
            work(&db, &stream, Outcome::Done, Vec::new(), now_ms).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let proofs = async {
        while !done.load(Ordering::SeqCst) {
            let report = proven(&db).await;
            assert!(report.holds(), "{report:#?}");
        }
    };
    tokio::join!(writes, proofs);
    db.close().await;
}

#[tokio::test]
async fn progress_counts_every_check_and_ends_with_all_of_its_rows() {
    let dir = Dir::new();
    let db = healthy(&dir.file("progress")).await;
    let last = AtomicUsize::new(0);
    let report = verify(&db, |progress| {
        assert!(progress.done <= progress.total && (1..=progress.checks).contains(&progress.check));
        last.store(progress.check, Ordering::SeqCst);
    })
    .await
    .unwrap();
    assert_eq!(last.load(Ordering::SeqCst), report.checks.len());
    db.close().await;
}
