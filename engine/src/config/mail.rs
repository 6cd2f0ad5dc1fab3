//! Settings: mail.

use serde::{Deserialize, Serialize};

/// Mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// `smtps://user:password@host` or `smtp://user:password@host:587` (`SMTP_URL`); mail is stored and
    /// not sent if empty. With `smtp://` a server elsewhere must offer STARTTLS, unless the URL ends in
    /// `?tls=opportunistic` or `?tls=none`.
    #[serde(skip_serializing)]
    pub smtp_url: String,
    /// Whom mail comes from, such as `Bursar <billing@example.com>`; must be set where mail is sent.
    pub from: String,
    /// Where answers go; to `from` if empty.
    pub reply_to: String,
    /// What mails call the product.
    pub product_name: String,
    /// Where a customer looks after its billing; mails link to it if set.
    pub billing_url: String,
    /// How long one command of SMTP may take.
    pub timeout_ms: u64,
    /// Most connections to the SMTP server from this process.
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
