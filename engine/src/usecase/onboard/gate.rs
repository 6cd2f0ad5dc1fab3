//! Decides whether a signup is allowed: the switch, the rate limits of its IP address, disposable domains. In this
//! order every attempt counts, even with a refused or taken e-mail address, so that probing for known addresses is
//! as slow as signing up.
//!
//! An IPv4 address costs money, and IPv6 addresses cost none: a site has a /48 with 65,536 networks of 64 bits, and a
//! provider of tunnels gives away one site after another. So IPv6 has two limits more, for a site and for all of them.

use crate::clock::TimeMs;
use crate::config::OnboardingConfig;
use crate::domain::disposable::is_disposable;
use crate::domain::email::Email;
use crate::domain::rate_limit::Quota;
use crate::domain::rate_limit::log::Left;
use crate::error::{Error, Result};
use crate::infra::store::Db;
use crate::usecase::rate_limit;
use std::net::{IpAddr, Ipv6Addr};

const MINUTE_MS_U32: u32 = 60 * 1_000;
const MINUTE_MS: i64 = MINUTE_MS_U32 as i64;
/// Bits of an IPv6 address that identify a network with one owner (RFC 6177: no site gets less than a /64).
const IPV6_NETWORK_BITS: u32 = 64;
/// Bits of an IPv6 address that identify a site (RFC 6177: a site gets at most a /48).
const IPV6_SITE_BITS: u32 = 48;

/// Checks whether an attempt to sign up is allowed. Returns what is left of the limit of its address or network, if
/// there is one.
///
/// # Errors
/// `onboarding_disabled`; [`Error::RateLimited`]; `invalid_email`; `email_disposable`.
pub async fn admit(
    db: &Db,
    config: &OnboardingConfig,
    email: &str,
    from: IpAddr,
    now_ms: TimeMs,
) -> Result<Option<Left>> {
    if !config.enabled {
        return Err(Error::SwitchedOff {
            code: "onboarding_disabled",
            message: "Signing up is switched off. Existing customers are not affected.",
        });
    }
    let mut narrow = None;
    for (key, per_minute) in limits(config, from) {
        let (admission, units) = rate_limit::take_counted(db, &key, per_minute, MINUTE_MS, now_ms).await?;
        admission.into_result()?;
        narrow.get_or_insert(Left { units, full_after_ms: MINUTE_MS });
    }
    let email = Email::parse(email)?;
    if is_disposable(email.domain(), &config.domains_allowed, &config.domains_denied) {
        return Err(Error::NotAccepted {
            code: "email_disposable",
            message: "addresses of this domain are not accepted; use a permanent one".to_owned(),
        });
    }
    Ok(narrow.filter(|_| config.per_ip_per_minute > 0))
}

/// The limit of an address or network, as answers name it.
pub fn limit_of_client(config: &OnboardingConfig) -> Option<Quota> {
    Quota::from_rate(config.per_ip_per_minute, MINUTE_MS_U32, config.per_ip_per_minute)
}

/// The rate limits of an address, each with its key: an IPv4 address by itself; an IPv6 address with its network, whose
/// owner has all its addresses, with its site, and with all of IPv6. The narrow one comes first, so that one network
/// cannot use up what all share.
fn limits(config: &OnboardingConfig, from: IpAddr) -> Vec<(String, u32)> {
    let mut limits = vec![(format!("signup:{}", client_network(from)), config.per_ip_per_minute)];
    if let IpAddr::V6(address) = from.to_canonical() {
        let site = format!("signup:{}", prefix(address, IPV6_SITE_BITS));
        limits.push((site, config.per_ipv6_site_per_minute));
        limits.push(("signup:ipv6".to_owned(), config.ipv6_per_minute));
    }
    limits.into_iter().filter(|(_, per_minute)| *per_minute > 0).collect()
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits.
pub fn client_network(from: IpAddr) -> String {
    match from.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => prefix(address, IPV6_NETWORK_BITS),
    }
}

/// The first bits of an IPv6 address, such as `2001:db8:1::/48`.
fn prefix(address: Ipv6Addr, bits: u32) -> String {
    let others = Ipv6Addr::BITS - bits;
    format!("{}/{bits}", Ipv6Addr::from_bits(address.to_bits() >> others << others))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits_of(text: &str) -> Vec<(String, u32)> {
        limits(&OnboardingConfig::default(), text.parse().unwrap_or_else(|_| panic!("{text}")))
    }

    #[test]
    fn ipv4_is_counted_by_address_and_ipv6_by_network_site_and_in_all() {
        assert_eq!(limits_of("203.0.113.7"), [("signup:203.0.113.7".to_owned(), 10)]);
        assert_eq!(limits_of("::ffff:203.0.113.7"), limits_of("203.0.113.7"));
        let all = [("signup:2001:db8:1:2::/64", 10), ("signup:2001:db8:1::/48", 30), ("signup:ipv6", 300)];
        assert_eq!(limits_of("2001:db8:1:2:3:4:5:6"), all.map(|(key, limit)| (key.to_owned(), limit)));
        assert_eq!(limits_of("2001:db8:1:2::9"), limits_of("2001:db8:1:2:ffff::1"));
        let (one, other) = (limits_of("2001:db8:1:3::9"), limits_of("2001:db8:1:2::9"));
        assert!(one[0] != other[0] && one[1..] == other[1..]);
        assert_ne!(limits_of("2001:db8:2::9")[1], other[1]);
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let config = OnboardingConfig { per_ip_per_minute: 0, ipv6_per_minute: 0, ..OnboardingConfig::default() };
        let of = |text: &str| limits(&config, text.parse().expect("an address")).len();
        assert_eq!([of("203.0.113.7"), of("2001:db8::1")], [0, 1]);
    }
}
