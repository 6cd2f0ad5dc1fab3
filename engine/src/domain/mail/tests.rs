//! The texts of mails, and the mails that events create.

mod price;

use super::*;
use crate::amount::Credits;
use crate::config::{Config, CreditsConfig};
use crate::domain::address::{AddressState, Confirmation};
use crate::domain::catalogue::Catalogue;
use crate::domain::charge::top_up::{CARD_PAUSED, PAYMENT_RETURNED};
use crate::domain::confirmation::ConfirmationToken;
use crate::domain::ledger::{Command, Decision, GrantKind, Op, decide};
use crate::ids::OperationId;

fn branding() -> Branding {
    Branding { is_sandbox: false, billing_url: "https://acme.example.com/billing".to_owned(), ..sandbox_branding() }
}

fn sandbox_branding() -> Branding {
    Branding {
        product: "Acme Fixes".to_owned(),
        billing_url: String::new(),
        credits: CreditsConfig::default(),
        is_sandbox: true,
        public_url: "https://acme.example.com".to_owned(),
        link_ttl: "3 days".to_owned(),
    }
}

fn sample() -> Params {
    Params::sample(&Catalogue::built_in())
}

/// Renders a mail under the built-in catalogue.
fn rendered(template: Template, params: &Params, branding: &Branding) -> Rendered {
    render(template, params, branding, &Catalogue::built_in()).expect("it renders")
}

fn text(template: Template) -> String {
    let mail = rendered(template, &sample(), &branding());
    format!("{}\n{}", mail.subject, mail.text)
}

/// One file for each template, text and HTML.
#[test]
fn every_template_says_what_it_said() {
    for template in Template::ALL {
        let mail = rendered(template, &sample(), &branding());
        let all = format!("{}\n\n{}\n{}", mail.subject, mail.text, mail.html);
        insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => "snapshots" }, {
            insta::assert_snapshot!(template.as_str(), all);
        });
    }
}

#[test]
fn with_next_to_nothing_known_every_mail_is_whole_and_has_no_hole() {
    let mut params = Params { about: MailSubject::default(), balance: Credits(0), token: None, ..sample() };
    let branding = Branding { billing_url: String::new(), ..branding() };
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.plans[0].payment_method_credits = Credits(0);
    for has_payment_method in [false, true] {
        params.customer.has_payment_method = has_payment_method;
        for template in Template::ALL {
            let mail = render(template, &params, &branding, &catalogue).expect("it renders");
            for part in [&mail.subject, &mail.text, &mail.html] {
                for hole in ["{{", "{%", "  .", " ,", "()", "none", "undefined", "href=\"\"", "of  "] {
                    assert!(!part.contains(hole), "{} has {hole:?}: {part}", template.as_str());
                }
            }
            assert!(!mail.subject.contains('\n') && !mail.subject.is_empty());
            assert!(mail.text.starts_with("Hello Ada Lovelace,\n\n"), "{}", mail.text);
            assert!(!mail.text.contains("\n\n\n"), "{}", mail.text);
        }
    }
}

#[test]
fn the_sandbox_says_so_in_subject_text_and_html() {
    for template in Template::ALL {
        let mail = rendered(template, &sample(), &sandbox_branding());
        for part in [&mail.subject, &mail.text, &mail.html] {
            assert!(part.contains("SANDBOX"), "{}: {part}", template.as_str());
        }
        let real = rendered(template, &sample(), &branding());
        assert!(![real.subject, real.text, real.html].concat().contains("SANDBOX"));
    }
}

#[test]
fn mails_speak_of_the_configured_product_and_unit() {
    let mut branding = branding();
    branding.credits.unit = "patch".to_owned();
    branding.product = "Patchwork".to_owned();
    for template in Template::ALL {
        let mail = rendered(template, &Params { balance: Credits(2), ..sample() }, &branding);
        let all = [mail.subject, mail.text, mail.html].concat();
        assert!(all.contains("Patchwork") && !all.contains("Acme"), "{all}");
        assert!(!all.contains("fix"), "{all}");
    }
    let welcome = rendered(Template::Welcome, &Params { balance: Credits(2), ..sample() }, &branding);
    assert!(welcome.text.contains("2 patches: one credit pays for one patch"), "{}", welcome.text);
}

#[test]
fn a_preview_tells_a_new_customer_the_catalogues_credits() {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.plans[0].signup_credits = Credits(25);
    for template in [Template::Welcome, Template::FollowupDay1] {
        let params = Params::preview(template, &catalogue);
        let mail = render(template, &params, &branding(), &catalogue).expect("it renders");
        assert!(mail.text.contains("credits for 25 fixes"), "{}", mail.text);
    }
}

