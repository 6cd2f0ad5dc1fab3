//! Identifiers: a short prefix for the kind, then a UUIDv7 in lower-case base32.
//!
//! UUIDv7 begins with the time, so later identifiers sort later and index pages stay warm.

use crate::clock::Clock;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;
use uuid::{ContextV7, Timestamp, Uuid};

/// Length of the part after the prefix: 16 bytes in base32 without padding.
const BODY_LEN: usize = 26;

/// The text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {expected} identifier")]
pub struct IdError {
    expected: &'static str,
}

/// Keeps identifiers of one millisecond in order.
static CONTEXT: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// Uses Bursar's clock instead of the library's, because lists are sorted by identifiers from all nodes.
fn generate_body() -> String {
    let now = Duration::from_millis(Clock::System.now_ms().unsigned_abs());
    let at = Timestamp::from_unix(&CONTEXT, now.as_secs(), now.subsec_nanos());
    data_encoding::BASE32_DNSSEC.encode(Uuid::new_v7(at).as_bytes())
}

/// A body that sorts before every one that is generated at this time or later.
fn body_before(at_ms: i64) -> String {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&at_ms.max(0).to_be_bytes()[2..]);
    data_encoding::BASE32_DNSSEC.encode(&bytes)
}

fn is_valid_body(body: &str) -> bool {
    body.len() == BODY_LEN && body.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Prefix of every identifier of this kind.
            pub const PREFIX: &'static str = $prefix;

            /// Generates a unique identifier that sorts after all earlier ones.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(format!(concat!($prefix, "_{}"), generate_body()))
            }

            /// A text that sorts before every identifier that is generated at this time or later.
            pub fn before(at_ms: i64) -> String {
                format!(concat!($prefix, "_{}"), body_before(at_ms))
            }

            /// Parses text from outside.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                match text.strip_prefix(concat!($prefix, "_")) {
                    Some(body) if is_valid_body(body) => Ok(Self(text.to_owned())),
                    _ => Err(IdError { expected: $prefix }),
                }
            }

            /// Wraps an identifier from Bursar's own database.
            pub fn trusted(text: String) -> Self {
                Self(text)
            }

            /// The whole identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The part after the prefix.
            pub fn body(&self) -> &str {
                &self.0[$prefix.len() + 1..]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A customer.
    CustomerId,
    "cst"
);
id!(
    /// A reservation of credits.
    HoldId,
    "hld"
);
id!(
    /// A job.
    JobId,
    "job"
);
id!(
    /// A stored event.
    EventId,
    "evt"
);
id!(
    /// A replay.
    ReplayId,
    "rpl"
);
id!(
    /// A reconciliation with Stripe.
    ReconciliationId,
    "rec"
);
id!(
    /// The record of an API key (not the key itself).
    ApiKeyId,
    "key"
);
id!(
    /// The record of an admin token (not the token itself).
    AdminTokenId,
    "adt"
);
id!(
    /// An operation at Stripe for a customer.
    OperationId,
    "op"
);
id!(
    /// A mail.
    MailId,
    "mal"
);
id!(
    /// A row of the audit log.
    AuditId,
    "aud"
);
id!(
    /// A request over HTTP whose client gave it no identifier.
    RequestId,
    "req"
);

/// How the identifier of a charge's reservation begins. It does not parse, so that no customer can close one.
const RESERVATION: &str = "rsv_";

impl HoldId {
    /// The reservation of the charge that an operation makes in a round.
    pub fn of_charge(operation: &OperationId, round: i64) -> Self {
        Self(format!("{RESERVATION}{}_{round}", operation.body()))
    }

    /// The operation whose charge the reservation is for; `None` for a hold that a customer opened.
    pub fn operation(&self) -> Option<OperationId> {
        let (body, _) = self.0.strip_prefix(RESERVATION)?.split_once('_')?;
        Some(OperationId(format!("{}_{body}", OperationId::PREFIX)))
    }
}

/// The public identifier of a ledger entry. It consists of customer and sequence number, so it needs no column.
pub fn transaction_id(customer: &CustomerId, seq: i64) -> String {
    format!("txn_{}_{seq}", customer.body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_parses_back_to_itself_and_rejects_other_kinds() {
        let id = CustomerId::new();
        assert_eq!(CustomerId::parse(id.as_str()), Ok(id.clone()));
        assert!(HoldId::parse(id.as_str()).is_err());
        assert!(CustomerId::parse("cst_").is_err());
        assert!(CustomerId::parse("cst_0123456789012345678901234Z").is_err());
    }

    #[test]
    fn a_reservation_names_its_operation_and_no_customer_can_name_it() {
        let operation = OperationId::new();
        let reservation = HoldId::of_charge(&operation, 2);
        assert_eq!(reservation.operation(), Some(operation.clone()));
        assert_ne!(reservation, HoldId::of_charge(&operation, 1));
        assert!(HoldId::parse(reservation.as_str()).is_err());
        assert_eq!(HoldId::new().operation(), None);
    }

    #[test]
    fn later_identifiers_sort_after_earlier_ones() {
        let first = JobId::new();
        let second = JobId::new();
        assert!(first < second);
    }
}
