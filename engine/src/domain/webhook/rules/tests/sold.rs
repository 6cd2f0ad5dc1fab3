//! What a paid invoice sold, and the credits that it brings.

use super::*;
use crate::amount::Credits;
use crate::domain::catalogue::Price;
use crate::domain::job::{JobKind, NewJob};
use crate::domain::ledger::{Command, GrantKind};
use crate::domain::sale::example::pro_price;
use crate::domain::sale::grant::{PartArgs, add_months};
use crate::domain::sale::record::SoldLine;
use crate::domain::sale::{KnownPrice, PriceBook, SaleRecord};
use crate::key::PriceKey;

fn grant() -> Command {
    let op = Op::Grant { kind: GrantKind::Included, amount: Credits(60), expires_at_ms: None };
    let line = SoldLine {
        price: PriceKey::trusted("pro_monthly"),
        quantity: 1,
        credits: Credits(60),
        from_ms: Some(1_749_000_000_000),
        until_ms: Some(1_751_592_000_000),
        months: Some(1),
    };
    let record = SaleRecord { sold: vec![line], ..SaleRecord::default() };
    let command = Command::internal(op, "stripe", "stripe:invoice:in_1".to_owned()).with_reference("in_1");
    Command { metadata: Some(record.to_metadata()), ..command }
}

fn jobs(verdict: &Verdict) -> Vec<&NewJob> {
    let made = verdict.effects.iter().filter_map(|effect| match effect {
        Effect::JobInsert(job) => Some(job),
        _ => None,
    });
    made.collect()
}

#[test]
fn a_paid_period_of_pro_brings_sixty_credits_and_the_plan() {
    let verdict = decide(&facts(PAID, &InvoiceDoc::default().render(Version::Basil), &by_id(), "trial"));
    assert_eq!(verdict.outcome, Outcome::Done);
    assert_eq!(verdict.ledger, Some((customer("trial").id, grant())));
    assert_eq!(plan_set(&verdict), Some("pro"));
    assert_eq!(put(&verdict), Some(&row("active")), "a subscription not yet heard of is written from its invoice");
}

#[test]
fn every_version_of_one_paid_invoice_gives_the_same_verdict_whatever_marks_it_as_pro() {
    let tagged = |key: &str, value: &str| InvoiceDoc {
        lookup_key: None,
        subscription_metadata: json!({key: value}),
        ..InvoiceDoc::default()
    };
    let cases: [(InvoiceDoc, PriceBook, Option<Subscription>); 6] = [
        (InvoiceDoc { lookup_key: None, ..InvoiceDoc::default() }, by_id(), None),
        (tagged("plan", "pro"), by_key(), None),
        (tagged("bursar_plan", "pro"), by_key(), Some(row("past_due"))),
        (tagged("bursar_price", "pro_monthly"), by_key(), None),
        (InvoiceDoc::default(), by_id(), Some(row("active"))),
        (
            InvoiceDoc { billing_reason: "subscription_create", ..InvoiceDoc::default() },
            by_id(),
            Some(row("incomplete")),
        ),
    ];
    for (doc, book, stored) in cases {
        let mut verdicts = Vec::new();
        for (version, kind) in Version::ALL
            .into_iter()
            .flat_map(|version| [(version, PAID), (version, EventKind::InvoicePaymentSucceeded)])
        {
            let object = doc.render(version);
            let known = facts(kind, &object, &book, "pay_as_you_go");
            let known = stored.iter().fold(known, knowing);
            let verdict = decide(&known);
            assert_eq!(verdict.ledger.as_ref().map(|(_, command)| command), Some(&grant()), "{version:?} {doc:?}");
            verdicts.push(text(&verdict));
        }
        verdicts.dedup();
        assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
    }
}

