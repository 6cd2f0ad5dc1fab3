//! Rejects secrets that are easy to guess: placeholders from documentation, and the same few characters repeated.

use super::{Config, split};
use zeroize::Zeroizing;

/// The shortest admin token, in characters: 128 random bits in hexadecimal.
const ADMIN_TOKEN_LEN_MIN: usize = 32;
/// The shortest secret of Stripe's live mode, in characters after its prefix. Stripe's have at least 24.
const LIVE_LEN_MIN: usize = 24;
/// The same in test mode: stand-ins for Stripe and tests invent their own.
const TEST_LEN_MIN: usize = 8;
/// The fewest different characters. One in 30,000 texts of 16 random hexadecimal digits has fewer.
const DISTINCT_MIN: usize = 6;

/// Length of a sealing key, in bytes.
pub(crate) const SEAL_KEY_LEN: usize = 32;

/// Placeholders for secrets in documentation, Bursar's and others'.
const PLACEHOLDERS: [&str; 6] = ["…", "...", "<", "changeme", "change-me", "placeholder"];

/// Whether a text contains a placeholder.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.to_lowercase();
    PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder))
}

/// Whether a secret may be random: it has no placeholder, enough different characters, and is not one piece
/// repeated.
pub(super) fn may_be_random(secret: &str) -> bool {
    let characters: Vec<char> = secret.chars().collect();
    let mut distinct = characters.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let repeats = |period: usize| characters.iter().skip(period).eq(&characters[..characters.len() - period]);
    distinct.len() >= DISTINCT_MIN && !is_placeholder(secret) && !(1..=characters.len() / 2).any(repeats)
}

/// Whether a secret has only characters that Stripe uses, and no placeholder.
fn has_stripe_characters(secret: &str) -> bool {
    secret.chars().all(|c| c.is_ascii_alphanumeric() || "_-+/=".contains(c)) && !is_placeholder(secret)
}

/// Whether a Stripe key belongs to live mode; `None` if it is not a secret or restricted key. Source: Stripe, "API
/// keys".
pub fn key_is_live(key: &str) -> Option<bool> {
    let rest = key.strip_prefix("sk_").or_else(|| key.strip_prefix("rk_"))?;
    match rest.split_once('_') {
        Some(("live", body)) if !body.is_empty() => Some(true),
        Some(("test", body)) if !body.is_empty() => Some(false),
        _ => None,
    }
}

/// Parses a comma-separated list of sealing keys; `None` if it is empty or a key is not 64 hexadecimal digits.
pub(crate) fn seal_keys(text: &str) -> Option<Vec<Zeroizing<[u8; SEAL_KEY_LEN]>>> {
    let mut keys = Vec::new();
    for text in split(text) {
        let mut key = Zeroizing::new([0_u8; SEAL_KEY_LEN]);
        hex::decode_to_slice(text, key.as_mut_slice()).ok()?;
        keys.push(key);
    }
    (!keys.is_empty()).then_some(keys)
}

impl Config {
    /// Reports each secret that cannot be genuine.
    pub(super) fn check_secrets(&self, need: &mut impl FnMut(bool, &str)) {
        need(
            self.admin_token.is_empty()
                || (self.admin_token.len() >= ADMIN_TOKEN_LEN_MIN && may_be_random(&self.admin_token)),
            "admin_token (BURSAR_ADMIN_TOKEN) must have at least 32 characters and be random, such as from \
             `openssl rand -hex 32`",
        );
        need(
            self.secret_key.is_empty() || self.has_random_keys(),
            "secret_key (BURSAR_SECRET_KEY) must be 64 hexadecimal digits and random, such as from \
             `openssl rand -hex 32`",
        );
        need(
            self.webhook_secrets().iter().all(|secret| self.is_likely_webhook_secret(secret)),
            "stripe.webhook_secrets (STRIPE_WEBHOOK_SECRET): each secret must be whsec_ and the text that Stripe shows \
             after it, in live mode at least 24 letters and digits, and not a placeholder",
        );
        need(
            self.has_likely_stripe_key(),
            "stripe.secret_key (STRIPE_SECRET_KEY) must be sk_live_, sk_test_, rk_live_ or rk_test_ and the text that \
             Stripe shows after it, in live mode at least 24 letters and digits, and not a placeholder",
        );
        for (name, url) in [
            ("database_url (DATABASE_URL)", &self.database_url),
            ("amqp_url (AMQP_URL)", &self.amqp_url),
            ("mail.smtp_url (SMTP_URL)", &self.mail.smtp_url),
        ] {
            need(!is_placeholder(url), &format!("{name} holds a placeholder: put the real value in its place"));
        }
    }

    fn has_random_keys(&self) -> bool {
        let keys = split(&self.secret_key);
        seal_keys(&self.secret_key).is_some() && keys.iter().all(|key| may_be_random(key))
    }

    fn is_likely_webhook_secret(&self, secret: &str) -> bool {
        let len_min = if self.stripe.livemode { LIVE_LEN_MIN } else { TEST_LEN_MIN };
        let body = secret.strip_prefix("whsec_").unwrap_or_default();
        body.len() >= len_min && has_stripe_characters(body) && may_be_random(body)
    }