#[test]
fn a_name_and_a_reason_are_only_text_in_html() {
    let mut params = sample();
    params.customer.name = "<script>alert('x')</script> & \"Bob\"".to_owned();
    params.about.reason = Some("<b>no</b>".to_owned());
    params.about.url = Some("javascript:alert(1)".to_owned());
    for template in Template::ALL {
        let mail = rendered(template, &params, &branding());
        for raw in ["<script", "<b>", "javascript:"] {
            assert!(!mail.html.contains(raw), "{} has {raw}: {}", template.as_str(), mail.html);
        }
        assert!(mail.html.contains("&lt;script&gt;"));
        assert!(mail.text.contains("<script>alert('x')</script> & \"Bob\""), "text is not escaped: {}", mail.text);
        assert!(!mail.text.contains("javascript:"));
    }
}

#[test]
fn a_url_with_quotes_stays_inside_its_attribute() {
    let mut params = sample();
    params.about.url = Some("https://x.example/\"onclick=\"alert(1)".to_owned());
    let html = rendered(Template::PaymentFailed, &params, &branding()).html;
    assert!(!html.contains("\"onclick"), "{html}");
}

#[test]
fn a_masked_token_shows_nothing_but_its_prefix() {
    assert_eq!(mask_token(ConfirmationToken::generate().expose()), "cfm_…");
}

#[test]
fn a_mail_to_an_address_that_is_not_confirmed_holds_no_words_of_whoever_signed_up() {
    let mut params = sample();
    params.customer.confirmation = Confirmation { state: AddressState::Pending, at_ms: None };
    for template in [Template::Welcome, Template::ConfirmAddress] {
        let mail = rendered(template, &params, &branding());
        for part in [&mail.subject, &mail.text, &mail.html] {
            assert!(!part.contains("Ada"), "{part}");
        }
        assert!(mail.text.starts_with("Hello,\n\n") && mail.text.contains("confirm"), "{}", mail.text);
    }
    let confirmed = text(Template::ConfirmAddress);
    assert!(confirmed.contains("new API key") && !confirmed.contains("Please confirm"), "{confirmed}");
}

#[test]
fn a_welcome_without_a_link_asks_for_nothing() {
    let mail = rendered(Template::Welcome, &Params { token: None, ..sample() }, &branding());
    assert!(!mail.text.contains("onfirm") && mail.text.contains("x-api-key"), "{}", mail.text);
}

#[test]
fn signing_up_makes_the_welcome_and_five_follow_ups_and_one_holds_the_link() {
    let customer = CustomerId::new();
    let jobs = jobs_on_signup(&customer, Some("v1.sealed".to_owned()), 1_000);
    let seen: Vec<_> = jobs.iter().map(|job| (job.unique_key.clone().unwrap_or_default(), job.run_at_ms)).collect();
    let key = |name: &str| format!("mail:{name}:{customer}");
    assert_eq!(
        seen,
        [
            (key("welcome"), 1_000),
            (key("followup_day_1"), 1_000 + DAY_MS),
            (key("followup_day_3"), 1_000 + 3 * DAY_MS),
            (key("followup_day_5"), 1_000 + 5 * DAY_MS),
            (key("followup_day_7"), 1_000 + 7 * DAY_MS),
            (key("followup_day_14"), 1_000 + 14 * DAY_MS),
        ]
    );
    let holding: Vec<_> = jobs.iter().filter(|job| job.args.contains("v1.sealed")).collect();
    assert_eq!(holding.len(), 1);
    let args: MailArgs = serde_json::from_str(&holding[0].args).expect("our own JSON");
    assert_eq!(args.template, Template::Welcome);
    assert!(args.is_sealed() && args.has_link);
    let open = args.without_secrets();
    assert!(!open.to_json().contains("sealed") && open.has_link, "it is known to have had a link");
    let without = jobs_on_signup(&customer, None, 1_000);
    assert!(without.len() == jobs.len() && !without[0].args.contains("link"), "{}", without[0].args);
}

#[test]
fn a_key_of_a_release_before_is_read_from_a_job_and_removed() {
    let stored = r#"{"template":"welcome","customer":"cst_1","about":{},"sealed_key":"v1.sealed"}"#;
    let args: MailArgs = serde_json::from_str(stored).expect("the form of the release before");
    assert!(args.is_sealed() && !args.has_link);
    assert!(!args.without_secrets().to_json().contains("sealed"));
}

#[test]
fn a_mail_and_its_job_name_each_other() {
    let job = JobId::new();
    let mail = MailId::of(&job);
    assert_eq!(MailId::parse(mail.as_str()), Ok(mail.clone()));
    assert_eq!(mail.job_id(), job);
}

#[test]
fn names_of_templates_are_read_back() {
    for template in Template::ALL {
        assert_eq!(Template::parse(template.as_str()), Some(template));
        assert_eq!(serde_json::json!(template), template.as_str());
    }
    assert_eq!(Template::parse("nothing"), None);
}