#[test]
fn a_whole_paid_period_brings_credits_whatever_the_billing_reason() {
    let reasons = [
        json!("subscription_create"),
        json!("subscription_cycle"),
        json!("subscription_update"),
        json!("subscription_threshold"),
        json!("subscription"),
        json!("manual"),
        json!("upcoming"),
        json!("quote_accept"),
        json!("automatic_pending_invoice_item_invoice"),
        json!("something_new"),
        Value::Null,
    ];
    let book = by_id();
    for version in Version::ALL {
        let mut object = InvoiceDoc::default().render(version);
        for reason in &reasons {
            object["billing_reason"] = reason.clone();
            let verdict = decide(&facts(PAID, &object, &book, "trial"));
            assert_eq!((granted(&verdict), plan_set(&verdict)), (Some(60), Some("pro")), "{version:?} {reason}");
        }
        object.as_object_mut().expect("an object").remove("billing_reason");
        let verdict = decide(&facts(PAID, &object, &book, "trial"));
        assert_eq!((granted(&verdict), plan_set(&verdict)), (Some(60), Some("pro")), "{version:?}");
    }
}

#[test]
fn an_invoice_brings_its_credits_however_it_is_paid() {
    let book = by_id();
    for amount_paid in [0, 1, 59_900] {
        for version in Version::ALL {
            let object = InvoiceDoc { amount_paid, ..InvoiceDoc::default() }.render(version);
            assert_eq!(granted(&decide(&facts(PAID, &object, &book, "trial"))), Some(60), "{version:?} {amount_paid}");
        }
    }
}

#[test]
fn what_bills_no_whole_period_of_ours_or_costs_nothing_brings_nothing() {
    let docs = [
        InvoiceDoc { is_proration: true, ..InvoiceDoc::default() },
        InvoiceDoc { is_item: true, ..InvoiceDoc::default() },
        InvoiceDoc { is_item: true, is_proration: true, ..InvoiceDoc::default() },
        InvoiceDoc::other(),
        // A trial's period.
        InvoiceDoc { unit_amount: 0, ..InvoiceDoc::default() },
        InvoiceDoc { total: 0, amount_paid: 0, ..InvoiceDoc::default() },
        InvoiceDoc { total: -1, amount_paid: 0, ..InvoiceDoc::default() },
        InvoiceDoc { is_paid: false, amount_paid: 0, ..InvoiceDoc::default() },
    ];
    let book = by_id();
    for doc in docs {
        for version in Version::ALL {
            let object = doc.render(version);
            assert!(changes_nothing(&decide(&facts(PAID, &object, &book, "trial"))), "{version:?} {doc:?}");
            let known = knowing(facts(PAID, &object, &book, "pro"), &row("active"));
            assert!(changes_nothing(&decide(&known)), "{version:?} {doc:?}");
        }
    }
}

#[test]
fn a_period_that_discounts_leave_nothing_of_brings_nothing() {
    let book = by_id();
    for version in Version::ALL {
        let mut object = InvoiceDoc::default().render(version);
        let mut with = |discounts: Value, total: i64| {
            object["lines"]["data"][0]["discount_amounts"] = discounts;
            object["total"] = json!(total);
            decide(&facts(PAID, &object, &book, "trial"))
        };
        let all = json!([{"discount": "di_1", "amount": 50_000}, {"discount": "di_2", "amount": 9_900}]);
        // The total may be that of other lines.
        for total in [0, 700] {
            assert!(changes_nothing(&with(all.clone(), total)), "{version:?} {total}");
        }
        let half = json!([{"discount": "di_1", "amount": 29_950}]);
        assert_eq!(granted(&with(half, 29_950)), Some(60), "{version:?}");
    }
}

#[test]
fn other_business_is_done_whoever_pays_and_whatever_is_remembered() {
    let tags = json!({"bursar_plan": "pro", "bursar_operation_id": "op_1"});
    let tagged = InvoiceDoc { subscription_metadata: tags, ..InvoiceDoc::other() };
    let book = by_id();
    for doc in [InvoiceDoc::other(), tagged] {
        for version in Version::ALL {
            let object = doc.render(version);
            let known = facts(PAID, &object, &book, "pro");
            assert!(changes_nothing(&decide(&Facts { customer: None, ..known.clone() })), "{version:?} {doc:?}");
            let remembered = knowing(known, &row("active"));
            assert!(changes_nothing(&decide(&remembered)), "{version:?} {doc:?}");
            assert!(changes_nothing(&decide(&Facts { customer: None, ..remembered })), "{version:?} {doc:?}");
        }
    }
}

