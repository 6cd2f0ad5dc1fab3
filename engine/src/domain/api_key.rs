//! API keys: created once, shown once, stored only as a hash.

use crate::clock::TimeMs;
use crate::ids::{ApiKeyId, CustomerId};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Prefix of every raw key, so that secret scanners find leaked ones.
pub const PREFIX: &str = "bsk_";
/// Characters of a raw key that are stored, to recognise it by.
const HINT_LEN: usize = 8;
/// Maximum number of valid keys of a customer at one time.
pub const API_KEYS_MAX: i64 = 20;

/// A key as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its record.
    pub id: ApiKeyId,
    /// Its customer.
    pub customer_id: CustomerId,
    /// The name that the customer gave it.
    pub name: String,
    /// The first characters of the raw key.
    pub hint: String,
    /// When it was made.
    pub created_at_ms: TimeMs,
    /// When it was or will be revoked: a rotated key stays valid for a while beside its successor.
    pub revoked_at_ms: Option<TimeMs>,
}

/// A newly created key, with its secret.
#[derive(Debug)]
pub struct NewKey {
    /// The key itself.
    pub raw: RawKey,
    /// The record to store.
    pub key: ApiKey,
}

impl NewKey {
    /// Generates a key. The caller has checked the name.
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

/// The customer of a key, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The customer.
    pub customer_id: CustomerId,
    /// When the key ends, if it was rotated.
    pub ends_at_ms: Option<TimeMs>,
}

impl KeyOwner {
    /// Whether the key is valid at `now_ms`.
    pub fn is_valid(&self, now_ms: TimeMs) -> bool {
        self.ends_at_ms.is_none_or(|ends_at_ms| ends_at_ms > now_ms)
    }
}

/// A raw key; wiped from memory when dropped, never printed by `Debug`.
pub struct RawKey(Zeroizing<String>);

impl RawKey {
    /// A new key with 256 random bits.
    pub fn generate() -> Self {
        Self::with_prefix(PREFIX)
    }

    /// A new secret with 256 random bits and a prefix that ends in `_`.
    pub fn with_prefix(prefix: &str) -> Self {
        let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(rand::random());
        Self(Zeroizing::new(format!("{prefix}{}", data_encoding::BASE32_DNSSEC.encode(bytes.as_slice()))))
    }

    /// The key itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash, the only form in which it is stored.
    pub fn hash(&self) -> String {
        secret_hash(&self.0)
    }

    /// First characters, to recognise it by.
    pub fn hint(&self) -> String {
        let prefix_len = self.0.find('_').map_or(0, |at| at + 1);
        self.0.chars().take(prefix_len + HINT_LEN).collect()
    }
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawKey(…)")
    }
}

/// SHA-256 of a secret in hexadecimal, the only form in which it is stored. The secrets are random and long, so
/// they need no slow hash.
pub fn secret_hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
