//! Stripe's signature of a webhook. Source: Stripe, "Verify webhook signatures manually".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The `Stripe-Signature` of a body. `t_s` is the real time.
pub(crate) fn sign(secret: &str, t_s: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(format!("{t_s}.{body}").as_bytes());
    format!("t={t_s},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        let signature = sign("whsec_x", 17, "{}");
        assert!(signature.starts_with("t=17,v1="));
        assert_eq!(signature.len(), "t=17,v1=".len() + 64);
        assert_ne!(signature, sign("whsec_x", 18, "{}").replace("t=18", "t=17"));
        assert_ne!(signature, sign("whsec_x", 17, "{ }"));
        assert_ne!(signature, sign("whsec_y", 17, "{}"));
    }
}
