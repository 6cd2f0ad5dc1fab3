//! Which addresses lead to one mailbox, as far as an outsider can tell. This is the only list of providers and their
//! rules.
//!
//! | provider | rule |
//! |---|---|
//! | everyone | the part after a `+` is a tag (RFC 5233): Outlook.com, Hotmail, Live, iCloud, Zoho and most others |
//! | Gmail | dots do not matter, and `googlemail.com` is `gmail.com` (Gmail's help, "Dots don't matter") |
//! | iCloud | `me.com` and `mac.com` are `icloud.com` (Apple's support, article 118230) |
//! | Proton | dots, hyphens and underscores do not matter; `protonmail.com`, `protonmail.ch` and `pm.me` are `proton.me` |
//! | Fastmail | `anything@ada.fastmail.com` is `ada@fastmail.com`, where an underscore becomes a hyphen |
//! | Yahoo | the part after a hyphen is the keyword of a disposable address; accounts have no hyphens |
//! | Yandex | a dot is a hyphen, and all its domains are `yandex.ru` |
//!
//! Outlook.com, Hotmail and Live are different mailboxes for the same name, and their dots matter.

/// A provider with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Gmail,
    Apple,
    Proton,
    Fastmail,
    Yahoo,
    Yandex,
}

/// Domains of the providers whose domains are few or known.
const DOMAINS: &[(Provider, &[&str])] = &[
    (Provider::Gmail, &["gmail.com", "googlemail.com"]),
    (Provider::Apple, &["icloud.com", "me.com", "mac.com"]),
    (Provider::Proton, &["proton.me", "protonmail.com", "protonmail.ch", "pm.me"]),
    (Provider::Fastmail, FASTMAIL_DOMAINS),
    (Provider::Yahoo, &["ymail.com", "rocketmail.com", "myyahoo.com"]),
    (
        Provider::Yandex,
        &["yandex.ru", "yandex.com", "yandex.by", "yandex.kz", "yandex.ua", "yandex.uz", "yandex.com.tr", "ya.ru"],
    ),
];

/// Fastmail's own domains; each has its own mailboxes.
const FASTMAIL_DOMAINS: &[&str] = &[
    "fastmail.com",
    "fastmail.fm",
    "fastmail.cn",
    "fastmail.co.uk",
    "fastmail.com.au",
    "fastmail.de",
    "fastmail.es",
    "fastmail.fr",
    "fastmail.im",
    "fastmail.in",
    "fastmail.jp",
    "fastmail.mx",
    "fastmail.net",
    "fastmail.nl",
    "fastmail.org",
    "fastmail.se",
    "fastmail.to",
    "fastmail.tw",
    "fastmail.uk",
    "fastmail.us",
    "fastmailbox.net",
    "fastest.cc",
    "eml.cc",
    "fea.st",
    "fmail.co.uk",
    "mailbolt.com",
    "mailcan.com",
    "sent.as",
    "sent.at",
    "sent.com",
    "warpmail.net",
];

/// The domain of Yahoo in a country: `yahoo.com`, `yahoo.co.uk`.
const YAHOO_PREFIX: &str = "yahoo.";

/// The mailbox behind the local part and the domain of an address, both in lower case.
pub(super) fn mailbox(local: &str, domain: &str) -> String {
    let (local, domain) = without_subdomain(local, domain);
    let name = before(local, '+');
    let (name, domain) = match provider(domain) {
        Some(Provider::Gmail) => (without(name, &['.']), "gmail.com"),
        Some(Provider::Apple) => (name.to_owned(), "icloud.com"),
        Some(Provider::Proton) => (without(name, &['.', '-', '_']), "proton.me"),
        Some(Provider::Fastmail) => (name.replace('_', "-"), domain),
        Some(Provider::Yahoo) => (before(name, '-').to_owned(), domain),
        Some(Provider::Yandex) => (name.replace('.', "-"), "yandex.ru"),
        None => (name.to_owned(), domain),
    };
    format!("{name}@{domain}")
}

fn provider(domain: &str) -> Option<Provider> {
    let known = DOMAINS.iter().find(|(_, domains)| domains.contains(&domain)).map(|(provider, _)| *provider);
    known.or_else(|| domain.starts_with(YAHOO_PREFIX).then_some(Provider::Yahoo))
}

