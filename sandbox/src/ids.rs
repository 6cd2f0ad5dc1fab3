//! Random ids in Stripe's format. The same seed produces the same ids.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Random characters of an id.
const ID_LEN: usize = 24;
/// Random characters of older kinds' ids.
const SHORT_ID_LEN: usize = 14;
/// Random characters of a secret.
const SECRET_LEN: usize = 25;

/// A generator of ids.
#[derive(Debug)]
pub(crate) struct Ids(StdRng);

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn random(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(ALPHABET[self.0.random_range(0..ALPHABET.len())])).collect()
    }

    /// An id such as `pi_…`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        let len = if matches!(prefix, "cus" | "prod" | "si" | "req") { SHORT_ID_LEN } else { ID_LEN };
        format!("{prefix}_{}", self.random(len))
    }

    /// The secret that allows a browser to act on an object.
    pub(crate) fn client_secret(&mut self, id: &str) -> String {
        format!("{id}_secret_{}", self.random(SECRET_LEN))
    }

    /// A card's fingerprint.
    pub(crate) fn fingerprint(&mut self) -> String {
        self.random(16)
    }
}
