//! Encrypts secrets that must be stored for a while, such as the token of a link until it is mailed, so that the
//! database and its backups contain none.
//!
//! XChaCha20-Poly1305 with a random nonce of 192 bits. A secret's context is authenticated with it: a sealed text
//! that is moved to another row does not open.

use crate::config::{SEAL_KEY_LEN, seal_keys};
use crate::error::{Error, Result};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Length of a nonce, in bytes.
const NONCE_LEN: usize = 24;
/// Prefix of every sealed text: the version of the format.
const VERSION: &str = "v1.";

/// Seals and opens secrets. Cheap to clone; its keys are wiped from memory when the last clone is dropped.
#[derive(Clone)]
pub struct SealBox {
    /// The first one seals, all of them open.
    keys: Arc<Vec<XChaCha20Poly1305>>,
}

impl std::fmt::Debug for SealBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealBox({} keys)", self.keys.len())
    }
}

/// Generates a key in its configured form: 64 hexadecimal digits.
pub fn key_new() -> String {
    let bytes: Zeroizing<[u8; SEAL_KEY_LEN]> = Zeroizing::new(rand::random());
    hex::encode(bytes.as_slice())
}

impl SealBox {
    /// Parses one key, or several separated by commas while rotating: the first one seals.
    ///
    /// # Errors
    /// `Config` if there is no key, or one is not 64 hexadecimal digits.
    pub fn new(keys: &str) -> Result<Self> {
        let wrong = || {
            Error::Config(vec![
                "secret_key (BURSAR_SECRET_KEY) must be 64 hexadecimal digits, such as from `openssl rand -hex 32`; \
                 several are separated by commas"
                    .to_owned(),
            ])
        };
        let keys = seal_keys(keys).ok_or_else(wrong)?;
        let cipher = |key: &Zeroizing<[u8; SEAL_KEY_LEN]>| XChaCha20Poly1305::new_from_slice(key.as_slice());
        let ciphers = keys.iter().map(cipher).collect::<Result<_, _>>().map_err(|_| wrong())?;
        Ok(Self { keys: Arc::new(ciphers) })
    }

    /// Seals a secret for `context`.
    ///
    /// # Errors
    /// `Corrupt` if the secret is longer than the cipher allows, which is gigabytes.
    pub fn seal(&self, secret: &str, context: &str) -> Result<String> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let payload = Payload { msg: secret.as_bytes(), aad: context.as_bytes() };
        let cipher = self.keys.first().ok_or_else(|| Error::Corrupt("there is no key to seal with".to_owned()))?;
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| Error::Corrupt("a secret cannot be sealed".to_owned()))?;
        Ok(format!("{VERSION}{}", BASE64URL_NOPAD.encode(&[nonce.as_slice(), &sealed].concat())))
    }

    /// Opens a text that was sealed for the same context, under any of the keys.
    ///
    /// # Errors
    /// `Corrupt` if none of the keys opens it for this context.
    pub fn open(&self, sealed: &str, context: &str) -> Result<Zeroizing<String>> {
        let wrong = || Error::Corrupt("a sealed secret does not open under the configured keys".to_owned());
        let text = sealed.strip_prefix(VERSION).ok_or_else(wrong)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| wrong())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let nonce = XNonce::from(*nonce);
        let payload = || Payload { msg: sealed, aad: context.as_bytes() };
        let opened = self.keys.iter().find_map(|cipher| cipher.decrypt(&nonce, payload()).ok()).ok_or_else(wrong)?;
        String::from_utf8(opened).map(Zeroizing::new).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_context_only_and_never_looks_the_same_twice() {
        let seal = SealBox::new(&key_new()).expect("a key");
        let (one, two) = (seal.seal("bsk_x", "cst_1").expect("sealed"), seal.seal("bsk_x", "cst_1").expect("sealed"));
        assert_ne!(one, two);
        assert!(!one.contains("bsk"));
        assert_eq!(*seal.open(&one, "cst_1").expect("opens"), "bsk_x");
        assert!(seal.open(&one, "cst_2").is_err());
    }

    #[test]
    fn a_text_that_was_changed_does_not_open() {
        let seal = SealBox::new(&key_new()).expect("a key");
        let sealed = seal.seal("bsk_x", "cst_1").expect("sealed");
        for at in VERSION.len()..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(seal.open(&String::from_utf8(bytes).expect("ascii"), "cst_1").is_err(), "changed at {at}");
        }
        for text in ["", "v1.", "v2.AAAA", "bsk_x"] {
            assert!(seal.open(text, "cst_1").is_err(), "{text}");
        }
    }

    #[test]
    fn while_keys_rotate_both_open_and_the_first_seals() {
        let (old, new) = (key_new(), key_new());
        let before = SealBox::new(&old).expect("a key");
        let during = SealBox::new(&format!("{new}, {old}")).expect("keys");
        let after = SealBox::new(&new).expect("a key");
        let sealed = before.seal("x", "c").expect("sealed");
        assert_eq!(*during.open(&sealed, "c").expect("opens"), "x");
        assert!(after.open(&sealed, "c").is_err());
        assert_eq!(*after.open(&during.seal("y", "c").expect("sealed"), "c").expect("opens"), "y");
    }

    #[test]
    fn a_key_is_sixty_four_hexadecimal_digits() {
        assert!(SealBox::new(&key_new()).is_ok());
        for text in ["", ",", "abc", &key_new()[1..], &key_new().replace(|c: char| c.is_ascii_digit(), "z")] {
            assert!(SealBox::new(text).is_err(), "{text}");
        }
        let debug = format!("{:?}", SealBox::new(&key_new()).expect("a key"));
        assert_eq!(debug, "SealBox(1 keys)");
    }
}