/// At Fastmail, the user's name is the subdomain, and what stands before the @ is a tag.
fn without_subdomain<'a>(local: &'a str, domain: &'a str) -> (&'a str, &'a str) {
    if FASTMAIL_DOMAINS.contains(&domain) {
        return (local, domain);
    }
    let user_and_domain = FASTMAIL_DOMAINS.iter().find_map(|own| {
        let user = domain.strip_suffix(own)?.strip_suffix('.')?;
        Some((user.rsplit('.').next().unwrap_or(user), *own))
    });
    user_and_domain.unwrap_or((local, domain))
}

/// The part before a separator. A name that begins with it has no tag, since nothing would be left.
fn before(name: &str, separator: char) -> &str {
    name.split(separator).next().filter(|name| !name.is_empty()).unwrap_or(name)
}

/// The name without some characters, unless nothing would be left.
fn without(name: &str, characters: &[char]) -> String {
    let kept = name.replace(characters, "");
    if kept.is_empty() { name.to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::super::Email;

    fn mailbox(text: &str) -> String {
        Email::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).mailbox()
    }

    #[test]
    fn aliases_at_large_providers_are_one_mailbox() {
        for (plain, aliases) in [
            ("adal@gmail.com", &["Ada.L@gmail.com", "a.d.a.l+x@googlemail.com"][..]),
            ("ada@outlook.com", &["ada+x@outlook.com", "ADA+y+z@outlook.com"]),
            ("ada@hotmail.com", &["ada+x@hotmail.com"]),
            ("ada@live.com", &["ada+x@live.com"]),
            ("ada@icloud.com", &["ada+x@icloud.com", "ada@me.com", "ada+y@mac.com"]),
            ("ada.l@proton.me", &["adal@proton.me", "a-da_l+x@protonmail.com", "ada.l@pm.me", "ADA_L@protonmail.ch"]),
            ("ada@fastmail.com", &["ada+x@fastmail.com", "anything@ada.fastmail.com", "x+y@ada.fastmail.com"]),
            ("ada_l@fastmail.fm", &["x@ada-l.fastmail.fm", "ada-l@fastmail.fm"]),
            ("ada@yahoo.com", &["ada-shops@yahoo.com", "ada-a-b@yahoo.com", "ada+x@yahoo.com"]),
            ("ada@yahoo.co.uk", &["ada-shops@yahoo.co.uk"]),
            ("ada@ymail.com", &["ada-shops@ymail.com"]),
            ("ada.l@yandex.ru", &["ada-l@yandex.com", "ada.l+x@ya.ru"]),
        ] {
            for alias in aliases {
                assert_eq!(mailbox(alias), mailbox(plain), "{alias}");
            }
        }
    }

    #[test]
    fn what_a_provider_keeps_apart_stays_apart() {
        for (one, other) in [
            ("ada@outlook.com", "ada@hotmail.com"),
            ("ada.l@outlook.com", "adal@outlook.com"),
            ("ada.l@icloud.com", "adal@icloud.com"),
            ("ada.l@fastmail.com", "adal@fastmail.com"),
            ("ada@fastmail.com", "ada@fastmail.fm"),
            ("eve@ada.fastmail.com", "eve@fastmail.com"),
            ("ada.l@yahoo.com", "adal@yahoo.com"),
            ("ada@yahoo.com", "ada@yahoo.co.uk"),
            ("ada-l@example.com", "ada@example.com"),
            ("ada@notfastmail.com", "ada@fastmail.com"),
            ("x@ada.notfastmail.com", "ada@fastmail.com"),
        ] {
            assert_ne!(mailbox(one), mailbox(other), "{one}");
        }
    }

    #[test]
    fn a_name_of_separators_alone_stays_a_name() {
        for (text, expected) in [
            ("+ada@example.com", "+ada@example.com"),
            ("-@yahoo.com", "-@yahoo.com"),
            ("-_@proton.me", "-_@proton.me"),
            ("_@pm.me", "_@proton.me"),
        ] {
            assert_eq!(mailbox(text), expected);
        }
    }
}
