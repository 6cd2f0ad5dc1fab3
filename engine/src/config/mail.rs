//! Settings: mail.

use super::debug_without_secrets;
use lettre::Address;
use lettre::message::Mailbox;
use serde::{Deserialize, Serialize};

debug_without_secrets!(MailConfig);

/// Mail.
#[derive(Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://user:password@host` or `smtp://user:password@host:587` (`SMTP_URL`). If empty, mail is stored and
    /// not sent. With `smtp://` a remote server must offer STARTTLS, unless the URL ends in `?tls=opportunistic` or
    /// `?tls=none`.
    #[serde(skip_serializing)]
    pub smtp_url: String,
    /// The sender, such as `Bursar <billing@example.com>`; required where mail is sent.
    pub from: String,
    /// The address for replies; `from` if empty.
    pub reply_to: String,
    /// The product's name in mails.
    pub product_name: String,
    /// The customer's billing page; mails link to it if set.
    pub billing_url: String,
    /// The longest duration of one SMTP command.
    pub timeout_ms: u64,
    /// Maximum number of connections to the SMTP server from this process.
    pub connections_max: usize,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            smtp_url: String::new(),
            from: String::new(),
            reply_to: String::new(),
            product_name: "Bursar".to_owned(),
            billing_url: String::new(),
            timeout_ms: 10_000,
            connections_max: 4,
        }
    }
}

/// Every problem with the mail settings, one sentence each.
pub(super) fn problems(mail: &MailConfig) -> Vec<String> {
    let from = sender(mail);
    let url = match mail.smtp_url.trim() {
        "" => Ok(String::new()),
        url => normalize_smtp_url(url),
    };
    let reply_to = parse_mailbox("mail.reply_to", &mail.reply_to);
    [from.err(), url.err(), reply_to.err()].into_iter().flatten().collect()
}

/// The sender; a placeholder if neither a sender nor a server is set.
pub(crate) fn sender(mail: &MailConfig) -> Result<Mailbox, String> {
    match parse_mailbox("mail.from", &mail.from)? {
        Some(from) => Ok(from),
        None if mail.smtp_url.trim().is_empty() => Ok(Mailbox::new(
            Some(mail.product_name.clone()),
            Address::new("nobody", "localhost").map_err(|error| error.to_string())?,
        )),
        None => Err("mail.from (BURSAR_MAIL__FROM) must be set, because mail.smtp_url (SMTP_URL) is set".to_owned()),
    }
}

pub(crate) fn parse_mailbox(field: &str, text: &str) -> Result<Option<Mailbox>, String> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(mailbox) => Ok(Some(mailbox)),
            Err(error) => Err(format!("{field} must be like `Bursar <billing@example.com>`: {error}")),
        },
    }
}

/// Normalises the URL for the transport. Without `tls=` a remote server must offer STARTTLS, so that credentials
/// and API keys never cross a network in the clear.
pub(crate) fn normalize_smtp_url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        format!(
            "mail.smtp_url (SMTP_URL) must be like smtps://user:password@host or smtp://user:password@host:587: {why}"
        )
    };
    let mut url = reqwest::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    let Some(host) = url.host_str().map(str::to_owned).filter(|host| !host.is_empty()) else {
        return Err(wrong("it names no host"));
    };
    if url.username().is_empty() != url.password().is_none() {
        return Err(wrong("give both a user and a password, or neither"));
    }
    let tls = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    match (url.scheme(), tls.as_deref()) {
        ("smtps", None) | ("smtp", Some("required" | "opportunistic")) => {}
        ("smtp", None) if is_local => {}
        ("smtp", None) => url.set_query(Some("tls=required")),
        ("smtp", Some("none")) => url.set_query(None),
        ("smtp", Some(_)) => return Err(wrong("tls must be one of required, opportunistic, none")),
        ("smtps", Some(_)) => return Err(wrong("smtps:// takes no tls=")),
        _ => return Err(wrong("it begins with neither smtp:// nor smtps://")),
    }
    Ok(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_must_encrypt_unless_the_url_says_otherwise() {
        for (given, taken) in [
            ("smtps://u:p@mail.example.com", "smtps://u:p@mail.example.com"),
            ("smtp://u:p@mail.example.com:587", "smtp://u:p@mail.example.com:587?tls=required"),
            ("smtp://mail.example.com?tls=opportunistic", "smtp://mail.example.com?tls=opportunistic"),
            ("smtp://mail.example.com?tls=none", "smtp://mail.example.com"),
            ("smtp://127.0.0.1:2525", "smtp://127.0.0.1:2525"),
            ("smtp://localhost:25", "smtp://localhost:25"),
        ] {
            assert_eq!(normalize_smtp_url(given).as_deref(), Ok(taken), "{given}");
        }
        for wrong in [
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtp://user@mail.example.com",
            "smtp://mail.example.com?tls=maybe",
            "smtps://mail.example.com?tls=none",
        ] {
            assert!(normalize_smtp_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_problem_of_the_settings_is_told_and_none_tells_the_password() {
        let mail = MailConfig {
            smtp_url: "smtp://user:s3cret@host?tls=maybe".to_owned(),
            reply_to: "nobody".to_owned(),
            ..MailConfig::default()
        };
        let problems = problems(&mail);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains("s3cret")));
        assert!(super::problems(&MailConfig::default()).is_empty());
    }
}
