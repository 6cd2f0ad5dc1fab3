//! Whether a body was signed by Stripe, and signing one ourselves.
//!
//! Source: Stripe, "Verify webhook signatures manually". The header is
//! `t=<seconds>,v1=<hex>[,v1=<hex>…]`; each `v1` is the HMAC-SHA256 of `<t>.<raw body>` under one of
//! the endpoint's current secrets (two while a secret is rolled). `v0` and unknown schemes are
//! ignored, as Stripe demands, so that nobody can downgrade to a weaker one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// How far the signature's time may be from ours, in seconds, either way. Source: the default of
/// Stripe's own libraries.
pub const TOLERANCE_S: i64 = 300;
/// Signatures in one header that are looked at. Stripe sends one per current secret.
pub const CANDIDATES_MAX: usize = 16;
/// Longest header that is looked at, in bytes: more than twice what [`CANDIDATES_MAX`] signatures take.
const HEADER_LEN_MAX: usize = 4_096;
/// A timestamp longer than this is no timestamp.
const TIMESTAMP_LEN_MAX: usize = 19;
const MAC_LEN: usize = 32;

/// Why a body is not accepted as Stripe's. The texts and codes say nothing that helps to forge one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SignatureError {
    /// There is no header.
    #[error("the signature header is missing")]
    Missing,
    /// The header has no time, no `v1` signature of 64 hexadecimal digits, or more than one time.
    #[error("the signature header is malformed")]
    Malformed,
    /// No signature matches under any secret.
    #[error("the signature does not match")]
    NoMatch,
    /// The header's time is too long ago.
    #[error("the signature is too old")]
    Stale,
    /// The header's time is in the future; one of the clocks is wrong, or the header is made up.
    #[error("the signature is from the future")]
    Future,
}

impl SignatureError {
    /// A stable code for problem bodies and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Malformed => "signature_malformed",
            Self::NoMatch => "signature_mismatch",
            Self::Stale => "signature_stale",
            Self::Future => "signature_future",
        }
    }
}

/// Checks what a header says without the body: that it is there, has its form, and a time near ours. A
/// stranger can make such a header, but cannot make the server read a body without one.
///
/// # Errors
/// Each but [`SignatureError::NoMatch`].
pub fn check_header(header: Option<&str>, now_ms: i64, tolerance_s: i64) -> Result<(), SignatureError> {
    Parsed::read(header)?.check_time(now_ms, tolerance_s)
}

/// Checks a header against the raw body. Any `v1` under any secret will do; a secret is the whole
/// text that Stripe shows, `whsec_` included. Empty secrets are skipped: anybody could sign with one.
///
/// The time is checked first, as by [`check_header`], so a stale or future header may be a stranger's.
///
/// # Errors
/// Each of them.
pub fn verify(
    header: Option<&str>,
    body: &[u8],
    secrets: &[impl AsRef<[u8]>],
    now_ms: i64,
    tolerance_s: i64,
) -> Result<(), SignatureError> {
    let parsed = Parsed::read(header)?;
    parsed.check_time(now_ms, tolerance_s)?;
    let mut matches = Choice::from(0);
    for secret in secrets.iter().map(AsRef::as_ref).filter(|secret| !secret.is_empty()) {
        let expected = mac(secret, parsed.timestamp, body);
        for candidate in &parsed.candidates {
            matches |= expected.ct_eq(candidate);
        }
    }
    if bool::from(matches) { Ok(()) } else { Err(SignatureError::NoMatch) }
}

/// The header that Stripe would send for this body, for `bursar stripe send` and for tests.
pub fn sign(secret: impl AsRef<[u8]>, body: &[u8], timestamp_s: i64) -> String {
    let timestamp = timestamp_s.to_string();
    format!("t={timestamp},v1={}", hex::encode(mac(secret.as_ref(), &timestamp, body)))
}

struct Parsed<'a> {
    /// As it stands in the header, because that is what was signed.
    timestamp: &'a str,
    timestamp_s: i64,
    candidates: Vec<[u8; MAC_LEN]>,
}

