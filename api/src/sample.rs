//! Values shared by the OpenAPI document's examples, so that they are consistent.

pub const ADMIN_TOKEN: &str = "adt_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const API_KEY: &str = "key_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const AUDIT: &str = "aud_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const CUSTOMER: &str = "cst_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const CURSOR: &str = "djE6Y3N0XzA2YnYxazJtOHgwcTNkNXI3dDl3MXkzejVi";
pub const EMAIL: &str = "ada@example.com";
pub const EVENT: &str = "evt_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const HASH: &str = "3a03543ee89120a299336f9433e7eef36efbb245291ff16af37c6f2ed592ac73";
pub const HOLD: &str = "hld_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const INVOICE: &str = "in_1MtHbELkdIwHu7ixl4OzzPMv";
pub const JOB: &str = "job_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const MAIL: &str = "mal_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const NODE: &str = "bursar-1-06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const OPERATION: &str = "op_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const PAYMENT_INTENT: &str = "pi_3MtwBwLkdIwHu7ix28a3tqPa";
pub const PAYMENT_METHOD: &str = "pm_1Q0PsIJvEtkwdCNYMSaVuRz6";
pub const PRICE: &str = "price_1Q0PsIJvEtkwdCNYMSaVuRz6";
pub const RECONCILIATION: &str = "rec_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const REPLAY: &str = "rpl_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const REQUEST: &str = "req_06bv1k2m8x0q3d5r7t9w1y3z5b";
pub const STREAM: &str = "stripe:cus_NffrFeUfNV2Hib";
pub const STRIPE_CUSTOMER: &str = "cus_NffrFeUfNV2Hib";
pub const STRIPE_EVENT: &str = "evt_1NG8Du2eZvKYlo2CUI79vXWy";
pub const SUBSCRIPTION: &str = "sub_1Q0PsIJvEtkwdCNYMSaVuRz6";

/// The time of the examples.
pub const AT: &str = "2026-11-22T08:00:00.000Z";
/// A month later.
pub const MONTH_LATER: &str = "2026-12-22T08:00:00.000Z";
/// Why the examples' job is dead.
pub const WHY_DEAD: &str = "customer_unknown: no customer is linked to cus_NffrFeUfNV2Hib";

/// An example of an optional text.
pub fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}