#[test]
fn a_price_that_is_not_known_on_a_subscription_that_somebody_tagged_waits_for_a_person() {
    let doc = InvoiceDoc { subscription_metadata: json!({"bursar_plan": "pro"}), ..InvoiceDoc::other() };
    let object = doc.render(Version::Basil);
    let book = by_id();
    let unknown = decide(&facts(PAID, &object, &book, "pro"));
    assert!(dead_reason(&unknown).contains("tagged as ours"), "{unknown:?}");
    assert!(changes_nothing(&decide(&knowing(facts(PAID, &object, &book, "pro"), &row("active")))), "an add-on");
}

#[test]
fn an_invoice_of_a_subscription_sold_before_the_catalogue_waits_until_its_price_is_named() {
    let object = InvoiceDoc::other().render(Version::Basil);
    let sold_before = Subscription { price: None, ..row("active") };
    let book = by_id();
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pro"), &sold_before));
    assert!(dead_reason(&verdict).starts_with("price_unknown: "), "{verdict:?}");
    let changed = SubscriptionDoc::other().render(Version::Basil);
    let verdict = decide(&knowing(facts(UPDATED, &changed, &book, "pro"), &sold_before));
    assert!(plan_set(&verdict).is_none(), "nothing is taken away meanwhile: {verdict:?}");
}

#[test]
fn a_renewal_with_a_proration_or_an_add_on_brings_one_period() {
    let docs = [InvoiceDoc { is_proration: true, ..InvoiceDoc::default() }, InvoiceDoc::other()];
    let book = by_id();
    for version in Version::ALL {
        let mut object = InvoiceDoc::default().render(version);
        let period = InvoiceDoc::default().line(version);
        for doc in &docs {
            for lines in [json!([period, doc.line(version)]), json!([doc.line(version), period])] {
                object["lines"]["data"] = lines;
                let verdict = decide(&facts(PAID, &object, &book, "pro"));
                assert_eq!(verdict.ledger.map(|(_, command)| command), Some(grant()), "{version:?} {doc:?}");
            }
        }
    }
}

#[test]
fn what_does_not_tell_enough_is_dead_and_says_what_is_missing() {
    let book = by_id();
    let without = |fields: &[&str]| {
        let mut object = InvoiceDoc::default().render(Version::Basil);
        for field in fields {
            object.as_object_mut().expect("an object").remove(*field);
        }
        decide(&facts(PAID, &object, &book, "trial"))
    };
    for (fields, named) in [
        (vec!["status"], "status"),
        (vec!["total", "amount_due", "amount_paid"], "total"),
        (vec!["id"], "id"),
        (vec!["lines"], "lines"),
    ] {
        let verdict = without(&fields);
        let reason = dead_reason(&verdict);
        assert!(reason.starts_with("shape_incomplete: "), "{reason}");
        assert!(reason.ends_with(&format!("no readable {named}")), "{reason}");
    }
    let mut object = InvoiceDoc::default().render(Version::Basil);
    object["lines"]["data"][0]["pricing"] = Value::Null;
    let verdict = decide(&facts(PAID, &object, &book, "trial"));
    assert!(dead_reason(&verdict).ends_with("no readable price"), "{verdict:?}");
}

#[test]
fn an_invoice_with_lines_left_out_is_incomplete() {
    let book = by_id();
    for doc in [InvoiceDoc::default(), InvoiceDoc::other()] {
        for version in Version::ALL {
            let mut object = doc.render(version);
            object["lines"]["has_more"] = json!(true);
            let verdict = decide(&facts(PAID, &object, &book, "trial"));
            let reason = dead_reason(&verdict);
            assert!(reason.starts_with("shape_incomplete: ") && reason.ends_with("lines"), "{version:?} {reason}");
        }
    }
}

