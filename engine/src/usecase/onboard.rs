//! Onboarding: customer, API key, account, first credits and audit entries in one transaction. [`gate`] checks
//! beforehand whether the signup is allowed. [`by_staff`] makes customers that come from elsewhere.

pub mod by_staff;
pub mod gate;

use crate::amount::Credits;
use crate::clock::TimeMs;
use crate::config::{Config, OnboardingConfig};
use crate::domain::address::Confirmation;
use crate::domain::api_key::{NewKey, RawKey};
use crate::domain::audit::Audit;
use crate::domain::catalogue::Plan;
use crate::domain::confirmation::DAY_MS;
use crate::domain::customer::{Customer, Source};
use crate::domain::email::Email;
use crate::domain::job::Wake;
use crate::domain::ledger::{Account, Command, GrantKind, Op, decide};
use crate::domain::mail;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use crate::infra::seal::SealBox;
use crate::infra::store::account::{self, AccountWrite};
use crate::infra::store::{Db, api_key, audit, customer, job};
use crate::name::check_customer_name;
use crate::usecase::api_key::audit_of_key;
use crate::usecase::confirmation;
use crate::usecase::handler::stripe_customer_job;
use crate::usecase::marketplace::link;
use crate::usecase::rate_limit;
use sea_orm::ConnectionTrait;

/// A new customer with its key, which cannot be shown again.
#[derive(Debug)]
pub struct Onboarded {
    /// The customer.
    pub customer: Customer,
    /// Its account.
    pub account: Account,
    /// Its first key.
    pub api_key: RawKey,
    /// Jobs to announce.
    pub wakes: Vec<Wake>,
}

/// A signup.
#[derive(Debug, Clone, Copy)]
pub struct Signup<'a> {
    /// E-mail address.
    pub email: &'a str,
    /// Name.
    pub name: &'a str,
    /// How the customer came to sign up.
    pub source: Source,
    /// The plan of new customers, with the credits for signing up.
    pub plan: &'a Plan,
    /// The link token of the customer's purchase on the Marketplace.
    pub marketplace_link: Option<&'a str>,
    /// Whether the customer has to confirm its address, and on which terms.
    pub address: AddressRule<'a>,
    /// Customers of one mailbox in any 24 hours, unless somebody vouches; 0 for no limit.
    pub per_mailbox_per_day: u32,
}

