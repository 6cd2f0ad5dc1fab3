//! The credits for a first payment method: once for each mailbox, and once for each card.

use crate::domain::email::Email;
use crate::ids::CustomerId;

/// A bonus, with everything that gets it only once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bonus {
    /// The customer that gets it.
    pub customer_id: CustomerId,
    /// `mailbox:` with the customer's mailbox, `card:` with the fingerprint of the card; sorted, so that two customers
    /// lock them in the same order.
    pub given_for: Vec<String>,
}

impl Bonus {
    /// The bonus of a customer that adds a payment method. Without a fingerprint only the mailbox counts.
    pub fn new(customer_id: &CustomerId, email: &str, fingerprint: Option<&str>) -> Self {
        // Addresses were checked at signup; one that does not read is a mailbox by itself.
        let mailbox = Email::parse(email).map_or_else(|_| email.to_lowercase(), |email| email.mailbox());
        let card = fingerprint.map(|fingerprint| format!("card:{fingerprint}"));
        let given_for = card.into_iter().chain([format!("mailbox:{mailbox}")]).collect();
        Self { customer_id: customer_id.clone(), given_for }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bonus_is_for_the_mailbox_without_its_tag_and_for_the_card() {
        let customer = CustomerId::new();
        let given_for = |email: &str, card: Option<&str>| Bonus::new(&customer, email, card).given_for;
        assert_eq!(given_for("Ada+two@Example.com", Some("f1")), ["card:f1", "mailbox:ada@example.com"]);
        assert_eq!(given_for("ada@example.com", None), ["mailbox:ada@example.com"]);
    }
}
