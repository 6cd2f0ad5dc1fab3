//! Decides whether a signup is allowed: the switch, the rate limit for each IP address, disposable domains. In this
//! order every attempt counts, even with a refused or taken e-mail address, so that probing for known addresses is
//! as slow as signing up.

use crate::clock::TimeMs;
use crate::config::OnboardingConfig;
use crate::domain::disposable::is_disposable;
use crate::domain::email::Email;
use crate::error::{Error, Result};
use crate::infra::store::Db;
use crate::usecase::rate_limit;
use std::net::{IpAddr, Ipv6Addr};

const MINUTE_MS: i64 = 60 * 1_000;
/// Bits of an IPv6 address that identify a network with one owner (RFC 6177: no site gets less than a /64).
const IPV6_NETWORK_BITS: u32 = 64;

/// Checks whether an attempt to sign up is allowed.
///
/// # Errors
/// `onboarding_disabled`; [`Error::RateLimited`]; `invalid_email`; `email_disposable`.
pub async fn admit(db: &Db, config: &OnboardingConfig, email: &str, from: IpAddr, now_ms: TimeMs) -> Result<()> {
    if !config.enabled {
        return Err(Error::SwitchedOff {
            code: "onboarding_disabled",
            message: "Signing up is switched off. Existing customers are not affected.",
        });
    }
    if config.per_ip_per_minute > 0 {
        let key = limit_key(from);
        rate_limit::take(db, &key, config.per_ip_per_minute, MINUTE_MS, now_ms).await?.into_result()?;
    }
    let email = Email::parse(email)?;
    if is_disposable(email.domain(), &config.domains_allowed, &config.domains_denied) {
        return Err(Error::NotAccepted {
            code: "email_disposable",
            message: "addresses of this domain are not accepted; use a permanent one".to_owned(),
        });
    }
    Ok(())
}

/// The key of the rate limit: an IPv4 address, or an IPv6 network of 64 bits, because its owner has all its
/// addresses.
fn limit_key(from: IpAddr) -> String {
    match from.to_canonical() {
        IpAddr::V4(address) => format!("signup:{address}"),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS;
            format!("signup:{}/{IPV6_NETWORK_BITS}", Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        limit_key(text.parse().unwrap_or_else(|_| panic!("{text}")))
    }

    #[test]
    fn ipv4_is_counted_by_address_and_ipv6_by_its_first_64_bits() {
        assert_eq!(key("203.0.113.7"), "signup:203.0.113.7");
        assert_eq!(key("::ffff:203.0.113.7"), key("203.0.113.7"));
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), "signup:2001:db8:1:2::/64");
        assert_eq!(key("2001:db8:1:2::9"), key("2001:db8:1:2:ffff::1"));
        assert_ne!(key("2001:db8:1:3::9"), key("2001:db8:1:2::9"));
    }
}
