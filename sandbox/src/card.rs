//! Test cards and their behavior. Source: Stripe, "Test card numbers".

use crate::error::ApiError;
use CardBehavior::{Authenticates, AuthenticatesThenDeclines, DeclinesAlways, DeclinesWhenCharged, Disputes, Pays};

/// A decline by the card's issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decline {
    /// Stripe's error code.
    pub(crate) code: &'static str,
    /// The issuer's reason.
    pub(crate) decline_code: &'static str,
    /// The recommended reaction.
    pub(crate) advice_code: Option<&'static str>,
    /// The message for the payer.
    pub(crate) message: &'static str,
}

/// How a test card behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CardBehavior {
    Pays,
    /// Is declined when it is attached to a customer.
    DeclinesAlways(Decline),
    /// Can be attached to a customer, but payments are declined.
    DeclinesWhenCharged(Decline),
    /// Requires authentication, for each payment or until it is set up.
    Authenticates {
        until_set_up: bool,
    },
    /// Requires authentication, and is declined after it.
    AuthenticatesThenDeclines(Decline),
    /// Pays, and the payment is disputed at once.
    Disputes {
        reason: &'static str,
        is_inquiry: bool,
    },
}

/// A test card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestCard {
    /// As in `pm_card_visa` and `tok_visa`.
    pub(crate) name: &'static str,
    pub(crate) number: &'static str,
    pub(crate) brand: &'static str,
    pub(crate) funding: &'static str,
    pub(crate) behavior: CardBehavior,
}

/// The result of one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Paid,
    /// Paid, then disputed by the customer's bank.
    Disputed {
        reason: &'static str,
        is_inquiry: bool,
    },
    Declined(Decline),
    NeedsAuthentication,
}

/// The decline of an off-session payment that requires authentication.
pub(crate) const AUTHENTICATION_REQUIRED: Decline = Decline {
    code: "authentication_required",
    decline_code: "authentication_required",
    advice_code: None,
    message: "Your card was declined. This transaction requires authentication.",
};

const GENERIC: Decline =
    decline("card_declined", "generic_decline", Some("try_again_later"), "Your card was declined.");
const INSUFFICIENT: Decline =
    decline("card_declined", "insufficient_funds", Some("try_again_later"), "Your card has insufficient funds.");
const LOST: Decline = decline("card_declined", "lost_card", Some("do_not_try_again"), "Your card was declined.");
const STOLEN: Decline = decline("card_declined", "stolen_card", Some("do_not_try_again"), "Your card was declined.");
const EXPIRED: Decline = decline("expired_card", "expired_card", Some("confirm_card_data"), "Your card has expired.");
const CVC: Decline =
    decline("incorrect_cvc", "incorrect_cvc", Some("confirm_card_data"), "Your card's security code is incorrect.");
const PROCESSING: Decline = decline(
    "processing_error",
    "processing_error",
    Some("try_again_later"),
    "An error occurred while processing your card. Try again in a little bit.",
);
const FRAUDULENT: Decline = decline("card_declined", "fraudulent", Some("do_not_try_again"), "Your card was declined.");
const VELOCITY: Decline = decline(
    "card_declined",
    "card_velocity_exceeded",
    Some("try_again_later"),
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
);

const fn decline(
    code: &'static str,
    decline_code: &'static str,
    advice_code: Option<&'static str>,
    message: &'static str,
) -> Decline {
    Decline { code, decline_code, advice_code, message }
}

const fn card(name: &'static str, number: &'static str, brand: &'static str, behavior: CardBehavior) -> TestCard {
    TestCard { name, number, brand, funding: "credit", behavior }
}

const FRAUD: CardBehavior = Disputes { reason: "fraudulent", is_inquiry: false };
const NOT_RECEIVED: CardBehavior = Disputes { reason: "product_not_received", is_inquiry: false };
const INQUIRY: CardBehavior = Disputes { reason: "product_not_received", is_inquiry: true };

const CARDS: [TestCard; 30] = [
    card("visa", "4242424242424242", "visa", Pays),
    TestCard { funding: "debit", ..card("visa_debit", "4000056655665556", "visa", Pays) },
    card("mastercard", "5555555555554444", "mastercard", Pays),
    TestCard { funding: "debit", ..card("mastercard_debit", "5200828282828210", "mastercard", Pays) },
    TestCard { funding: "prepaid", ..card("mastercard_prepaid", "5105105105105100", "mastercard", Pays) },
    card("amex", "378282246310005", "amex", Pays),
    card("discover", "6011111111111117", "discover", Pays),
    card("diners", "3056930009020004", "diners", Pays),
    card("jcb", "3566002020360505", "jcb", Pays),
    card("unionpay", "6200000000000005", "unionpay", Pays),
    card("bypassPending", "4000000000000077", "visa", Pays),
    card("chargeDeclined", "4000000000000002", "visa", DeclinesAlways(GENERIC)),
    card("chargeDeclinedInsufficientFunds", "4000000000009995", "visa", DeclinesAlways(INSUFFICIENT)),
    card("chargeDeclinedLostCard", "4000000000009987", "visa", DeclinesAlways(LOST)),
    card("chargeDeclinedStolenCard", "4000000000009979", "visa", DeclinesAlways(STOLEN)),
    card("chargeDeclinedExpiredCard", "4000000000000069", "visa", DeclinesAlways(EXPIRED)),
    card("chargeDeclinedIncorrectCvc", "4000000000000127", "visa", DeclinesAlways(CVC)),
    card("chargeDeclinedProcessingError", "4000000000000119", "visa", DeclinesAlways(PROCESSING)),
    card("chargeDeclinedFraudulent", "4100000000000019", "visa", DeclinesAlways(FRAUDULENT)),
    card("chargeDeclinedVelocityLimitExceeded", "4000000000006975", "visa", DeclinesAlways(VELOCITY)),
    card("chargeCustomerFail", "4000000000000341", "visa", DeclinesWhenCharged(GENERIC)),
    card("authenticationRequired", "4000002760003184", "visa", Authenticates { until_set_up: false }),
    card("authenticationRequiredOnSetup", "4000002500003155", "visa", Authenticates { until_set_up: true }),
    card("threeDSecure2Required", "4000000000003220", "visa", Authenticates { until_set_up: false }),
    card("threeDSecureRequired", "4000000000003063", "visa", Authenticates { until_set_up: false }),
    card(
        "authenticationRequiredChargeDeclinedInsufficientFunds",
        "4000008260003178",
        "visa",
        AuthenticatesThenDeclines(INSUFFICIENT),
    ),
    card("createDispute", "4000000000000259", "visa", FRAUD),
    card("createDisputeProductNotReceived", "4000000000002685", "visa", NOT_RECEIVED),
    card("createDisputeInquiry", "4000000000001976", "visa", INQUIRY),
    card("createIssuerFraudRecord", "4000000000005423", "visa", Pays),
];