impl<'a> Parsed<'a> {
    fn read(header: Option<&'a str>) -> Result<Self, SignatureError> {
        let header = header.filter(|text| !text.trim().is_empty()).ok_or(SignatureError::Missing)?;
        if header.len() > HEADER_LEN_MAX {
            return Err(SignatureError::Malformed);
        }
        let mut timestamp = None;
        let mut signatures = 0;
        let mut candidates = Vec::new();
        for (scheme, value) in header.split(',').filter_map(|part| part.trim().split_once('=')) {
            match scheme {
                "t" if timestamp.replace(value).is_some() => return Err(SignatureError::Malformed),
                "v1" if signatures < CANDIDATES_MAX => {
                    signatures += 1;
                    let mut candidate = [0; MAC_LEN];
                    // One that is not 32 bytes of hex can match nothing; another may.
                    if hex::decode_to_slice(value, &mut candidate).is_ok() {
                        candidates.push(candidate);
                    }
                }
                _ => {}
            }
        }
        let timestamp = timestamp.filter(|text| is_digits(text)).ok_or(SignatureError::Malformed)?;
        let timestamp_s = timestamp.parse().map_err(|_| SignatureError::Malformed)?;
        if candidates.is_empty() {
            return Err(SignatureError::Malformed);
        }
        Ok(Self { timestamp, timestamp_s, candidates })
    }

    fn check_time(&self, now_ms: i64, tolerance_s: i64) -> Result<(), SignatureError> {
        // Whole seconds, like Stripe's own libraries: the header has no finer time.
        let age_s = now_ms.div_euclid(1_000).saturating_sub(self.timestamp_s);
        if age_s > tolerance_s {
            return Err(SignatureError::Stale);
        }
        if age_s < tolerance_s.saturating_neg() {
            return Err(SignatureError::Future);
        }
        Ok(())
    }
}

