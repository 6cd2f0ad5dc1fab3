//! The transitions of subscriptions and invoices.

use super::{TRIAL_WARNING_S, Transition};
use crate::account::StripeAccount;
use crate::billing::NewInvoice;
use crate::error::ApiError;
use crate::field::Fields;
use crate::objects::subscription::{is_over, line, next_periods};
use crate::objects::{invoice_item, schedule};
use crate::payment::Attempt;
use crate::rules::AfterRetries;
use serde_json::json;

const UPDATED: &str = "customer.subscription.updated";

impl StripeAccount {
    /// Carries out an object's transition.
    pub(super) fn apply_transition(&mut self, id: &str, transition: Transition) -> Result<(), ApiError> {
        match transition {
            Transition::WarnOfTrialEnd => self.warn_of_trial_end(id),
            Transition::EndTrial => self.end_trial(id),
            Transition::Renew => self.renew(id),
            Transition::End => self.end_subscription(id, "cancellation_requested"),
            Transition::Expire => self.expire(id),
            Transition::ResumeCollection => {
                self.change_and_emit(id, json!({ "pause_collection": null }), UPDATED).map(|_| ())
            }
            Transition::Finalize => self.finalize_and_pay(id),
            Transition::Retry => {
                let retries = self.copy(id).int("_retries") + 1;
                self.change(id, json!({ "_retries": retries, "next_payment_attempt": null }));
                self.pay_invoice(id, None, Attempt::default()).map(|_| ())
            }
        }
    }

    /// Announces the end of a trial when it is near.
    pub(crate) fn warn_of_trial_end(&mut self, id: &str) -> Result<(), ApiError> {
        let subscription = self.copy(id);
        let is_near = subscription.int("trial_end") - TRIAL_WARNING_S <= self.now_s;
        if subscription.text("status") != "trialing" || subscription.is("_is_warned") || !is_near {
            return Ok(());
        }
        self.change(id, json!({ "_is_warned": true }));
        self.emit("customer.subscription.trial_will_end", id)
    }

    /// Ends a trial: the first paid period begins now, if there is a payment method.
    pub(crate) fn end_trial(&mut self, id: &str) -> Result<(), ApiError> {
        let subscription = self.copy(id);
        let asked = json!({ "_subscription": id, "customer": subscription["customer"] });
        let missing = subscription["trial_settings"]["end_behavior"].text("missing_payment_method").to_owned();
        let trial_end = subscription.int("trial_end").min(self.now_s);
        self.change(id, json!({ "trial_end": trial_end, "billing_cycle_anchor": trial_end }));
        if self.payer(&asked).is_none() && subscription.text("collection_method") != "send_invoice" {
            match missing.as_str() {
                "cancel" => return self.end_subscription(id, "payment_failed"),
                "pause" => {
                    let previous = self.change(id, json!({ "status": "paused" }));
                    self.emit_change(UPDATED, id, previous)?;
                    return self.emit("customer.subscription.paused", id);
                }
                _ => {}
            }
        }
        let mut items = self.copy(id)["items"].clone();
        for item in items["data"].as_array_mut().into_iter().flatten() {
            item["current_period_end"] = trial_end.into();
        }
        self.change(id, json!({ "items": items }));
        self.renew(id)
    }

    /// Begins the next period and creates its draft.
    fn renew(&mut self, id: &str) -> Result<(), ApiError> {
        schedule::enter_next_phase(self, id)?;
        let before = self.copy(id);
        let status = if before.text("status") == "trialing" { "active" } else { before.text("status") };
        let items = next_periods(&before);
        let previous = self.change(id, json!({ "items": items, "status": status }));
        let subscription = self.copy(id);
        let customer = subscription.text("customer");
        let waiting = invoice_item::pending(self, customer);
        let items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
        let mut lines: Vec<_> = items.iter().map(|item| line(&subscription, item, false)).collect();
        lines.extend(waiting.iter().map(invoice_item::line));
        let ended = &before["items"]["data"][0];
        let is_kept = status == "unpaid" || subscription["pause_collection"].text("behavior") == "keep_as_draft";
        let days = subscription.opt_int("days_until_due");
        let fields = json!({
            "automatically_finalizes_at": (!is_kept).then_some(self.now_s + self.rules.draft_s),
            "auto_advance": !is_kept, "collection_method": subscription["collection_method"],
            "due_date": days.map(|days| self.now_s + days * 86_400),
        });
        let new = NewInvoice {
            customer,
            subscription: &subscription,
            reason: "subscription_cycle",
            currency: subscription.text("currency"),
            lines,
            period: (ended.int("current_period_start"), ended.int("current_period_end")),
            fields,
        };
        let invoice = self.draft(new)?;
        invoice_item::take(self, &waiting, invoice.id());
        let mut previous = previous;
        previous["latest_invoice"] = before["latest_invoice"].clone();
        self.change(id, json!({ "latest_invoice": invoice.id() }));
        self.emit_change(UPDATED, id, previous)
    }