/// What happens about the address of a signup.
#[derive(Debug, Clone, Copy)]
pub enum AddressRule<'a> {
    /// Nobody asks.
    Assumed,
    /// Somebody who may says that it is confirmed: this actor of the audit log.
    Vouched(&'a str),
    /// The welcome mail carries a link, made by these settings.
    Asked(&'a OnboardingConfig),
}

impl<'a> AddressRule<'a> {
    /// The rule of the settings, for a signup that `voucher` vouches for.
    pub fn new(config: &'a Config, voucher: Option<&'a str>) -> Self {
        match voucher {
            Some(voucher) => Self::Vouched(voucher),
            None if config.asks_for_confirmation() => Self::Asked(&config.onboarding),
            None => Self::Assumed,
        }
    }

    fn confirmation(self, now_ms: TimeMs) -> Confirmation {
        let (asks, is_vouched) = (matches!(self, Self::Asked(_)), matches!(self, Self::Vouched(_)));
        Confirmation::at_signup(asks, is_vouched, now_ms)
    }
}

/// Onboards a customer with its signup credits, which each mailbox gets once ([`Email::mailbox`]): another address
/// of the same mailbox creates another customer without them.
///
/// # Errors
/// `invalid_email`, `invalid_name`; `customer_exists` if the address is taken; `marketplace_link_invalid`,
/// `marketplace_link_expired`; `RateLimited` if the mailbox has too many new customers or got too many mails with a
/// link. An error changes nothing, so that a link token stays valid.
pub async fn onboard(db: &Db, seal: &SealBox, signup: Signup<'_>, now_ms: TimeMs) -> Result<Onboarded> {
    let email = Email::parse(signup.email)?;
    let new = Customer {
        id: CustomerId::new(),
        email: email.given.clone(),
        name: check_customer_name(signup.name)?,
        source: signup.source.as_str().to_owned(),
        plan: signup.plan.key.clone(),
        stripe_customer_id: None,
        former_stripe_ids: Vec::new(),
        credits_from_ms: None,
        has_payment_method: false,
        confirmation: signup.address.confirmation(now_ms),
        created_at_ms: now_ms,
    };
    let NewKey { raw, key } = NewKey::generate(&new.id, "default".to_owned(), now_ms);

    let tx = db.begin().await?;
    if !customer::customer_insert(&tx, &new, &email).await? {
        tx.rollback().await?;
        return Err(Error::conflict("customer_exists", "a customer with this e-mail address already exists"));
    }
    take_of_mailbox(&tx, &signup, &email, now_ms).await?;
    api_key::api_key_insert(&tx, &key, &raw.hash(), None).await?;
    let state = open_account(&tx, &new.id, &email, signup.plan.signup_credits, now_ms).await?;
    let actor = format!("customer:{}", new.id);
    let of_key = audit_of_key(&actor, &key, "api_key.create", serde_json::Value::Null);
    let mut details = serde_json::json!({
        "source": new.source, "free_credits": state.balance, "address": new.confirmation.state.as_str(),
    });
    if let AddressRule::Vouched(by) = signup.address {
        details["vouched_by"] = by.into();
    }
    let line = Audit::new(actor, "customer.onboard", &new.id, &details);
    audit::audit_append_many(&tx, &[line, of_key], now_ms).await?;
    let sealed_token = match signup.address {
        AddressRule::Asked(config) => {
            confirmation::take_link(&tx, config, &email, now_ms).await?;
            Some(confirmation::insert_link(&tx, seal, config, &new.id, &email, now_ms).await?)
        }
        AddressRule::Assumed | AddressRule::Vouched(_) => None,
    };
    let mut jobs = vec![stripe_customer_job(&new.id, "1", now_ms)];
    jobs.extend(mail::jobs_on_signup(&new.id, sealed_token, now_ms));
    let mut wakes = job::job_insert_many(&tx, &jobs, now_ms).await?;
    if let Some(token) = signup.marketplace_link {
        wakes.extend(link::claim(&tx, token, &new.id, now_ms).await?);
    }
    tx.commit().await?;
    Ok(Onboarded { customer: new, account: state, api_key: raw, wakes })
}

/// Counts a new customer of a mailbox. Only those who get in count, so nobody uses up a mailbox's share by trying.
async fn take_of_mailbox(tx: &impl ConnectionTrait, signup: &Signup<'_>, email: &Email, now_ms: TimeMs) -> Result<()> {
    let is_vouched = matches!(signup.address, AddressRule::Vouched(_));
    if is_vouched || signup.per_mailbox_per_day == 0 {
        return Ok(());
    }
    let key = format!("signups:{}", email.mailbox());
    rate_limit::take_within(tx, &key, signup.per_mailbox_per_day, DAY_MS, now_ms).await?.into_result()
}

/// Opens the account, with the free credits unless the mailbox already had them.
async fn open_account(
    tx: &impl ConnectionTrait,
    customer_id: &CustomerId,
    email: &Email,
    credits: Credits,
    now_ms: TimeMs,
) -> Result<Account> {
    let state = Account::default();
    if credits <= Credits::ZERO || !customer::free_credits_insert(tx, &email.mailbox(), customer_id, now_ms).await? {
        account::account_insert(tx, customer_id, &state, now_ms).await?;
        return Ok(state);
    }
    let op = Op::Grant { kind: GrantKind::Promotional, amount: credits, expires_at_ms: None };
    let command = Command::internal(op, "signup", format!("signup:{customer_id}"));
    let decision = decide(&state, &command, now_ms)?;
    let write = AccountWrite {
        customer_id: customer_id.clone(),
        expected_version: state.version,
        account: decision.account.clone(),
        entries: decision.entries,
    };
    account::account_insert(tx, customer_id, &write.account, now_ms).await?;
    account::entry_append_many(tx, &[&write]).await?;
    Ok(decision.account)
}
