//! Preflight: the SMTP server.

use super::within_limit;
use crate::config::Config;
use crate::domain::preflight::Finding;
use crate::domain::preflight::mail::{ENCRYPTION, LOGIN, judge_encryption, judge_login};
use crate::infra::smtp;

/// Logs in at the SMTP server, if one is configured.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    if !config.sends_mail() {
        let why = "no SMTP server is set (SMTP_URL): mail is stored and not sent";
        return [LOGIN, ENCRYPTION].map(|name| Finding::skipped(name, why)).to_vec();
    }
    let mail = config.mail.clone();
    let encryption = match smtp::encryption(&mail) {
        Ok((encryption, is_on_this_machine)) => judge_encryption(encryption, is_on_this_machine),
        Err(_) => Finding::skipped(ENCRYPTION, "SMTP_URL cannot be used"),
    };
    let login = async move {
        let tried = smtp::try_login(&mail).await;
        vec![judge_login(tried.as_ref().copied().map_err(String::as_str))]
    };
    [within_limit(&[LOGIN], login).await, vec![encryption]].concat()
}
