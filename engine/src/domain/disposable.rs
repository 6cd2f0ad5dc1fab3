//! Domains of throwaway e-mail addresses. The list is public, stored in `engine/data/disposable_domains.txt` and
//! updated by `./dev update-disposable-domains`.

use std::sync::LazyLock;

/// One domain a line, sorted by bytes; lines beginning with `#` are comments.
const LIST: &str = include_str!("../../data/disposable_domains.txt");

static DOMAINS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| LIST.lines().filter(|line| !line.starts_with('#')).collect());

/// Whether a domain or one of its parents is denied or on the list, and none is allowed. `allowed` overrides
/// `denied`, and `denied` the list. All are in lower case and ASCII.
pub fn is_disposable(domain: &str, allowed: &[String], denied: &[String]) -> bool {
    let is_in = |list: &[String]| with_parents(domain).any(|name| list.iter().any(|entry| entry == name));
    !is_in(allowed) && (is_in(denied) || with_parents(domain).any(|name| DOMAINS.binary_search(&name).is_ok()))
}

/// Number of domains on the list.
pub fn domains_len() -> usize {
    DOMAINS.len()
}

/// A domain and its parents.
fn with_parents(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, parent)| parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(domains: &[&str]) -> Vec<String> {
        domains.iter().map(|domain| (*domain).to_owned()).collect()
    }

    #[test]
    fn the_list_is_sorted_and_has_thousands_of_names_in_normal_form() {
        assert!(domains_len() > 5_000);
        assert!(DOMAINS.is_sorted_by(|before, after| before < after), "sorted by bytes, none twice");
        for domain in DOMAINS.iter() {
            assert!(domain.contains('.') && domain.is_ascii() && !domain.chars().any(|c| c.is_ascii_uppercase()));
        }
    }

    #[test]
    fn listed_domains_and_their_subdomains_are_disposable_and_others_are_not() {
        for domain in
            ["mailinator.com", "a.mailinator.com", "a.b.c.mailinator.com", DOMAINS[0], DOMAINS[DOMAINS.len() - 1]]
        {
            assert!(is_disposable(domain, &[], &[]), "{domain}");
        }
        for domain in [
            "example.com",
            "gmail.com",
            "outlook.com",
            "icloud.com",
            "proton.me",
            "not-mailinator.com",
            "mailinator.com.example.org",
            "com",
        ] {
            assert!(!is_disposable(domain, &[], &[]), "{domain}");
        }
    }

    #[test]
    fn what_is_configured_goes_before_the_list_and_allowed_before_denied() {
        let (allowed, denied) = (list(&["mailinator.com"]), list(&["example.com", "sub.mailinator.com"]));
        assert!(!is_disposable("mailinator.com", &allowed, &[]));
        assert!(!is_disposable("a.mailinator.com", &allowed, &[]));
        assert!(is_disposable("example.com", &[], &denied));
        assert!(is_disposable("mail.example.com", &[], &denied));
        assert!(!is_disposable("sub.mailinator.com", &allowed, &denied));
        assert!(!is_disposable("mail.example.com", &list(&["mail.example.com"]), &denied));
    }
}