    fn has_likely_stripe_key(&self) -> bool {
        let key = self.stripe.secret_key.trim();
        let body = key.splitn(3, '_').nth(2).unwrap_or_default();
        match key_is_live(key) {
            None => key.is_empty(),
            Some(false) => has_stripe_characters(body),
            Some(true) => body.len() >= LIVE_LEN_MIN && has_stripe_characters(body) && may_be_random(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// As random as real ones.
    const BODY: &str = "4eC39HqLyjWDarjtT1zdp7dc";
    const HEX: &str = "7d1f0a4be95c26838a3be41f6c07d592";

    fn seal_key() -> String {
        hex::encode(rand::random::<[u8; SEAL_KEY_LEN]>())
    }

    fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        match config.check() {
            Ok(()) => Vec::new(),
            Err(Error::Config(problems)) => problems,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn refused(name: &str, text: &str, change: impl FnOnce(&mut Config)) {
        let problems = problems(change);
        assert!(problems.len() == 1 && problems[0].contains(name), "{name}={text}: {problems:?}");
        assert!(text.len() < 20 || !problems[0].contains(text), "{name}: the message shows the secret");
    }

    #[test]
    fn a_placeholder_or_a_few_characters_are_no_webhook_secret_of_stripe() {
        let (same, pair) = (format!("whsec_{}", "a".repeat(40)), format!("whsec_{}", "ab".repeat(20)));
        let twice = format!("whsec_{HEX}, whsec_…");
        for text in ["whsec_", "whsec_…", "…", "whsec_...", "whsec_x", BODY, &same, &pair, &twice] {
            refused("STRIPE_WEBHOOK_SECRET", text, |config| text.clone_into(&mut config.stripe.webhook_secrets));
        }
        let fine = format!("whsec_{BODY},whsec_{HEX}");
        assert_eq!(problems(|config| config.stripe.webhook_secrets = fine), [""; 0]);
    }

    #[test]
    fn a_webhook_secret_is_as_long_as_those_of_stripe_where_real_money_moves() {
        let given = |livemode, secret: &str| {
            problems(|config| {
                secret.clone_into(&mut config.stripe.webhook_secrets);
                config.stripe.livemode = livemode;
            })
        };
        let (whole, short) = (format!("whsec_{BODY}"), format!("whsec_{}", &BODY[1..]));
        assert_eq!([given(true, &whole).len(), given(true, &short).len(), given(false, &short).len()], [0, 1, 0]);
    }

    #[test]
    fn a_placeholder_or_a_few_characters_are_no_key_of_stripe() {
        let same = format!("sk_live_{}", "a".repeat(40));
        for text in ["sk_live_…", "sk_live_", "sk_live_...", "sk_live_1", "pk_live_x", &same] {
            refused("STRIPE_SECRET_KEY", text, |config| {
                text.clone_into(&mut config.stripe.secret_key);
                config.stripe.livemode = true;
            });
        }
        refused("STRIPE_SECRET_KEY", "sk_test_…", |config| "sk_test_…".clone_into(&mut config.stripe.secret_key));
        // A stand-in for Stripe takes any test key.
        assert_eq!(problems(|config| "sk_test_sandbox".clone_into(&mut config.stripe.secret_key)), [""; 0]);
    }

    #[test]
    fn what_anybody_guesses_is_no_secret_of_ours() {
        let guesses = ["…", "a", &"a".repeat(64), &"0".repeat(64), &"ab".repeat(32), &"deadbeef".repeat(8)];
        for text in guesses {
            refused("BURSAR_ADMIN_TOKEN", text, |config| text.clone_into(&mut config.admin_token));
            refused("BURSAR_SECRET_KEY", text, |config| text.clone_into(&mut config.secret_key));
            refused("GITHUB_WEBHOOK_SECRET", text, |config| text.clone_into(&mut config.marketplace.webhook_secrets));
        }
        let token = || HEX.to_owned();
        assert_eq!(problems(|config| config.admin_token = token()), [""; 0]);
        assert_eq!(problems(|config| config.marketplace.webhook_secrets = token()), [""; 0]);
        let keys = [seal_key(), seal_key()].join(", ");
        assert_eq!(problems(|config| config.secret_key = keys), [""; 0]);
    }

    #[test]
    fn a_url_with_a_placeholder_for_its_password_is_refused() {
        refused("DATABASE_URL", "", |config| "sqlite:…".clone_into(&mut config.database_url));
        refused("AMQP_URL", "", |config| "amqp://bursar:…@mq/%2f".clone_into(&mut config.amqp_url));
        refused("SMTP_URL", "", |config| {
            "smtps://user:…@smtp".clone_into(&mut config.mail.smtp_url);
            "billing@example.com".clone_into(&mut config.mail.from);
        });
    }

    #[test]
    fn a_key_says_its_mode_and_anything_else_is_no_key() {
        assert_eq!(key_is_live("sk_live_x"), Some(true));
        assert_eq!(key_is_live("rk_test_x"), Some(false));
        for text in ["", "sk_live_", "sk_test_", "pk_test_x", "whsec_x", "sk_x"] {
            assert_eq!(key_is_live(text), None, "{text}");
        }
    }
}
