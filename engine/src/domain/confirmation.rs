//! Who controls an address controls its customer.
//!
//! Anybody can sign up with anybody's address. So the welcome mail carries a link by which the mailbox's owner confirms
//! the address, and takes the customer over: keys that were made before end, unless the owner keeps them. Until then
//! the customer can spend its free credits, and there is no card, no charge, no subscription and no other mail.

use crate::clock::TimeMs;
use crate::domain::api_key::secret_hash;
use crate::domain::customer::{Customer, Source};
use crate::domain::operation::Request;
use crate::error::{Error, Result};
use crate::ids::CustomerId;
use zeroize::Zeroizing;

/// Prefix of every token, so that secret scanners find leaked ones.
pub const TOKEN_PREFIX: &str = "cfm_";
/// Characters after the prefix: 256 bits in base 32.
const TOKEN_LEN: usize = 52;
/// The most mails with a link to one mailbox in [`LINKS_SPAN_MS`], whoever asks for them but support.
pub const LINKS_PER_SPAN_MAX: u32 = 15;
/// A span of 30 days.
pub const LINKS_SPAN_MS: i64 = 30 * DAY_MS;
/// A day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Refuses a request that needs a confirmed address.
///
/// # Errors
/// `address_unconfirmed`.
pub fn check_confirmed(customer: &Customer, request: &Request) -> Result<()> {
    if customer.confirmation.is_confirmed() || !needs_confirmed_address(request) {
        return Ok(());
    }
    Err(unconfirmed())
}

/// The refusal of what needs a confirmed address.
pub fn unconfirmed() -> Error {
    Error::Forbidden { code: UNCONFIRMED, message: UNCONFIRMED_DETAIL.to_owned() }
}

/// The code of the refusal.
pub const UNCONFIRMED: &str = "address_unconfirmed";
/// What to do about it.
pub const UNCONFIRMED_DETAIL: &str = "Confirm the e-mail address first: the link is in the mail to it. \
                                      POST /api/v1/customer/confirmation sends a new one.";

/// Whether a request may lead to a card, a charge or a subscription. What ends or gives back something does not, and
/// neither does the record of money that has been paid.
fn needs_confirmed_address(request: &Request) -> bool {
    match request {
        Request::UsageCharge(_)
        | Request::HoldCharge(_)
        | Request::PackPurchase(_)
        | Request::DebtPayment(_)
        | Request::AutoTopUp(_)
        | Request::PaymentMethodAttach { .. }
        | Request::PaymentMethodDefault { .. }
        | Request::SubscriptionCreate { .. }
        | Request::SubscriptionChange { .. }
        | Request::SubscriptionResume { .. } => true,
        Request::PaymentMethodDetach { .. }
        | Request::SubscriptionCancel { .. }
        | Request::PaymentRefund { .. }
        | Request::DuplicatePayment(_) => false,
    }
}

/// Decides the source of a signup. All but `direct` need proof, because they may decide about credits and prices at the
/// company: a purchase's link token, or whoever vouches for the customer.
///
/// # Errors
/// `source_unproven`.
pub fn proven_source(asked: Option<Source>, has_purchase: bool, is_vouched: bool) -> Result<Source> {
    match asked {
        _ if has_purchase => Ok(Source::Marketplace),
        None | Some(Source::Direct) => Ok(Source::Direct),
        Some(source) if is_vouched => Ok(source),
        Some(source) => Err(Error::Forbidden {
            code: "source_unproven",
            message: format!(
                "The source {} needs proof: marketplace_link, or an admin token in Authorization: Bearer.",
                source.as_str()
            ),
        }),
    }
}

/// A token of a link; wiped from memory when dropped, never printed by `Debug`.
pub struct ConfirmationToken(Zeroizing<String>);

impl ConfirmationToken {
    /// A new token with 256 random bits.
    pub fn generate() -> Self {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        Self(Zeroizing::new(format!("{TOKEN_PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(bytes.as_slice()))))
    }

    /// Reads a token that somebody sent; `None` if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(TOKEN_PREFIX)?;
        let is_token = random.len() == TOKEN_LEN && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_token.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token itself, to be mailed.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash, the only form in which it is stored.
    pub fn hash(&self) -> String {
        secret_hash(&self.0)
    }
}

impl std::fmt::Debug for ConfirmationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfirmationToken(…)")
    }
}

/// A link as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmationLink {
    /// The hash of its token.
    pub token_hash: String,
    /// Its customer.
    pub customer_id: CustomerId,
    /// The address that it was mailed to, in the form that is unique.
    pub email_normalized: String,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it expires.
    pub expires_at_ms: TimeMs,
    /// When it, or another one of the customer, was used.
    pub used_at_ms: Option<TimeMs>,
}

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// It can be used, once.
    Usable,
    /// It was used, or another one of the customer was.
    Used,
    /// Its time is over.
    Expired,
    /// The customer has another address by now, so its reader controls nothing.
    Moved,
}

impl ConfirmationLink {
    /// A link to an address that is good until `ttl_s` from now, and its token.
    pub fn new(
        customer_id: &CustomerId,
        email_normalized: &str,
        ttl_s: i64,
        now_ms: TimeMs,
    ) -> (ConfirmationToken, Self) {
        let token = ConfirmationToken::generate();
        let link = Self {
            token_hash: token.hash(),
            customer_id: customer_id.clone(),
            email_normalized: email_normalized.to_owned(),
            created_at_ms: now_ms,
            expires_at_ms: now_ms + ttl_s * 1_000,
            used_at_ms: None,
        };
        (token, link)
    }

    /// What it is good for, where its customer's address is `email_normalized` now.
    pub fn state(&self, email_normalized: &str, now_ms: TimeMs) -> LinkState {
        if self.email_normalized != email_normalized {
            LinkState::Moved
        } else if self.used_at_ms.is_some() {
            LinkState::Used
        } else if self.expires_at_ms <= now_ms {
            LinkState::Expired
        } else {
            LinkState::Usable
        }
    }
}

/// What the mailbox's owner chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choice {
    /// Keys that were made before stay valid.
    pub keep_keys: bool,
    /// A new key is made although the others stay.
    pub new_key: bool,
}

impl Choice {
    /// Whether a key is made. Where the others end, one always is: the customer would be out of reach without it.
    pub fn makes_key(self) -> bool {
        self.new_key || !self.keep_keys
    }
}

#[cfg(test)]
mod tests;
