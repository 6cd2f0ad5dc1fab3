use super::*;
use crate::domain::operation::DebtPayment;

fn link(used_at_ms: Option<TimeMs>) -> ConfirmationLink {
    let (_, link) = ConfirmationLink::new(&CustomerId::new(), "ada@example.com", 60, 1_000);
    ConfirmationLink { used_at_ms, ..link }
}

#[test]
fn a_source_other_than_direct_needs_a_purchase_or_a_voucher() {
    assert_eq!(proven_source(None, false, false).expect("direct"), Source::Direct);
    assert_eq!(proven_source(Some(Source::Direct), false, false).expect("direct"), Source::Direct);
    for source in [Source::Marketplace, Source::EarlyAccess] {
        assert_eq!(proven_source(Some(source), false, false).expect_err("no proof").code(), Some("source_unproven"));
        assert_eq!(proven_source(Some(source), false, true).expect("vouched"), source);
        assert_eq!(proven_source(Some(source), true, false).expect("bought"), Source::Marketplace);
    }
}

#[test]
fn a_link_is_good_once_for_its_time_and_for_the_address_that_it_was_mailed_to() {
    let ada = "ada@example.com";
    assert_eq!(link(None).state(ada, 1_000), LinkState::Usable);
    assert_eq!(link(None).state(ada, 60_999), LinkState::Usable);
    assert_eq!(link(None).state(ada, 61_000), LinkState::Expired);
    assert_eq!(link(Some(2_000)).state(ada, 2_000), LinkState::Used);
    assert_eq!(link(Some(2_000)).state(ada, 90_000), LinkState::Used);
    assert_eq!(link(None).state("eve@example.com", 1_000), LinkState::Moved);
}

#[test]
fn a_token_is_read_back_and_nothing_else_is_one() {
    let token = ConfirmationToken::generate();
    let read = ConfirmationToken::parse(token.expose()).expect("a token");
    assert_eq!(read.hash(), token.hash());
    assert!(!format!("{token:?}").contains(&token.expose()[4..]));
    for text in ["", "cfm_", "bsk_0123", &token.expose()[1..], &format!("{}x", token.expose()), "cfm_'; DROP TABLE x"] {
        assert!(ConfirmationToken::parse(text).is_none(), "{text}");
    }
}

#[test]
fn a_key_is_made_unless_the_others_stay_and_none_is_wanted() {
    let makes = |keep_keys, new_key| Choice { keep_keys, new_key }.makes_key();
    assert!(makes(false, false) && makes(false, true) && makes(true, true));
    assert!(!makes(true, false));
}

#[test]
fn what_may_cost_money_waits_for_the_address_and_what_ends_something_does_not() {
    let subscription_id = || "sub_1".to_owned();
    let payment_method_id = || "pm_1".to_owned();
    for request in [
        Request::SubscriptionCancel { subscription_id: subscription_id(), at_period_end: true },
        Request::PaymentMethodDetach { payment_method_id: payment_method_id() },
    ] {
        assert!(!needs_confirmed_address(&request), "{request:?}");
    }
    for request in [
        Request::SubscriptionResume { subscription_id: subscription_id(), payer: None },
        Request::PaymentMethodDefault { payment_method_id: payment_method_id() },
        Request::PaymentMethodAttach { payment_method_id: payment_method_id(), consent_at_ms: 1, make_default: false },
    ] {
        assert!(needs_confirmed_address(&request), "{request:?}");
    }
    assert!(needs_confirmed_address(&Request::DebtPayment(DebtPayment { charge: None })));
}