#[test]
fn a_bare_unknown_id_waits_for_a_person_whatever_is_remembered() {
    let object = InvoiceDoc::default().render(Version::Basil);
    let book = by_key();
    let known = facts(PAID, &object, &book, "pro");
    let remembered = [row("active"), other_row("active")].map(|row| knowing(known.clone(), &row));
    let unknown = Facts { customer: None, ..known.clone() };
    for known in remembered.into_iter().chain([known, unknown]) {
        let verdict = decide(&known);
        let reason = dead_reason(&verdict);
        assert!(reason.starts_with("price_unknown: invoice in_1: "), "{reason}");
        assert!(reason.contains("stripe = [\"price_pro\"]"), "the line to add to the catalogue: {reason}");
    }
    let free = InvoiceDoc { total: 0, ..InvoiceDoc::default() };
    let unpaid = InvoiceDoc { is_paid: false, ..InvoiceDoc::default() };
    for doc in [free, unpaid] {
        let object = doc.render(Version::Basil);
        assert!(changes_nothing(&decide(&facts(PAID, &object, &book, "pro"))), "nobody has to decide: {doc:?}");
    }
}

#[test]
fn seats_multiply_the_credits_of_a_price_that_is_sold_by_seat() {
    let book = team();
    for version in Version::ALL {
        let of = |doc: InvoiceDoc| granted(&decide(&facts(PAID, &doc.render(version), &book, "trial")));
        assert_eq!(of(InvoiceDoc::team(1)), Some(25), "{version:?}");
        assert_eq!(of(InvoiceDoc::team(3)), Some(75), "{version:?}");
        assert_eq!(of(InvoiceDoc { quantity: 3, ..InvoiceDoc::default() }), Some(60), "{version:?}");
    }
}

#[test]
fn a_year_granted_monthly_is_one_command_and_eleven_jobs() {
    let book = yearly();
    let object = InvoiceDoc { period_end_s: PERIOD_START_S + 365 * 86_400, ..InvoiceDoc::default() };
    let object = object.render(Version::Basil);
    let verdict = decide(&facts(PAID, &object, &book, "trial"));
    assert_eq!(granted(&verdict), Some(100));
    assert_eq!(jobs(&verdict).len(), 11);
    for (month, job) in (1..).zip(jobs(&verdict)) {
        assert_eq!((job.kind, job.run_at_ms), (JobKind::CreditsGrant, add_months(PERIOD_START_S * 1_000, month)));
        let key = format!("stripe:invoice:in_1:month:{month}");
        assert_eq!(job.unique_key, Some(format!("grant:{key}")), "the same in the next event of this payment");
        let part: PartArgs = serde_json::from_str(&job.args).expect("a part");
        assert_eq!((part.credits, part.key, part.invoice.as_str()), (Credits(100), key, "in_1"));
        assert_eq!(job.customer_id, Some(customer("trial").id));
    }
}

#[test]
fn a_price_without_credits_brings_the_plan_and_no_credits() {
    let book = with_pro(|price| price.credits = Credits::ZERO);
    let object = InvoiceDoc::default().render(Version::Basil);
    let verdict = decide(&facts(PAID, &object, &book, "trial"));
    assert_eq!((granted(&verdict), plan_set(&verdict)), (None, Some("pro")));
}

#[test]
fn an_invoice_that_names_no_subscription_brings_its_credits_and_no_plan() {
    let mut object = InvoiceDoc::default().render(Version::Basil);
    object["parent"] = Value::Null;
    object["lines"]["data"][0]["parent"] = Value::Null;
    let verdict = decide(&facts(PAID, &object, &by_id(), "trial"));
    assert_eq!(granted(&verdict), Some(60));
    assert!(verdict.effects.is_empty(), "{verdict:?}");
}

#[test]
fn a_price_that_left_brings_what_it_was_sold_for_or_waits() {
    let terms = Price { key: PriceKey::trusted("gone"), credits: Credits(40), ..pro_price() };
    let object = InvoiceDoc::default().render(Version::Basil);
    let mut book = by_id();
    book.add([KnownPrice { terms: Some(terms), ..known(PRICE, ours("gone")) }]);
    let verdict = decide(&facts(PAID, &object, &book, "trial"));
    assert_eq!((granted(&verdict), plan_set(&verdict)), (Some(40), Some("pro")));
    assert_eq!(put(&verdict).and_then(|row| row.price.clone()), Some(PriceKey::trusted("gone")));

    book.add([known(PRICE, ours("gone"))]);
    let verdict = decide(&knowing(facts(PAID, &object, &book, "pro"), &row("active")));
    assert!(dead_reason(&verdict).starts_with("price_unknown: "), "{verdict:?}");
}
