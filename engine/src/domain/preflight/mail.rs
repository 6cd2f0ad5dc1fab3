//! Preflight: the SMTP server.

use super::Finding;

/// The login.
pub const LOGIN: &str = "mail.login";
/// The encryption on the way.
pub const ENCRYPTION: &str = "mail.encryption";

/// How a connection is protected, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It is always encrypted.
    Always,
    /// It is encrypted if the server offers it, so that whoever is between can prevent it.
    IfOffered,
    /// It is never encrypted.
    Never,
}

/// Judges the login, which says why it failed.
pub fn judge_login(tried: Result<(), &str>) -> Finding {
    match tried {
        Ok(()) => Finding::ok(LOGIN, "the SMTP server accepts the connection and the login"),
        Err(reason) if reason.contains("STARTTLS") => {
            let remedy =
                "use smtps://, or a server that offers STARTTLS; ?tls=none at the end of SMTP_URL sends unencrypted";
            Finding::fail(LOGIN, format!("no mail can be sent: {reason}"), remedy)
        }
        Err(reason) => {
            let remedy = "check host, port, user and password in SMTP_URL, with special characters percent-encoded";
            Finding::fail(LOGIN, format!("no mail can be sent: {reason}"), remedy)
        }
    }
}

/// Judges the encryption. API keys are in mails.
pub fn judge_encryption(encryption: Encryption, is_on_this_machine: bool) -> Finding {
    let remedy = "use smtps://, or smtp:// without ?tls=, which requires STARTTLS";
    match encryption {
        Encryption::Always => Finding::ok(ENCRYPTION, "mail is encrypted on its way to the SMTP server"),
        _ if is_on_this_machine => Finding::ok(ENCRYPTION, "the SMTP server is on this machine"),
        Encryption::IfOffered => {
            Finding::warn(ENCRYPTION, "mail is encrypted on its way to the SMTP server only if that offers it", remedy)
        }
        Encryption::Never => Finding::warn(
            ENCRYPTION,
            "mail, with API keys in it, crosses the network to the SMTP server unencrypted",
            remedy,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_refused_login_fails_and_says_why() {
        let finding = judge_login(Err("the SMTP server answered 535 Incorrect authentication data"));
        assert!(finding.state == State::Fail && finding.message.contains("535"), "{finding:?}");
        let finding = judge_login(Err("STARTTLS is not supported on this server"));
        assert!(finding.remedy.is_some_and(|remedy| remedy.contains("smtps://")));
    }

    #[test]
    fn unencrypted_mail_across_a_network_is_warned_of() {
        let state = |encryption, is_local| judge_encryption(encryption, is_local).state;
        assert_eq!([state(Encryption::Always, false), state(Encryption::Never, true)], [State::Ok; 2]);
        assert_eq!([state(Encryption::IfOffered, false), state(Encryption::Never, false)], [State::Warn; 2]);
    }
}
