//! The settings that hold secrets, and the check that each may be genuine: long enough, random, and no placeholder or
//! example from a document.

mod guess;

use super::{Config, STRIPE_API_BASE, split};
use guess::{is_placeholder, may_be_random};
use zeroize::Zeroizing;

pub(super) use guess::is_placeholder as has_placeholder;

/// Length of a sealing key, in bytes.
pub(crate) const SEAL_KEY_LEN: usize = 32;

/// What a secret looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    /// A random text of the operator's choice.
    Random,
    /// Hexadecimal digits, all of them random.
    Hexadecimal,
    /// Stripe's secret of a webhook: `whsec_` and a random text.
    StripeWebhook,
    /// Stripe's secret or restricted key: `sk_live_`, `sk_test_`, `rk_live_` or `rk_test_` and a random text.
    StripeKey,
    /// The password in a URL. Its length is its server's affair.
    UrlPassword,
}

/// A setting that holds a secret, or several.
#[derive(Debug, Clone, Copy)]
pub struct SecretSetting {
    /// The setting, such as `stripe.secret_key`.
    pub setting: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// What it looks like.
    pub form: SecretForm,
    /// The shortest, in characters after Stripe's prefix.
    pub len_min: usize,
    /// The same where something stands in for Stripe, or Stripe is not used at all.
    pub len_min_stand_in: usize,
    values: fn(&Config) -> Vec<String>,
}

/// Every setting that holds a secret.
pub const SECRETS: [SecretSetting; 8] = [
    secret("admin_token", "BURSAR_ADMIN_TOKEN", SecretForm::Random, [32, 32], |config| one(&config.admin_token)),
    secret("secret_key", "BURSAR_SECRET_KEY", SecretForm::Hexadecimal, [64, 64], |config| split(&config.secret_key)),
    secret(
        "stripe.webhook_secrets",
        "STRIPE_WEBHOOK_SECRET",
        SecretForm::StripeWebhook,
        // Stripe's have at least 24.
        [24, 16],
        Config::webhook_secrets,
    ),
    secret("stripe.secret_key", "STRIPE_SECRET_KEY", SecretForm::StripeKey, [24, 1], |config| {
        one(&config.stripe.secret_key)
    }),
    secret("marketplace.webhook_secrets", "GITHUB_WEBHOOK_SECRET", SecretForm::Random, [16, 16], |config| {
        config.marketplace.webhook_secrets()
    }),
    secret("database_url", "DATABASE_URL", SecretForm::UrlPassword, [0, 0], |config| one(&config.database_url)),
    secret("amqp_url", "AMQP_URL", SecretForm::UrlPassword, [0, 0], |config| one(&config.amqp_url)),
    secret("mail.smtp_url", "SMTP_URL", SecretForm::UrlPassword, [0, 0], |config| one(&config.mail.smtp_url)),
];

const fn secret(
    setting: &'static str,
    variable: &'static str,
    form: SecretForm,
    [len_min, len_min_stand_in]: [usize; 2],
    values: fn(&Config) -> Vec<String>,
) -> SecretSetting {
    SecretSetting { setting, variable, form, len_min, len_min_stand_in, values }
}

fn one(value: &str) -> Vec<String> {
    let value = value.trim();
    if value.is_empty() { Vec::new() } else { vec![value.to_owned()] }
}

impl SecretSetting {
    /// Whether a value may be genuine. `is_real`: Stripe itself is used, and not a stand-in.
    pub fn admits(&self, value: &str, is_real: bool) -> bool {
        let len_min = if is_real { self.len_min } else { self.len_min_stand_in };
        let is_long = |body: &str| body.chars().count() >= len_min;
        match self.form {
            SecretForm::Random => is_long(value) && may_be_random(value),
            SecretForm::Hexadecimal => value.len() == len_min && seal_keys(value).is_some() && may_be_random(value),
            SecretForm::StripeWebhook => value
                .strip_prefix("whsec_")
                .is_some_and(|body| is_long(body) && has_stripe_characters(body) && may_be_random(body)),
            SecretForm::StripeKey => key_is_live(value).is_some_and(|_| {
                let body = value.splitn(3, '_').nth(2).unwrap_or_default();
                is_long(body) && has_stripe_characters(body) && (!is_real || may_be_random(body))
            }),
            SecretForm::UrlPassword => !is_placeholder(value) && !has_example_password(value),
        }
    }

    /// What to do about a value that is not admitted. The value is not shown.
    fn problem(&self) -> String {
        let Self { setting, variable, len_min, len_min_stand_in, .. } = self;
        let name = format!("{setting} ({variable})");
        match self.form {
            SecretForm::Random => format!(
                "{name} must have at least {len_min} characters and be random, such as from `openssl rand -hex 32`"
            ),
            SecretForm::Hexadecimal => {
                format!("{name} must be {len_min} hexadecimal digits and random, such as from `openssl rand -hex 32`")
            }
            SecretForm::StripeWebhook => format!(
                "{name}: each secret must be whsec_ and the text that Stripe shows after it, with at least {len_min} \
                 letters and digits ({len_min_stand_in} where something stands in for Stripe), random, and not a \
                 placeholder"
            ),
            SecretForm::StripeKey => format!(
                "{name} must be sk_live_, sk_test_, rk_live_ or rk_test_ and the text that Stripe shows after it, with \
                 at least {len_min} letters and digits unless something stands in for Stripe, and not a placeholder or \
                 the key in Stripe's documents"
            ),
            SecretForm::UrlPassword => format!("{name} holds a placeholder: put the real value in its place"),
        }
    }
}

