//! What was bought, read from the lines of invoices and the items of subscriptions.
//!
//! The order of questions: what was sold, then how much of it was paid, then to whom. What is not ours is done
//! silently, whoever its customer is. What may be ours and cannot be decided waits for a person, and takes nothing away
//! meanwhile.
//!
//! | module | what is in it |
//! |---|---|
//! | [`known_price`] | a price at Stripe, and how it was decided what it sells |
//! | [`decision`] | whether support may decide what a price sells |
//! | [`mod@judge`] | decides what a price sells |
//! | [`book`] | the prices that are known, and what a line or an item sells by them |
//! | [`terms`] | the terms on which an invoice is decided |
//! | [`mod@line`] | what the lines of an invoice sold |
//! | [`mod@since`] | which of it counts, if credits count only from a date on |
//! | [`grant`] | the credits that they bring, and when |
//! | [`before`] | what is known of the other invoices of a subscription |
//! | [`mod@level`] | what changes within a period leave of its credits |
//! | [`record`] | what was sold, as it is kept with the first grant |
//! | [`at_stripe`] | which prices at Stripe a catalogue sells, and which have to be made |
//! | [`applied`] | what becomes of known prices when another catalogue comes into force |

pub mod applied;
pub mod at_stripe;
pub mod before;
pub mod book;
pub mod decision;
pub mod grant;
pub mod judge;
pub mod known_price;
pub mod level;
pub mod line;
pub mod record;
pub mod since;
pub mod terms;

#[cfg(test)]
pub(crate) mod example;

pub use applied::{AppliedCatalogue, KeptTerms};
pub use before::{Before, BroughtBefore};
pub use book::{PriceBook, Sold};
pub use known_price::{DecidedBy, Decision, KnownPrice, SubscribedPrice};
pub use line::Sale;
pub use record::{LineCounts, SaleRecord};
pub use terms::SoldTerms;
