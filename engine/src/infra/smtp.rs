//! Delivers mail by SMTP, or only stores it if no server is configured.
//!
//! SMTP delivers at least once: if the connection breaks after the server accepted a mail, the sender does not know
//! and sends it again. So each mail has one Message-ID for all its attempts, which lets receivers recognise the
//! repetition.

use super::seal::SealBox;
use crate::clock::TimeMs;
use crate::config::{Config, MailConfig, normalize_smtp_url, parse_mailbox, sender};
use crate::domain::mail::{Branding, Rendered};
use crate::domain::preflight::mail::Encryption;
use crate::error::{Error, Result};
use crate::ids::MailId;
use lettre::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

/// A delivery may take this many times the timeout of one command.
const COMMANDS_MAX: u32 = 4;
/// How long the result of a health check is cached.
const HEALTH_TTL: Duration = Duration::from_secs(10);
/// The timeout of a health check.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Status codes about Bursar's account rather than the mail: authentication is required, failed, too weak, or needs
/// encryption. Source: RFC 4954, section 6.
const OWN_ACCOUNT_CODES: [&str; 4] = ["530", "534", "535", "538"];

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Renders and sends mail. Cheap to clone.
#[derive(Clone)]
pub struct Mailer(Arc<Inner>);

struct Inner {
    branding: Branding,
    seal: SealBox,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    smtp: Option<Smtp>,
}

struct Smtp {
    transport: Transport,
    permits: Semaphore,
    timeout: Duration,
    health: Mutex<Option<(Instant, Health)>>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("from", &self.0.from).field("sends", &self.0.smtp.is_some()).finish()
    }
}

/// A mail to send.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its identifier, from which the Message-ID is made.
    pub id: MailId,
    /// The address.
    pub recipient: String,
    /// Its contents.
    pub rendered: Rendered,
    /// When it is sent.
    pub now_ms: TimeMs,
}

/// The result of sending a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The server accepted it.
    Sent,
    /// No server is configured: it must be stored.
    Stored,
}

/// The result of the last health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The server answered after this time.
    Up(Duration),
    /// The server did not answer, or not as an SMTP server.
    Down,
}

/// Why a mail was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// All connections are in use.
    Busy,
    /// A failure that may pass.
    Temporary(String),
    /// The server refused the mail, or the address is invalid.
    Refused(String),
}

impl Mailer {
    /// Builds a mailer from the settings.
    ///
    /// # Errors
    /// `Config` if the URL, an address or the key is invalid.
    pub fn new(config: &Config) -> Result<Self> {
        let mail = &config.mail;
        let wrong = |problem: String| Error::Config(vec![problem]);
        let from = sender(mail).map_err(wrong)?;
        let smtp = match mail.smtp_url.trim() {
            "" => None,
            url => Some(Smtp {
                transport: build_transport(url, mail, &from).map_err(wrong)?,
                permits: Semaphore::new(mail.connections_max),
                timeout: Duration::from_millis(mail.timeout_ms),
                health: Mutex::new(None),
            }),
        };
        let reply_to = parse_mailbox("mail.reply_to", &mail.reply_to).map_err(wrong)?;
        let seal = SealBox::new(&config.secret_key)?;
        Ok(Self(Arc::new(Inner { branding: Branding::new(config), seal, from, reply_to, smtp })))
    }

    /// The settings that appear in mails.
    pub fn branding(&self) -> &Branding {
        &self.0.branding
    }

    /// Seals secrets until they are mailed.
    pub fn seal(&self) -> &SealBox {
        &self.0.seal
    }

    /// The Message-ID of a mail, the same for all its attempts.
    pub fn message_id(&self, id: &MailId) -> String {
        format!("<{id}@{}>", self.0.from.email.domain())
    }