/// Digits only: with a dot in the time, the seam between time and body could be moved and the same
/// signature would fit another body.
fn is_digits(text: &str) -> bool {
    (1..=TIMESTAMP_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn mac(secret: &[u8], timestamp: &str, body: &[u8]) -> [u8; MAC_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_700_000_000;
    const NOW_MS: i64 = NOW_S * 1_000;
    const BODY: &[u8] = b"{\n  \"id\": \"evt_1\"\n}";

    fn check(header: &str, secrets: &[&str], now_ms: i64) -> Result<(), SignatureError> {
        verify(Some(header), BODY, secrets, now_ms, TOLERANCE_S)
    }

    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        // printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let header = sign("whsec_test", br#"{"id":"evt_1"}"#, NOW_S);
        assert_eq!(header, "t=1700000000,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925");
    }

    #[test]
    fn a_signed_body_passes_and_any_other_byte_or_secret_does_not() {
        let header = sign("whsec_a", BODY, NOW_S);
        assert_eq!(check(&header, &["whsec_a"], NOW_MS), Ok(()));
        assert_eq!(check(&header, &["whsec_b"], NOW_MS), Err(SignatureError::NoMatch));
        assert_eq!(check(&header, &[], NOW_MS), Err(SignatureError::NoMatch));
        let compact = br#"{"id":"evt_1"}"#;
        assert_eq!(
            verify(Some(&header), compact, &["whsec_a"], NOW_MS, TOLERANCE_S),
            Err(SignatureError::NoMatch),
            "the same JSON written differently is another body"
        );
    }

    #[test]
    fn while_a_secret_is_rolled_either_secret_and_either_signature_passes() {
        let old = sign("whsec_old", BODY, NOW_S);
        let new = sign("whsec_new", BODY, NOW_S);
        let both = format!("{old},{}", new.split_once(',').expect("two parts").1);
        assert_eq!(check(&old, &["whsec_new", "whsec_old"], NOW_MS), Ok(()));
        assert_eq!(check(&both, &["whsec_new"], NOW_MS), Ok(()));
        assert_eq!(check(&both, &["whsec_old"], NOW_MS), Ok(()));
        assert_eq!(check(&both, &["whsec_other"], NOW_MS), Err(SignatureError::NoMatch));
    }

    #[test]
    fn an_empty_secret_signs_nothing() {
        assert_eq!(check(&sign("", BODY, NOW_S), &[""], NOW_MS), Err(SignatureError::NoMatch));
    }

    #[test]
    fn v0_and_unknown_schemes_are_ignored() {
        let good = sign("s", BODY, NOW_S);
        let mac = good.split_once("v1=").expect("a signature").1;
        assert_eq!(check(&format!("t={NOW_S},v0={mac}"), &["s"], NOW_MS), Err(SignatureError::Malformed));
        assert_eq!(check(&format!("t={NOW_S},v2={mac}"), &["s"], NOW_MS), Err(SignatureError::Malformed));
        assert_eq!(check(&format!("{good},v0=00,v9=zz,flag"), &["s"], NOW_MS), Ok(()));
    }

    #[test]
    fn a_broken_signature_does_not_spoil_a_good_one_beside_it() {
        let good = sign("s", BODY, NOW_S);
        let mac = good.split_once("v1=").expect("a signature").1;
        assert_eq!(check(&format!("t={NOW_S},v1=zz,v1=00,v1={mac}"), &["s"], NOW_MS), Ok(()));
        assert_eq!(check(&format!("t={NOW_S},v1=zz"), &["s"], NOW_MS), Err(SignatureError::Malformed));
        assert_eq!(check(&format!("t={NOW_S},v1={}", &mac[..62]), &["s"], NOW_MS), Err(SignatureError::Malformed));
    }

    #[test]
    fn only_so_many_signatures_are_looked_at() {
        let good = sign("s", BODY, NOW_S);
        let mac = good.split_once("v1=").expect("a signature").1;
        let wrong = format!(",v1={}", "0".repeat(2 * MAC_LEN));
        let within = format!("t={NOW_S}{},v1={mac}", wrong.repeat(CANDIDATES_MAX - 1));
        let beyond = format!("t={NOW_S}{},v1={mac}", wrong.repeat(CANDIDATES_MAX));
        assert_eq!(check(&within, &["s"], NOW_MS), Ok(()));
        assert_eq!(check(&beyond, &["s"], NOW_MS), Err(SignatureError::NoMatch));
    }

    #[test]
    fn a_header_without_exactly_one_time_in_digits_is_malformed() {
        let mac = "00".repeat(MAC_LEN);
        for time in ["", "t=,", "t=-1,", "t=1.5,", "t=+1,", "t=x,", "t=1,t=1,", "t=99999999999999999999,", "t= 1,"] {
            let header = format!("{time}v1={mac}");
            assert_eq!(check(&header, &["s"], NOW_MS), Err(SignatureError::Malformed), "{header}");
        }
        assert_eq!(check("t=1", &["s"], NOW_MS), Err(SignatureError::Malformed));
        assert_eq!(check("nonsense", &["s"], NOW_MS), Err(SignatureError::Malformed));
    }

    #[test]
    fn no_header_is_told_from_a_bad_one() {
        assert_eq!(verify(None, BODY, &["s"], NOW_MS, TOLERANCE_S), Err(SignatureError::Missing));
        assert_eq!(check(" ", &["s"], NOW_MS), Err(SignatureError::Missing));
    }

    #[test]
    fn three_hundred_seconds_pass_either_way_and_one_more_does_not() {
        let header = sign("s", BODY, NOW_S);
        assert_eq!(check(&header, &["s"], NOW_MS + 300_999), Ok(()));
        assert_eq!(check(&header, &["s"], NOW_MS + 301_000), Err(SignatureError::Stale));
        assert_eq!(check(&header, &["s"], NOW_MS - 300_000), Ok(()));
        assert_eq!(check(&header, &["s"], NOW_MS - 300_001), Err(SignatureError::Future));
    }

    #[test]
    fn the_header_alone_tells_all_but_a_mismatch() {
        let forged = sign("not the secret", BODY, NOW_S);
        for (header, now_ms, expected) in [
            (None, NOW_MS, Err(SignatureError::Missing)),
            (Some("t=1"), NOW_MS, Err(SignatureError::Malformed)),
            (Some(forged.as_str()), NOW_MS + 301_000, Err(SignatureError::Stale)),
            (Some(forged.as_str()), NOW_MS - 301_000, Err(SignatureError::Future)),
            (Some(forged.as_str()), NOW_MS, Ok(())),
        ] {
            assert_eq!(check_header(header, now_ms, TOLERANCE_S), expected, "{header:?}");
            let verified = verify(header, BODY, &["s"], now_ms, TOLERANCE_S);
            assert_eq!(verified, expected.and(Err(SignatureError::NoMatch)), "{header:?}");
        }
    }

    #[test]
    fn times_beyond_all_reason_are_stale_or_future() {
        assert_eq!(check(&sign("s", BODY, i64::MAX), &["s"], NOW_MS), Err(SignatureError::Future));
        assert_eq!(check(&sign("s", BODY, 0), &["s"], i64::MAX), Err(SignatureError::Stale));
    }

    #[test]
    fn a_header_longer_than_any_of_stripes_is_malformed() {
        let good = sign("s", BODY, NOW_S);
        let padded = |len: usize| format!("{good},v0={}", "0".repeat(len - good.len() - 4));
        assert_eq!(check(&padded(HEADER_LEN_MAX), &["s"], NOW_MS), Ok(()));
        assert_eq!(check(&padded(HEADER_LEN_MAX + 1), &["s"], NOW_MS), Err(SignatureError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics_or_passes_unsigned(header in ".{0,200}", parts in proptest::collection::vec(
            ("(t|v0|v1|v2|)", "[0-9a-fA-F.=-]{0,70}"), 0..24), now_ms: i64, tolerance_s: i64) {
            let joined = parts.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
            for text in [header, joined] {
                proptest::prop_assert!(verify(Some(&text), BODY, &["s"], now_ms, tolerance_s).is_err());
            }
        }
    }
}