/// Applies commands and returns the keys of the resulting mails.
fn told(ops: &[Op]) -> Vec<String> {
    let customer = CustomerId::trusted("cst_1".to_owned());
    let mut account = Account::default();
    let mut keys = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let command = Command::internal(op.clone(), "usage", format!("k{at}"));
        let Decision { account: after, entries } = decide(&account, &command, 0).expect("decided");
        let own = entries.last().expect("an entry");
        keys.extend(low_credit_job(&customer, &account, own, Credits(1), 0).and_then(|job| job.unique_key));
        account = after;
    }
    keys
}

#[test]
fn low_credits_are_told_when_spending_makes_them_low_and_once_for_a_grant() {
    let grant = |amount| Op::Grant { kind: GrantKind::Promotional, amount: Credits(amount), expires_at_ms: None };
    let debit = |amount| Op::Debit { amount: Credits(amount) };
    let first = "mail:low_credit:cst_1:1".to_owned();
    assert_eq!(told(&[grant(5), debit(3)]), Vec::<String>::new());
    assert_eq!(told(&[grant(5), debit(3), debit(1)]), std::slice::from_ref(&first));
    assert_eq!(told(&[grant(5), debit(5)]), std::slice::from_ref(&first), "from far above to nothing");
    assert_eq!(told(&[grant(5), debit(4), debit(1)]), std::slice::from_ref(&first), "low already");
    assert_eq!(told(&[grant(1), debit(1)]), Vec::<String>::new(), "never more than low");
    let refilled = told(&[grant(3), debit(2), grant(3), debit(3)]);
    assert_eq!(refilled, [first, "mail:low_credit:cst_1:3".to_owned()]);
}

#[test]
fn the_plural_of_a_unit_is_english_unless_it_is_given() {
    for (unit, plural) in [("fix", "fixes"), ("patch", "patches"), ("build", "builds"), ("class", "classes")] {
        let config = CreditsConfig { unit: unit.to_owned(), ..CreditsConfig::default() };
        assert_eq!(config.units(), plural);
    }
    let config =
        CreditsConfig { unit: "Analyse".to_owned(), unit_plural: "Analysen".to_owned(), ..CreditsConfig::default() };
    assert_eq!(config.units(), "Analysen");
}

#[test]
fn a_preview_in_the_default_words_is_a_sandbox_one() {
    assert!(Branding::new(&Config::default()).is_sandbox);
    assert!(text(Template::Welcome).contains("https://acme.example.com/confirm?token=cfm_0123"));
}

#[test]
fn a_mail_about_a_purchase_speaks_of_it_and_of_no_subscription() {
    let purchase =
        Purchase { operation: OperationId::new(), round: 1, what: "2 fix credits".to_owned(), until_ms: Some(0) };
    let about = MailSubject { subscription: None, purchase: Some(purchase), url: None, ..sample().about };
    let params = Params { about, ..sample() };
    for template in [Template::PaymentFailed, Template::ActionRequired] {
        let mail = rendered(template, &params, &branding());
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("for 2 fix credits") && !part.contains("subscription"), "{part}");
            assert_eq!(
                part.contains("until 1 January 1970, 00:00 UTC"),
                template == Template::ActionRequired,
                "{part}"
            );
        }
    }
}

#[test]
fn a_stopped_top_up_says_what_to_do_about_its_problem() {
    let text = |problem: Option<&str>| {
        let about = MailSubject { problem: problem.map(str::to_owned), ..sample().about };
        rendered(Template::AutoTopUpStopped, &Params { about, ..sample() }, &branding()).text
    };
    let (method, again) =
        ("Once that is put right, turn automatic top-up on again.", "until you turn automatic top-up on again.");
    let declined = text(None);
    assert!(declined.contains(method) && !declined.contains(again), "{declined}");
    let returned = text(Some(PAYMENT_RETURNED));
    assert!(returned.contains(again) && !returned.contains(method), "{returned}");
}

#[test]
fn a_top_up_that_waits_says_what_makes_it_go_on_sooner() {
    let text = |problem: &str| {
        let purchase =
            Purchase { operation: OperationId::new(), round: 1, what: "2 fix credits".to_owned(), until_ms: Some(0) };
        let about = MailSubject { problem: Some(problem.to_owned()), purchase: Some(purchase), ..sample().about };
        rendered(Template::AutoTopUpStopped, &Params { about, ..sample() }, &branding()).text
    };
    let paused = text(CARD_PAUSED);
    assert!(paused.contains("It goes on by itself then.") && paused.contains("add another card"), "{paused}");
    assert!(!paused.contains("cap"), "{paused}");
    assert!(text("spend_cap_reached").contains("It goes on by itself then. To have it sooner, raise the cap."));
}
