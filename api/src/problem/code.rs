//! Every error code, with its status and an example of its detail.
//!
//! docs/errors.md explains the codes, and the OpenAPI document shows them as examples. Tests compare all three.

/// An error code.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// Its name; stable.
    pub name: &'static str,
    /// Its HTTP status.
    pub status: u16,
    /// An example of its `detail`.
    pub detail: &'static str,
}

const fn code(status: u16, name: &'static str, detail: &'static str) -> Code {
    Code { name, status, detail }
}

/// Finds a code by its name.
pub fn find(name: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.name == name)
}

/// All of them, by status.
pub const CODES: &[Code] = &[
    code(400, "bad_request", "the request cannot be understood"),
    code(400, "consent_required", "A payment method needs the customer's consent to be charged."),
    code(
        400,
        "effective_date_required",
        "effective_date, the day from which the correction applies, may be omitted only if the order of the last \
         events is unclear",
    ),
    code(400, "invalid_amount", "amount_minor must be at least 1"),
    code(400, "invalid_auto_top_up", "target must be from threshold to 1000000 credits"),
    code(400, "invalid_body", "The body cannot be used: unknown field `unit`."),
    code(400, "invalid_catalogue", "line 12: plans.team.name is missing: it must be text in quotes"),
    code(400, "invalid_credit_limit", "credits must be from 0 to 1000000"),
    code(400, "invalid_cursor", "cursor must be the next_cursor of an earlier response."),
    code(400, "invalid_date", "effective_date must not be in the future"),
    code(400, "invalid_decision", "price, the key of the catalogue's price, goes with the decision ours and no other."),
    code(400, "invalid_email", "the e-mail address is not valid: Missing separator character '@'."),
    code(400, "invalid_expiry", "expires_at must be in the future"),
    code(400, "invalid_grace", "grace_seconds must be from 0 to 86400"),
    code(400, "invalid_hold_time", "expires_in_s must be from 1 to 604800."),
    code(400, "invalid_idempotency_key", "Idempotency-Key must have 1 to 255 visible ASCII characters."),
    code(400, "invalid_limit", "limit must be from 1 to 100."),
    code(
        400,
        "invalid_log_filter",
        "bursar=loud: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or \
         a number 0-5",
    ),
    code(400, "invalid_metadata", "metadata must be a JSON object of at most 4096 bytes."),
    code(400, "invalid_name", "the name must have 1 to 200 printable characters"),
    code(400, "invalid_parameter", "failed to parse parameter `limit`: invalid digit"),
    code(400, "invalid_purchase", "Send either the key of a pack, or pay_debt: true."),
    code(400, "invalid_quantity", "quantity must be from 1 to 100000, and 1 for a price that is not sold by seat"),
    code(400, "invalid_rate", "rate_per_second must be from 1 to 1000"),
    code(400, "invalid_reason", "reason must have 1 to 500 characters."),
    code(400, "invalid_reference", "reference must have at most 200 characters."),
    code(400, "invalid_scopes", "root is not a scope: the scopes are read, replay, adjust, refund, onboard, admin"),
    code(400, "invalid_spend_cap", "the cap of a month may be at most $1000.00; ask support to raise it"),
    code(400, "invalid_time", "from must not be later than to."),
    code(400, "invalid_units", "units must be a whole number from 1 to 1000000."),
    code(400, "invalid_window", "a reconciliation looks back at most 30 days"),
    code(
        400,
        "missing_idempotency_key",
        "This request needs the header Idempotency-Key, so that repeating it does nothing twice.",
    ),
    code(
        400,
        "payment_method_invalid",
        "payment_method must be the id of a payment method at Stripe, such as pm_1Q0PsIJvEtkwdCNYMSaVuRz6.",
    ),
    code(400, "price_required", "Name the price to subscribe to: GET /api/v1/plans has them."),
    code(400, "replay_too_large", "the filter matches more than 10000 jobs"),
    code(400, "signature_future", "the signature is from the future"),
    code(400, "signature_malformed", "the signature header is malformed"),
    code(400, "signature_mismatch", "the signature does not match"),
    code(400, "signature_missing", "the signature header is missing"),
    code(400, "signature_stale", "the signature is too old"),
    code(401, "invalid_api_key", "The API key is unknown or revoked."),
    code(401, "invalid_token", "The admin token is unknown, expired or revoked."),
    code(401, "missing_credentials", "This route needs an API key in the header x-api-key."),
    code(
        402,
        "authentication_required",
        "The bank requires authentication: the customer must confirm the payment, with Stripe.js and client_secret.",
    ),
    code(
        402,
        "card_paused",
        "The card was declined before. Add another card, or try again from 2026-12-01T00:00:00.000Z.",
    ),
    code(
        402,
        "credits_owed",
        "The account owes 3 credits: more were spent or taken back than it had. Buy credits to pay them, or contact \
         support.",
    ),
    code(402, "insufficient_credits", "Credits needed: 3, available: 1. Add billing to continue."),
    code(402, "payment_declined", "Your card was declined. Use another card."),
    code(402, "payment_method_missing", "Add a payment method to subscribe."),
    code(
        402,
        "plan_without_unit_price",
        "The plan Team has no price for single fixes: choose another plan, or wait for the credits of the next period.",
    ),
    code(
        402,
        "spend_cap_reached",
        "A charge of $29.00 exceeds the spend cap of $1000.00 a month, of which $14.00 is left. Wait until \
         2026-12-01T00:00:00.000Z, or ask support to raise the cap.",
    ),
    code(
        403,
        "address_unconfirmed",
        "Confirm the e-mail address first: the link is in the mail to it. POST /api/v1/customer/confirmation sends a new \
         one.",
    ),
    code(403, "customer_suspended", "The customer is suspended. Contact support."),
    code(403, "insufficient_scope", "This needs an admin token with the scope refund. This one has: read, adjust."),
    code(
        403,
        "source_unproven",
        "The source early_access needs proof: marketplace_link, or an admin token in Authorization: Bearer.",
    ),
    code(404, "github_not_configured", "This server accepts no GitHub events: GITHUB_WEBHOOK_SECRET is not set."),
    code(404, "hold_not_found", "There is no such hold."),
    code(404, "not_found", "There is no such thing."),
    code(404, "pack_not_offered", "There is no such pack to buy."),
    code(404, "price_not_offered", "There is no such price to subscribe to."),
    code(405, "method_not_allowed", "This route has no such method."),
    code(408, "head_timeout", "The head of the request did not arrive in time."),
    code(409, "address_confirmed", "The address is confirmed already."),
    code(409, "already_subscribed", "There is a subscription already."),
    code(409, "api_key_rotated", "this key was already rotated and ends soon; rotate its successor"),
    code(409, "catalogue_version_changed", "Version 3 is in force, not 2: plan again."),
    code(409, "change_pending", "Another change is to come. Resume the subscription to take it back."),
    code(
        409,
        "credits_spent_meanwhile",
        "Another request spent the remaining credits. The credits that were charged are in the balance: send the \
         request again with a new Idempotency-Key.",
    ),
    code(409, "customer_exists", "a customer with this e-mail address already exists"),
    code(
        409,
        "customer_has_subscription",
        "the customer has the subscription sub_1Q0PsIJvEtkwdCNYMSaVuRz6 on its present Stripe customer; cancel it first",
    ),
    code(409, "hold_closed", "The hold was captured already."),
    code(409, "job_not_ended", "The job runs or was not tried yet, so there is nothing to replay."),
    code(409, "job_not_waiting", "Only a waiting job can be cancelled."),
    code(409, "last_api_key", "This is the last valid key. Create another one first, or rotate it."),
    code(
        409,
        "mail_holds_link",
        "The mail contained a link that is good once, which is deleted once the mail is sent. Send a new link.",
    ),
    code(409, "mail_not_sent", "The mail is waiting to be sent; see its job."),
    code(409, "marketplace_account_linked", "this marketplace account is linked to a customer"),
    code(409, "marketplace_customer_linked", "this customer has another purchase on the marketplace"),
    code(409, "marketplace_not_purchased", "GitHub has not reported a purchase of this account yet"),
    code(409, "not_subscribed", "There is no subscription to change. Subscribe first."),
    code(409, "nothing_owed", "The account owes no credits."),
    code(409, "nothing_to_do", "there is nothing left to do"),
    code(
        409,
        "operation_not_waiting",
        "Only a purchase that waits for its customer to authenticate it can be cancelled.",
    ),
    code(
        409,
        "operation_under_way",
        "an operation of the customer is under way at Stripe; try again when it has ended",
    ),
    code(
        409,
        "payment_disputed",
        "the charge ch_3MmlLrLkdIwHu7ix0snN0B15 was disputed: Stripe decides about its money",
    ),
    code(
        409,
        "payment_method_in_use",
        "The subscription is paid with it. Add another payment method first, or cancel the subscription.",
    ),
    code(
        409,
        "period_refunded",
        "Money that was paid for the present period was given back, or is disputed, so the time that is left of it \
         cannot be credited. Change with the end of the period: when = period_end.",
    ),
    code(
        409,
        "period_unpaid",
        "Invoice in_1 for the present period is not paid. Change once it is, or with the end of the period: when = period_end.",
    ),
    code(
        409,
        "price_currency_differs",
        "The subscription is paid in USD, and a subscription keeps its currency. Choose a price in it, or cancel and \
         subscribe anew.",
    ),
    code(
        409,
        "price_in_use",
        "the catalogue sells pro_monthly by price_1MoBy5LkdIwHu7ix: whoever buys it would be charged, and would not get \
         what pro_monthly brings. Take it off the catalogue first: apply one with offered = false under \
         [prices.pro_monthly], or without it",
    ),
    code(409, "reconciliation_running", "another reconciliation is under way"),
    code(
        409,
        "refund_under_way",
        "the refund op_06bv1k2m8x0q3d5r7t9w1y3z5b of this payment is under way; look again when it has ended",
    ),
    code(409, "replay_state", "the replay is done"),
    code(409, "stream_empty", "The stream has no job that waits or runs."),
    code(409, "stream_moved", "Another job is at the head of the stream by now."),
    code(409, "stream_not_paused", "The stream is not paused."),
    code(409, "stream_paused", "The stream is paused already."),
    code(409, "stripe_customer_not_linked", "the customer has no Stripe customer"),
    code(
        409,
        "stripe_customer_taken",
        "cus_NffrFeUfNV2Hib belongs to the customer cst_06bv1k2m8x0q3d5r7t9w1y3z5b; unlink that one first",
    ),
    code(409, "subscribing", "Another request is already subscribing this customer."),
    code(409, "subscription_ended", "The subscription has ended. Subscribe again."),
    code(409, "subscription_ending", "The subscription ends with its period. Resume it first."),
    code(409, "subscription_inactive", "A payment for the subscription is missing. Pay it before a change."),
    code(
        409,
        "subscription_paid_elsewhere",
        "The subscription was bought elsewhere, and another Stripe customer pays for it, who is not charged more from \
         here. Change it where it was bought, or cancel it and subscribe here.",
    ),
    code(
        409,
        "subscription_paid_meanwhile",
        "A subscription that waited for its first payment was paid just when it was ended to make room. Its credits \
         are there, and nothing else was charged. Ask support to have it refunded or replaced.",
    ),
    code(409, "subscription_unchanged", "The subscription has this price and quantity already."),
    code(409, "too_many_admin_tokens", "there may be 500 valid admin tokens: revoke one first"),
    code(409, "too_many_api_keys", "A customer may have 20 keys. Revoke one first."),
    code(409, "too_many_open", "the account has too many open holds, at most 1000"),
    code(413, "body_too_large", "The body is too large."),
    code(415, "unsupported_media_type", "The body must be application/json."),
    code(422, "capture_exceeds_hold", "the hold reserves 3 credits, fewer than the 5 to capture"),
    code(422, "catalogue_price_unknown", "the catalogue has no price pro_yearly"),
    code(
        422,
        "catalogue_refused",
        "price pro_yearly cannot be removed: 3 open subscriptions have it. Keep [prices.pro_yearly] with offered = false",
    ),
    code(
        422,
        "charge_too_large",
        "These units cost more than the maximum of one charge. Send several requests with fewer units.",
    ),
    code(422, "email_disposable", "addresses of this domain are not accepted; use a permanent one"),
    code(
        422,
        "grant_too_large",
        "150 of this price bring more than 1000000 credits a period, the most that is granted at once. Choose fewer.",
    ),
    code(422, "idempotency_key_reused", "This Idempotency-Key was used before for a different request. Use a new key."),
    code(422, "marketplace_link_expired", "this marketplace link was good once and has expired"),
    code(422, "marketplace_link_invalid", "this marketplace link is not valid, or was used before"),
    code(422, "payment_not_refundable", "all of it was given back before"),
    code(
        422,
        "refund_credited",
        "39900 of this money were credited at Stripe, when the subscription was changed or ended or by a credit note, so \
         20000 are left to be given back: whoever wants to give more says so with beyond_credited and the amount",
    ),
    code(422, "refund_too_large", "5000 is more than the 2900 that are left of the charge ch_3MmlLrLkdIwHu7ix0snN0B15"),
    code(
        422,
        "refund_unclear",
        "the subscription has more invoices than are looked at, so what they have credited of this money is not known: \
         look at them at Stripe, and name the amount with beyond_credited",
    ),
    code(422, "refused_by_stripe", "Stripe does not accept the request."),
    code(422, "stripe_customer_deleted", "cus_NffrFeUfNV2Hib was deleted at Stripe"),
    code(422, "stripe_customer_not_found", "Stripe has no customer cus_NffrFeUfNV2Hib in this account and mode"),
    code(422, "stripe_customer_wrong_mode", "cus_NffrFeUfNV2Hib is of the other mode, live or test, than this server"),
    code(
        422,
        "stripe_price_differs",
        "price_1MoBy5LkdIwHu7ix cannot sell pro_yearly: it is paid each month, and pro_yearly each year. If it is \
         yours, add a price with its terms to the catalogue, with the id under stripe, and apply that",
    ),
    code(
        422,
        "stripe_price_unknown",
        "Stripe has no price price_1MoBy5LkdIwHu7ix in the account and the mode of this server's key: check the id",
    ),
    code(
        422,
        "top_up_exceeds_cap",
        "No top-up could be bought on these terms. A charge of $1682.00 is more than the whole spend cap of $1000.00 a \
         month, so this cap never allows it. Buy less at once, if that is possible, or ask support to raise the cap.",
    ),
    code(429, "busy", "Too much is waiting just now. Try again shortly."),
    code(429, "purchases_waiting", "50 charges are waiting for their turn. Try again shortly."),
    code(429, "rate_limited", "There were too many such requests lately. Try again in 12 s."),
    code(
        429,
        "too_many_connections",
        "Too many connections are open from this address. Use fewer, and use them again.",
    ),
    code(431, "head_too_large", "The head of the request is larger than 32 KiB, or has more than 100 headers."),
    code(500, "internal", "Something went wrong on our side. It has been logged."),
    code(503, "onboarding_disabled", "Signing up is switched off. Existing customers are not affected."),
    code(503, "overloaded", "The server is busy. Try again shortly."),
    code(
        503,
        "payment_unavailable",
        "This price cannot be bought: Stripe has no usable price for it. Trying again does not help before that is \
         corrected. Nothing was charged.",
    ),
    code(503, "prices_changing", "The prices are being changed just now. Nothing was charged. Try again shortly."),
    code(503, "stripe_not_configured", "This server has no Stripe key: it charges nobody."),
    code(503, "stripe_unavailable", "Stripe cannot be reached just now. Try again shortly."),
    code(503, "timeout", "There was no answer in time. Try again with the same Idempotency-Key."),
    code(
        503,
        "unavailable",
        "The server cannot reach what it needs just now. Try again with the same Idempotency-Key.",
    ),
];