    /// Finalizes a draft and tries to pay it.
    pub(crate) fn finalize_and_pay(&mut self, id: &str) -> Result<(), ApiError> {
        let invoice = self.copy(id);
        let subscription = self.copy(invoice.text("_subscription"));
        let pause = subscription["pause_collection"].text("behavior").to_owned();
        if self.finalize(id)?.text("status") != "open" {
            return Ok(());
        }
        match pause.as_str() {
            "void" => self.close_unpaid(id, "void").map(|_| ()),
            "mark_uncollectible" => self.close_unpaid(id, "uncollectible").map(|_| ()),
            _ if invoice.text("collection_method") == "charge_automatically" => {
                self.pay_invoice(id, None, Attempt::default()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Expires a subscription whose first invoice was not paid in time.
    fn expire(&mut self, id: &str) -> Result<(), ApiError> {
        let invoice = self.copy(id).text("latest_invoice").to_owned();
        if self.copy(&invoice).text("status") == "open" {
            self.close_unpaid(&invoice, "void")?;
        }
        let fields = json!({ "status": "incomplete_expired", "ended_at": self.now_s });
        self.change_and_emit(id, fields, UPDATED).map(|_| ())
    }

    /// Ends a subscription at once. One whose first invoice was never paid expires.
    pub(crate) fn end_subscription(&mut self, id: &str, reason: &str) -> Result<(), ApiError> {
        let before = self.copy(id);
        if is_over(&before) {
            return Ok(());
        }
        let mut details = before["cancellation_details"].clone();
        details["reason"] = reason.into();
        let is_unpaid_start = before.text("status") == "incomplete";
        let open: Vec<String> = self
            .store
            .of_customer("invoice", before.text("customer"))
            .filter(|row| row.text("_subscription") == id && matches!(row.text("status"), "open" | "draft"))
            .map(|row| row.id().to_owned())
            .collect();
        for invoice in open {
            if is_unpaid_start {
                self.close_unpaid(&invoice, "void")?;
            } else {
                // Open invoices stay open, but are no longer collected automatically.
                let fields =
                    json!({ "auto_advance": false, "next_payment_attempt": null, "automatically_finalizes_at": null });
                self.change(&invoice, fields);
            }
        }
        let canceled_at = before.opt_int("canceled_at").unwrap_or(self.now_s);
        let fields = json!({
            "status": if is_unpaid_start { "incomplete_expired" } else { "canceled" }, "ended_at": self.now_s,
            "canceled_at": canceled_at, "cancellation_details": details,
        });
        self.change(id, fields);
        self.emit("customer.subscription.deleted", id)
    }

    /// Updates the subscription of a paid invoice.
    pub(crate) fn update_subscription_after_payment(&mut self, invoice: &str) -> Result<(), ApiError> {
        let invoice = self.copy(invoice);
        let Some(id) = invoice.opt("_subscription") else { return Ok(()) };
        let subscription = self.copy(id);
        let is_latest = subscription.text("latest_invoice") == invoice.id();
        match subscription.text("status") {
            // Before `customer.subscription.created` is emitted, no update is: that event contains the status.
            "incomplete" if !self.is_creation_emitted(id) => {
                self.change(id, json!({ "status": "active" }));
                Ok(())
            }
            "incomplete" => self.change_and_emit(id, json!({ "status": "active" }), UPDATED).map(|_| ()),
            "past_due" | "unpaid" if is_latest => {
                self.change_and_emit(id, json!({ "status": "active" }), UPDATED).map(|_| ())
            }
            "paused" if is_latest => {
                let previous = self.change(id, json!({ "status": "active" }));
                self.emit_change(UPDATED, id, previous)?;
                self.emit("customer.subscription.resumed", id)
            }
            _ => Ok(()),
        }
    }

    /// Updates the subscription of an invoice whose payment failed.
    pub(crate) fn update_subscription_after_failure(&mut self, invoice: &str) -> Result<(), ApiError> {
        let invoice = self.copy(invoice);
        let Some(id) = invoice.opt("_subscription") else { return Ok(()) };
        let subscription = self.copy(id);
        if !matches!(subscription.text("status"), "active" | "past_due") {
            return Ok(());
        }
        let is_last =
            invoice["next_payment_attempt"].is_null() && invoice.text("billing_reason") == "subscription_cycle";
        let status = match (is_last, self.rules.after_retries) {
            (true, AfterRetries::Cancel) => return self.end_subscription(id, "payment_failed"),
            (true, AfterRetries::Unpaid) => "unpaid",
            (true, AfterRetries::PastDue) | (false, _) => "past_due",
        };
        self.change_and_emit(id, json!({ "status": status }), UPDATED).map(|_| ())
    }

    /// Whether the subscription's creation event was emitted.
    fn is_creation_emitted(&self, id: &str) -> bool {
        self.copy(id).is("_is_told")
    }
}
