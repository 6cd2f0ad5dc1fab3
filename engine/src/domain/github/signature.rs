//! Verifies and makes signatures of GitHub.
//!
//! Source: GitHub, "Validating webhook deliveries". The header `X-Hub-Signature-256` is `sha256=` and the
//! HMAC-SHA256 of the raw body in hexadecimal. The older `X-Hub-Signature`, with SHA-1, is ignored to rule out
//! downgrades. The signature covers no time: only the delivery's id and the stored events expose a replay.

use crate::domain::webhook::SignatureError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

const SCHEME: &str = "sha256=";
const MAC_LEN: usize = 32;

/// Checks a header without the body: it must be present and well-formed.
///
/// # Errors
/// [`SignatureError::Missing`] or [`SignatureError::Malformed`].
pub fn check_header(header: Option<&str>) -> Result<(), SignatureError> {
    read(header).map(drop)
}

/// Checks a header against the raw body under every secret, in constant time. Empty secrets are skipped, because
/// anybody could sign with one.
///
/// # Errors
/// [`SignatureError::Missing`], [`SignatureError::Malformed`] or [`SignatureError::NoMatch`].
pub fn verify(header: Option<&str>, body: &[u8], secrets: &[impl AsRef<[u8]>]) -> Result<(), SignatureError> {
    let given = read(header)?;
    let mut matches = Choice::from(0);
    for secret in secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty()) {
        matches |= mac(secret, body).ct_eq(&given);
    }
    if bool::from(matches) { Ok(()) } else { Err(SignatureError::NoMatch) }
}

/// Signs a body as GitHub does, for `bursar github send` and for tests.
pub fn sign(secret: impl AsRef<[u8]>, body: &[u8]) -> String {
    format!("{SCHEME}{}", hex::encode(mac(secret.as_ref(), body)))
}

fn read(header: Option<&str>) -> Result<[u8; MAC_LEN], SignatureError> {
    let header = header.map(str::trim).filter(|text| !text.is_empty()).ok_or(SignatureError::Missing)?;
    let digits = header.strip_prefix(SCHEME).ok_or(SignatureError::Malformed)?;
    let mut given = [0_u8; MAC_LEN];
    hex::decode_to_slice(digits, &mut given).map_err(|_| SignatureError::Malformed)?;
    Ok(given)
}

fn mac(secret: &[u8], body: &[u8]) -> [u8; MAC_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_own_example_passes() {
        // Source: GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign("It's a Secret to Everybody", b"Hello, World!"), header);
        assert_eq!(verify(Some(header), b"Hello, World!", &["It's a Secret to Everybody"]), Ok(()));
    }

    #[test]
    fn a_changed_body_or_another_secret_is_a_mismatch() {
        let header = sign("s", b"{}");
        assert_eq!(verify(Some(&header), b"{ }", &["s"]), Err(SignatureError::NoMatch));
        assert_eq!(verify(Some(&header), b"{}", &["t"]), Err(SignatureError::NoMatch));
        assert_eq!(verify(Some(&header), b"{}", &[] as &[&str]), Err(SignatureError::NoMatch));
    }

    #[test]
    fn while_a_secret_is_rotated_the_old_and_the_new_one_pass() {
        for secret in ["new", "old"] {
            assert_eq!(verify(Some(&sign(secret, b"{}")), b"{}", &["new", "old"]), Ok(()));
        }
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        assert_eq!(verify(Some(&sign("", b"{}")), b"{}", &[""]), Err(SignatureError::NoMatch));
    }

    #[test]
    fn no_header_is_told_from_a_malformed_one() {
        let mac = sign("s", b"{}").split_off(SCHEME.len());
        for missing in [None, Some(""), Some("  ")] {
            assert_eq!(verify(missing, b"{}", &["s"]), Err(SignatureError::Missing));
            assert_eq!(check_header(missing), Err(SignatureError::Missing));
        }
        for malformed in [mac.as_str(), "sha1=00", "sha256=", "sha256=zz", &format!("sha256={}", &mac[2..])] {
            assert_eq!(verify(Some(malformed), b"{}", &["s"]), Err(SignatureError::Malformed), "{malformed}");
            assert_eq!(check_header(Some(malformed)), Err(SignatureError::Malformed), "{malformed}");
        }
        assert_eq!(check_header(Some(&format!("sha256={mac}"))), Ok(()));
        assert_eq!(verify(Some(&format!("sha256={}", mac.to_uppercase())), b"{}", &["s"]), Ok(()));
    }
}