    /// Sends a mail if a server is configured.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, letter: &Letter) -> Result<Delivery, SendError> {
        let Some(smtp) = &self.0.smtp else { return Ok(Delivery::Stored) };
        let message = self.build_message(letter).map_err(SendError::Refused)?;
        let permit = tokio::time::timeout(smtp.timeout, smtp.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(SendError::Busy) };
        let limit = smtp.timeout * COMMANDS_MAX;
        match tokio::time::timeout(limit, smtp.transport.send(message)).await {
            Ok(Ok(_)) => Ok(Delivery::Sent),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(SendError::Temporary(format!("the SMTP server took longer than {} ms", limit.as_millis()))),
        }
    }

    fn build_message(&self, letter: &Letter) -> Result<Message, String> {
        let address: Address =
            letter.recipient.parse().map_err(|error| format!("mail cannot go to this address: {error}"))?;
        let at = UNIX_EPOCH + Duration::from_millis(letter.now_ms.unsigned_abs());
        let mut builder = Message::builder()
            .message_id(Some(self.message_id(&letter.id)))
            .date(at)
            .from(self.0.from.clone())
            .to(Mailbox::new(None, address))
            .subject(letter.rendered.subject.as_str())
            // RFC 3834: prevents automatic replies.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if let Some(reply_to) = &self.0.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let Rendered { text, html, .. } = letter.rendered.clone();
        let parts = MultiPart::alternative_plain_html(text, html);
        builder.multipart(parts).map_err(|error| format!("the mail cannot be put together: {error}"))
    }

    /// The state of the server; `None` if none is configured. The result is cached, so the server is seldom asked.
    pub async fn health(&self) -> Option<Health> {
        let smtp = self.0.smtp.as_ref()?;
        let mut known = smtp.health.lock().await;
        match *known {
            Some((at, health)) if at.elapsed() < HEALTH_TTL => Some(health),
            _ => {
                let started = Instant::now();
                let asked = tokio::time::timeout(HEALTH_TIMEOUT, smtp.transport.test_connection()).await;
                let is_up = matches!(asked, Ok(Ok(true)));
                let health = if is_up { Health::Up(started.elapsed()) } else { Health::Down };
                *known = Some((Instant::now(), health));
                Some(health)
            }
        }
    }
}

/// Connects to the server of the settings and logs in, as a mail would, without sending one.
///
/// # Errors
/// Why no mail could be sent.
pub async fn try_login(mail: &MailConfig) -> Result<(), String> {
    let from = sender(mail)?;
    let url = normalize_smtp_url(mail.smtp_url.trim())?;
    let transport = build_transport(&url, mail, &from)?;
    match transport.test_connection().await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the SMTP server ended the connection".to_owned()),
        Err(error) => Err(match classify(&error) {
            SendError::Temporary(reason) | SendError::Refused(reason) => reason,
            SendError::Busy => error.to_string(),
        }),
    }
}

/// Whether a connection to the server of the settings is encrypted, and whether the server is on this machine.
///
/// # Errors
/// The URL cannot be used.
pub fn encryption(mail: &MailConfig) -> Result<(Encryption, bool), String> {
    let url = normalize_smtp_url(mail.smtp_url.trim())?;
    let parsed = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
    let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let tls = parsed.query_pairs().find(|(name, _)| name == "tls").map(|(_, value)| value.into_owned());
    let encryption = match (parsed.scheme(), tls.as_deref()) {
        ("smtps", _) | (_, Some("required")) => Encryption::Always,
        (_, Some("opportunistic")) => Encryption::IfOffered,
        _ => Encryption::Never,
    };
    Ok((encryption, is_local))
}

/// Codes of class 4 and broken connections are temporary; codes of class 5 are permanent (RFC 5321, section 4.2.1),
/// unless they are about Bursar's own credentials: one wrong setting must not discard every mail.
fn classify(error: &lettre::transport::smtp::Error) -> SendError {
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    let reason = match std::error::Error::source(error) {
        Some(source) if !code.is_empty() => format!("the SMTP server answered {code} {source}"),
        Some(source) => format!("{error}: {source}").replacen(&format!("{source}: {source}"), &source.to_string(), 1),
        None => error.to_string(),
    };
    if error.is_permanent() && !OWN_ACCOUNT_CODES.contains(&code.as_str()) {
        SendError::Refused(reason)
    } else {
        SendError::Temporary(reason)
    }
}

fn build_transport(url: &str, mail: &MailConfig, from: &Mailbox) -> Result<Transport, String> {
    let url = normalize_smtp_url(url)?;
    let has_name = reqwest::Url::parse(&url).is_ok_and(|url| url.path().len() > 1);
    let wrong = |error: lettre::transport::smtp::Error| format!("mail.smtp_url (SMTP_URL) cannot be used: {error}");
    let mut builder = Transport::from_url(&url).map_err(wrong)?;
    if !has_name {
        // The host name for HELO; some servers refuse a bare address.
        builder = builder.hello_name(ClientId::Domain(from.email.domain().to_owned()));
    }
    Ok(builder.timeout(Some(Duration::from_millis(mail.timeout_ms))).build())
}
