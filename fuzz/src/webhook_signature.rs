//! Signatures of webhooks. The input has three lines: a header, our clock in milliseconds relative to the time of
//! signing, and the body, which may have more lines.

use bursar_engine::domain::github;
use bursar_engine::domain::webhook::signature::{CANDIDATES_MAX, TOLERANCE_S};
use bursar_engine::domain::webhook::{SignatureError, check_header, sign, verify};

/// The endpoint's secrets, two as while one is rolled.
pub const SECRETS: [&str; 2] = ["whsec_new", "whsec_old"];
/// The time at which the target signs, in seconds.
pub const SIGNED_AT_S: i64 = 1_700_000_000;
/// Headers up to this length are read, as those that the target makes are.
const HEADER_LEN_MAX: usize = 4_096;

/// Checks the claims. Returns whether the header fits the body, as Stripe's or as GitHub's.
pub fn run(data: &[u8]) -> bool {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let header = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let since_ms = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.trim().parse().ok()).unwrap_or(0);
    let body = lines.next().unwrap_or_default();
    let now_ms = i64::saturating_add(SIGNED_AT_S * 1_000, since_ms);
    let is_stripes = check_stripe(header, body, now_ms);
    check_made(header.unwrap_or_default(), body, now_ms);
    check_github(header, body) || is_stripes
}

/// A header as it came. What is accepted has the MAC of its own time and body under one of the secrets.
fn check_stripe(header: Option<&str>, body: &[u8], now_ms: i64) -> bool {
    let alone = check_header(header, now_ms, TOLERANCE_S);
    let verified = verify(header, body, &SECRETS, now_ms, TOLERANCE_S);
    match verified {
        Ok(()) | Err(SignatureError::NoMatch) => assert_eq!(alone, Ok(()), "the header alone is good"),
        Err(_) => assert_eq!(alone, verified, "the header alone tells it"),
    }
    assert!(verify(header, body, &[""], now_ms, TOLERANCE_S).is_err(), "an empty secret signs nothing");
    if verified.is_ok() {
        let header = header.expect("no header is an error");
        let times = header.split(',').filter_map(|part| part.trim().strip_prefix("t="));
        let [time] = times.collect::<Vec<_>>()[..] else { panic!("a header has one time: {header}") };
        let time_s: i64 = time.parse().expect("the time is a number");
        assert!((now_ms.div_euclid(1_000) - time_s).abs() <= TOLERANCE_S, "{time_s} at {now_ms}");
        let has_mac = |secret: &str| {
            let signed = [time.as_bytes(), b".", body].concat();
            let github = github::sign(secret, &signed);
            header.to_lowercase().contains(&github.replacen("sha256=", "v1=", 1))
        };
        assert!(SECRETS.iter().any(|secret| has_mac(secret)), "{header}");
    }
    verified.is_ok()
}

/// Headers that the target signs, with the input's behind them.
fn check_made(more: &str, body: &[u8], now_ms: i64) {
    let is_in_time = (now_ms.div_euclid(1_000) - SIGNED_AT_S).unsigned_abs() <= TOLERANCE_S.unsigned_abs();
    for secret in SECRETS {
        let header = sign(secret, body, SIGNED_AT_S);
        let verified = verify(Some(&header), body, &SECRETS, now_ms, TOLERANCE_S);
        assert_eq!(verified.is_ok(), is_in_time, "{verified:?}");
        let longer = format!("{header},{more}");
        let has_one_time = more.split(',').all(|part| !part.trim().starts_with("t="));
        if is_in_time && has_one_time && longer.len() <= HEADER_LEN_MAX {
            assert_eq!(verify(Some(&longer), body, &SECRETS, now_ms, TOLERANCE_S), Ok(()), "{longer}");
        }
        let crowded = format!("t={SIGNED_AT_S}{},{}", ",v1=00".repeat(CANDIDATES_MAX), &header[header.len() - 67..]);
        assert!(verify(Some(&crowded), body, &SECRETS, now_ms, TOLERANCE_S).is_err(), "{crowded}");
        let mut other = body.to_vec();
        match other.last_mut() {
            Some(last) => *last ^= 1,
            None => other.push(b' '),
        }
        assert!(verify(Some(&header), &other, &SECRETS, now_ms, TOLERANCE_S).is_err(), "another body");
    }
}

fn check_github(header: Option<&str>, body: &[u8]) -> bool {
    let verified = github::verify(header, body, &SECRETS);
    match verified {
        Ok(()) | Err(SignatureError::NoMatch) => assert_eq!(github::check_header(header), Ok(())),
        Err(_) => assert_eq!(github::check_header(header), verified),
    }
    if verified.is_ok() {
        let header = header.expect("no header is an error").trim().to_lowercase();
        assert!(SECRETS.iter().any(|secret| github::sign(secret, body) == header), "{header}");
    }
    for secret in SECRETS {
        assert_eq!(github::verify(Some(&github::sign(secret, body)), body, &SECRETS), Ok(()));
    }
    verified.is_ok()
}
