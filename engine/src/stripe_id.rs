//! Ids of Stripe's objects, as they come from people, files and events.

/// The longest id, in characters. Source: Stripe, "API upgrades".
pub const STRIPE_ID_LEN_MAX: usize = 255;

/// Whether a text can be an id at Stripe. Anything else must not become part of a path there.
///
/// Ids that Stripe makes have letters, digits and underscores. Dots and hyphens are those of plans from before there
/// were prices, whose ids were chosen by their makers.
pub fn is_stripe_id(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=STRIPE_ID_LEN_MAX).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_in_a_path_is_no_id() {
        for text in ["", "cus_1/sources", "cus_1?expand", "../events", "..", ".", "%2e%2e", "cus 1", "cüs"] {
            assert!(!is_stripe_id(text), "{text}");
        }
        assert!(!is_stripe_id(&"a".repeat(STRIPE_ID_LEN_MAX + 1)));
        assert!(
            is_stripe_id("cus_1") && is_stripe_id("gold-plan.2019") && is_stripe_id(&"a".repeat(STRIPE_ID_LEN_MAX))
        );
    }
}
