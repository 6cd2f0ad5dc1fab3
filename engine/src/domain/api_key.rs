//! API keys: made once, shown once, kept only as a hash.

use crate::clock::TimeMs;
use crate::ids::{ApiKeyId, CustomerId};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every raw key begins with, so that secret scanners can find leaked ones.
pub const PREFIX: &str = "bsk_";
/// Characters of a raw key kept to recognise it by.
const HINT_LEN: usize = 8;
/// The most keys of a customer that may work at one time.
pub const API_KEYS_MAX: i64 = 20;

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its record.
    pub id: ApiKeyId,
    /// Whose it is.
    pub customer_id: CustomerId,
    /// What its owner calls it.
    pub name: String,
    /// First characters of the raw key.
    pub hint: String,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it was revoked; in the future, when it will be: it was rotated, and its successor works.
    pub revoked_at_ms: Option<TimeMs>,
}

/// A key that was just made, with its secret.
#[derive(Debug)]
pub struct NewKey {
    /// The key itself.
    pub raw: RawKey,
    /// What is stored of it.
    pub key: ApiKey,
}

impl NewKey {
    /// Makes one. The name was checked.
    pub fn generate(customer: &CustomerId, name: String, now_ms: TimeMs) -> Self {
        let raw = RawKey::generate();
        let key = ApiKey {
            id: ApiKeyId::new(),
            customer_id: customer.clone(),
            name,
            hint: raw.hint(),
            created_at_ms: now_ms,
            revoked_at_ms: None,
        };
        Self { raw, key }
    }
}

/// Who a key belongs to, and until when it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The customer.
    pub customer_id: CustomerId,
    /// When it ends, if it was rotated.
    pub ends_at_ms: Option<TimeMs>,
}

impl KeyOwner {
    /// Whether the key works at a time.
    pub fn is_valid(&self, now_ms: TimeMs) -> bool {
        self.ends_at_ms.is_none_or(|ends_at_ms| ends_at_ms > now_ms)
    }
}

/// A raw key; wiped from memory when dropped, never printed by `Debug`.
pub struct RawKey(Zeroizing<String>);

impl RawKey {
    /// A new key with 256 random bits.
    pub fn generate() -> Self {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        Self(Zeroizing::new(format!("{PREFIX}{}", data_encoding::BASE32_DNSSEC.encode(bytes.as_slice()))))
    }

    /// The key itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> String {
        secret_hash(&self.0)
    }

    /// First characters, to recognise it by.
    pub fn hint(&self) -> String {
        self.0.chars().take(PREFIX.len() + HINT_LEN).collect()
    }
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawKey(…)")
    }
}

/// SHA-256 of a secret in hexadecimal: all that is ever stored of it. The secrets are random and
/// long, so no slow hash is needed.
pub fn secret_hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