/// Whether a URL has the password that documents print.
fn has_example_password(url: &str) -> bool {
    let password = reqwest::Url::parse(url).ok().and_then(|url| url.password().map(str::to_lowercase));
    password.is_some_and(|password| password == "password")
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
    /// A message for each setting with a secret that cannot be genuine. Settings without a value have none.
    pub fn secret_problems(&self) -> Vec<String> {
        let is_real = self.stripe.livemode || (self.has_stripe() && self.has_stripes_own_api());
        let is_wrong = |secret: &&SecretSetting| {
            let is_empty = split(&self.secret_key).is_empty() && !self.secret_key.is_empty();
            (secret.setting == "secret_key" && is_empty)
                || (secret.values)(self).iter().any(|value| !secret.admits(value, is_real))
        };
        SECRETS.iter().filter(is_wrong).map(SecretSetting::problem).collect()
    }

    /// The values of all secrets, for tests that look for them.
    #[cfg(test)]
    pub(super) fn secret_values(&self) -> Vec<String> {
        SECRETS.iter().flat_map(|secret| (secret.values)(self)).collect()
    }

    /// Reports each secret that cannot be genuine.
    pub(super) fn check_secrets(&self, need: &mut impl FnMut(bool, &str)) {
        self.secret_problems().iter().for_each(|problem| need(false, problem));
    }

    /// Whether calls go to Stripe itself, and not to a stand-in.
    pub fn has_stripes_own_api(&self) -> bool {
        let base = self.stripe.api_base.trim().trim_end_matches('/');
        base.is_empty() || base == STRIPE_API_BASE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// As random as real ones.
    const BODY: &str = "7bR41KqTyxWFdsmvN9zgp2hc";
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
    fn a_webhook_secret_is_as_long_as_those_of_stripe_unless_something_stands_in() {
        let given = |livemode, key: &str, base: &str, secret: &str| {
            let found = problems(|config| {
                secret.clone_into(&mut config.stripe.webhook_secrets);
                config.stripe.livemode = livemode;
                key.clone_into(&mut config.stripe.secret_key);
                base.clone_into(&mut config.stripe.api_base);
            });
            found.len()
        };
        let (whole, short) = (format!("whsec_{BODY}"), format!("whsec_{}", &BODY[..16]));
        let (key, shorter) = (format!("sk_test_{BODY}"), format!("whsec_{}", &BODY[..15]));
        assert_eq!([given(true, "", "", &whole), given(true, "", "", &short)], [0, 1]);
        assert_eq!([given(false, &key, "", &whole), given(false, &key, "", &short)], [0, 1]);
        assert_eq!([given(false, "", "", &short), given(false, "", "", &shorter)], [0, 1]);
        assert_eq!(given(false, &key, "http://127.0.0.1:12111", &short), 0);
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
        // A stand-in for Stripe takes any test key. Stripe does not.
        refused("STRIPE_SECRET_KEY", "sk_test_sandbox", |config| {
            "sk_test_sandbox".clone_into(&mut config.stripe.secret_key);
        });
        // The key in Stripe's documents.
        refused("STRIPE_SECRET_KEY", "sk_test_4eC39HqLyjWDarjtT1zdp7dc", |config| {
            "sk_test_4eC39HqLyjWDarjtT1zdp7dc".clone_into(&mut config.stripe.secret_key);
        });
        let stood_in = problems(|config| {
            "sk_test_sandbox".clone_into(&mut config.stripe.secret_key);
            "http://127.0.0.1:12111".clone_into(&mut config.stripe.api_base);
        });
        assert_eq!(stood_in, [""; 0]);
    }

    #[test]
    fn what_anybody_guesses_is_no_secret_of_ours() {
        let guesses = ["…", "a", &"a".repeat(64), &"0".repeat(64), &"ab".repeat(32), &"deadbeef".repeat(8)];
        for text in guesses {
            refused("BURSAR_ADMIN_TOKEN", text, |config| text.clone_into(&mut config.admin_token));
            refused("BURSAR_SECRET_KEY", text, |config| text.clone_into(&mut config.secret_key));
            refused("GITHUB_WEBHOOK_SECRET", text, |config| text.clone_into(&mut config.marketplace.webhook_secrets));
        }
        let sequence = "0123456789abcdef".repeat(4);
        refused("BURSAR_SECRET_KEY", &sequence, |config| sequence.clone_into(&mut config.secret_key));
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
        for url in ["smtps://user:…@smtp", "smtps://user:password@smtp.example.com"] {
            refused("SMTP_URL", "", |config| {
                url.clone_into(&mut config.mail.smtp_url);
                "billing@example.com".clone_into(&mut config.mail.from);
                "https://billing.example.com".clone_into(&mut config.public_url);
            });
        }
    }

    #[test]
    fn every_setting_with_a_secret_is_in_the_table_and_is_never_serialised() {
        let settings = serde_json::to_value(Config::default()).expect("settings are JSON");
        for SecretSetting { setting, variable, .. } in SECRETS {
            let path = format!("/{}", setting.replace('.', "/"));
            assert!(settings.pointer(&path).is_none(), "{setting} would be shown wherever the settings are");
            assert!(crate::config::is_known_variable(variable) || !variable.starts_with("BURSAR_"), "{variable}");
        }
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let mut config = Config::default();
        let text = || format!("aZ7k{BODY}");
        config.admin_token = text();
        config.secret_key = text();
        config.database_url = text();
        config.amqp_url = text();
        config.stripe.webhook_secrets = text();
        config.stripe.secret_key = text();
        config.marketplace.webhook_secrets = text();
        config.mail.smtp_url = text();
        let shown = [
            format!("{config:?}"),
            format!("{:?}", config.stripe),
            format!("{:?}", config.marketplace),
            format!("{:?}", config.mail),
        ];
        assert!(shown.iter().all(|text| !text.contains("aZ7k") && text.contains("_")), "{shown:?}");
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
