//! Ids of Stripe's objects, as they come from people, files and events.

/// The longest id, in characters. Source: Stripe, "API upgrades".
pub const STRIPE_ID_LEN_MAX: usize = 255;

/// Whether a text can be an id at Stripe. Anything else must not become part of a path there.
///
/// Ids that Stripe makes have letters, digits and underscores. Dots, hyphens, spaces, plus signs and colons are those
/// of plans from before there were prices, whose ids were chosen by their makers.
pub fn is_stripe_id(text: &str) -> bool {
    let is_letter = |byte: u8| is_unreserved(byte) || matches!(byte, b' ' | b'+' | b':');
    let is_trimmed = text.trim().len() == text.len();
    (1..=STRIPE_ID_LEN_MAX).contains(&text.len()) && !text.starts_with('.') && is_trimmed && text.bytes().all(is_letter)
}

/// Whether a letter of an id stands for itself in an address.
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_in_a_path_is_no_id() {
        for text in [
            "",
            "cus_1/sources",
            "cus_1?expand",
            "../events",
            "..",
            ".",
            "%2e%2e",
            " cus_1",
            "cus_1 ",
            " ",
            "cus\t1",
            "cüs",
        ] {
            assert!(!is_stripe_id(text), "{text}");
        }
        assert!(!is_stripe_id(&"a".repeat(STRIPE_ID_LEN_MAX + 1)));
        assert!(
            is_stripe_id("cus_1") && is_stripe_id("gold-plan.2019") && is_stripe_id(&"a".repeat(STRIPE_ID_LEN_MAX))
        );
        assert!(is_stripe_id("Gold plan: 2019+tax"), "makers of plans chose any letters");
    }
}
