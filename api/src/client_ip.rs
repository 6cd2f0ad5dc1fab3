//! The client's IP address, for limits.
//!
//! It is the address of the peer, unless the peer is one of `http.trusted_proxies`. Then it is the last address in
//! `X-Forwarded-For` that is not a trusted proxy's. Each proxy appends the address of its caller, so the addresses
//! before that one may be forged. `Forwarded` (RFC 7239) and `X-Real-IP` are ignored: proxies that do not set them
//! would pass on a forged value.

use crate::app::App;
use ipnet::IpNet;
use poem::http::HeaderMap;
use poem::web::RemoteAddr;
use poem::{Addr, FromRequest, Request, RequestBody};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The header that proxies append addresses to.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Maximum number of addresses read from the header. Real chains of proxies are far shorter.
const HOPS_MAX: usize = 32;

/// The network of one owner: an IPv4 address itself, or the first address of an IPv6 address's /64 (RFC 6177: no site
/// gets less).
pub fn peer_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// Whose limits a request counts against: the network of its client. `None` if that is a trusted proxy itself, which
/// has no limits of its own.
pub fn limited_client(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let client = client_of(request, trusted)?;
    (!trusted.iter().any(|network| network.contains(&client))).then(|| peer_network(client))
}

/// The address of the client that sent a request.
pub fn client_of(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let RemoteAddr(Addr::SocketAddr(peer)) = request.remote_addr() else { return None };
    Some(client_ip(peer.ip(), forwarded(request.headers()).iter().map(AsRef::as_ref), trusted))
}

/// The lines of the header. Bytes that are no text make their own entry unreadable, and not those that proxies appended
/// to it.
fn forwarded(headers: &HeaderMap) -> Vec<Cow<'_, str>> {
    headers.get_all(FORWARDED_FOR).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
}

/// The address of the client that sent the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

impl<'a> FromRequest<'a> for ClientIp {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let trusted = request.data::<Arc<App>>().map_or(&[][..], |app| app.trusted_proxies());
        // The server listens on TCP only. All other peers count as one client.
        Ok(Self(client_of(request, trusted).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// Finds the client's address. `forwarded_for` holds the header's values in order.
fn client_ip<'a>(peer: IpAddr, forwarded_for: impl DoubleEndedIterator<Item = &'a str>, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    let hops = forwarded_for.rev().flat_map(|value| value.rsplit(','));
    for hop in hops.take(HOPS_MAX) {
        if !is_trusted(&client) {
            break;
        }
        // If an entry is unreadable, the proxy that appended it counts as the client.
        let Some(address) = address(hop) else { break };
        client = address.to_canonical();
    }
    client
}

/// Parses an address. Some proxies append a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use poem::http::HeaderValue;

    fn seen(peer: &str, headers: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        client_ip(peer.parse().expect("an address"), headers.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn a_header_from_a_peer_that_is_not_trusted_is_ignored() {
        assert_eq!(seen("203.0.113.7", &["198.51.100.1"], &[]), "203.0.113.7");
        assert_eq!(seen("203.0.113.7", &["198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.7");
    }

    #[test]
    fn behind_trusted_proxies_the_last_untrusted_address_counts() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"], &trusted), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.9"], &trusted), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["1.1.1.1", "198.51.100.1,10.0.0.9"], &trusted), "198.51.100.1");
        assert_eq!(seen("fd00::1", &["2001:db8::7"], &trusted), "2001:db8::7");
    }

    #[test]
    fn without_a_usable_header_the_trusted_proxy_itself_counts() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(seen("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["unknown"], &trusted), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1, garbage, 10.0.0.2"], &trusted), "10.0.0.2");
        assert_eq!(seen("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &trusted), "10.0.0.3");
    }

    #[test]
    fn bytes_that_are_no_text_spoil_only_the_entry_that_they_are_in() {
        let of = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line).expect("a value"));
            }
            let lines = forwarded(&headers);
            seen("10.0.0.1", &lines.iter().map(AsRef::as_ref).collect::<Vec<_>>(), &["10.0.0.0/8"])
        };
        assert_eq!(of(&[b"\xff, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(of(&[b"198.51.100.1", b"\xff, 203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(seen("::ffff:10.0.0.1", &["198.51.100.1:4711"], &trusted), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::7]:443"], &trusted), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &["[2001:db8::7]"], &trusted), "2001:db8::7");
        assert_eq!(seen("10.0.0.1", &["::ffff:198.51.100.1"], &trusted), "198.51.100.1");
    }

    #[test]
    fn the_network_of_an_address_is_its_64_bits_or_itself() {
        let network = |text: &str| peer_network(text.parse().expect("an address")).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.7"), "203.0.113.7");
        assert_eq!(network("::ffff:203.0.113.7"), "203.0.113.7");
    }

    #[test]
    fn only_the_last_addresses_of_a_long_header_are_read() {
        let endless = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1", &endless], &["10.0.0.0/8"]), "10.0.0.2");
    }
}