impl TestCard {
    /// The card of a predefined payment method or token, such as `pm_card_visa`, `tok_visa` or
    /// `pm_card_visa_chargeDeclined`.
    pub(crate) fn of_id(id: &str) -> Option<&'static Self> {
        let name = id.strip_prefix("pm_card_").or_else(|| id.strip_prefix("tok_"))?;
        Self::of_name(name).or_else(|| Self::of_name(name.strip_prefix("visa_")?))
    }

    /// The card with a name of the table.
    pub(crate) fn of_name(name: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.name == name)
    }

    /// The card with a number.
    pub(crate) fn of_number(number: &str) -> Option<&'static Self> {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        CARDS.iter().find(|card| card.number == digits)
    }

    pub(crate) fn last4(&self) -> &'static str {
        &self.number[self.number.len() - 4..]
    }

    /// Whether it can be attached to a customer.
    pub(crate) fn attach(&self) -> Result<(), Decline> {
        match self.behavior {
            DeclinesAlways(decline) => Err(decline),
            _ => Ok(()),
        }
    }

    /// The result of a payment. `is_set_up` means that the customer authenticated once for later payments.
    pub(crate) fn charge(&self, is_set_up: bool, is_authenticated: bool) -> Outcome {
        match self.behavior {
            Pays => Outcome::Paid,
            DeclinesAlways(decline) | DeclinesWhenCharged(decline) => Outcome::Declined(decline),
            Authenticates { until_set_up } if is_authenticated || (until_set_up && is_set_up) => Outcome::Paid,
            AuthenticatesThenDeclines(decline) if is_authenticated => Outcome::Declined(decline),
            Authenticates { .. } | AuthenticatesThenDeclines(_) => Outcome::NeedsAuthentication,
            Disputes { reason, is_inquiry } => Outcome::Disputed { reason, is_inquiry },
        }
    }
}

impl Decline {
    /// The error response for this decline.
    pub(crate) fn error(&self) -> ApiError {
        let error = ApiError::card(self.code, self.message).with("decline_code", self.decline_code);
        match self.advice_code {
            Some(advice) => error.with("advice_code", advice),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str) -> &'static TestCard {
        TestCard::of_id(id).unwrap()
    }

    #[test]
    fn all_names_of_a_card_behave_alike() {
        assert_eq!(card("pm_card_chargeDeclined"), card("pm_card_visa_chargeDeclined"));
        assert_eq!(card("tok_chargeDeclined"), TestCard::of_number("4000 0000 0000 0002").unwrap());
        assert_eq!(TestCard::of_id("pm_card_nonsense"), None);
    }

    #[test]
    fn card_0341_is_declined_only_when_charged() {
        assert_eq!(card("pm_card_chargeDeclined").attach(), Err(GENERIC));
        let later = TestCard::of_number("4000000000000341").unwrap();
        assert_eq!(later.attach(), Ok(()));
        assert_eq!(later.charge(false, false), Outcome::Declined(GENERIC));
    }

    #[test]
    fn card_9995_has_insufficient_funds() {
        let card = TestCard::of_number("4000000000009995").unwrap();
        let Outcome::Declined(decline) = card.charge(false, false) else { panic!("it pays") };
        assert_eq!((decline.code, decline.decline_code), ("card_declined", "insufficient_funds"));
    }

    #[test]
    fn card_3155_requires_authentication_until_it_is_set_up() {
        let (once, always) =
            (TestCard::of_number("4000002500003155").unwrap(), TestCard::of_number("4000002760003184").unwrap());
        assert_eq!(once.charge(false, false), Outcome::NeedsAuthentication);
        assert_eq!(once.charge(true, false), Outcome::Paid);
        assert_eq!(always.charge(true, false), Outcome::NeedsAuthentication);
        assert_eq!(always.charge(true, true), Outcome::Paid);
    }

    #[test]
    fn numbers_and_names_in_the_table_are_unique() {
        for (at, card) in CARDS.iter().enumerate() {
            assert!(CARDS[at + 1..].iter().all(|other| other.name != card.name && other.number != card.number));
        }
    }
}
