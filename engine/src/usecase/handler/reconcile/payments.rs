//! Payments, refunds and disputes.

use super::super::Failure;
use super::super::stripe::Known;
use super::super::stripe::clawback::{Standing, paid_by, standing_of};
use super::credit_notes::compared;
use super::scope::{List, Listed};
use super::{HERE_PAGE_LEN, Page, Walk, next_of};
use crate::amount::MoneyMinor;
use crate::domain::customer::Customer;
use crate::domain::effect::Effect;
use crate::domain::operation::{Operation, Request, State, payment_key};
use crate::domain::reconcile::{Difference, payments, refunds};
use crate::domain::refund::FailedRefund;
use crate::domain::webhook::fields::{self, ChargeFields, PaymentIntentFields};
use crate::domain::webhook::{self, EventKind, stripe_stream};
use crate::ids::{CustomerId, OperationId};
use crate::infra::store::{account, customer, operation, reconciliation as rows};
use crate::infra::stripe::found;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A refund may change for this long after it was made: it fails, or is cancelled. Source: Stripe,
/// "Refunds": up to 30 days.
const REFUND_OPEN_S: i64 = 30 * 24 * 60 * 60;
/// A dispute is decided this long after it was opened at the most. Source: Stripe, "How disputes work":
/// two to three months.
const DISPUTE_OPEN_S: i64 = 120 * 24 * 60 * 60;
/// Maximum number of payments of one customer whose credits are taken back, and of those that support refunded, that are
/// asked for one by one.
const RETURNED_MAX: usize = 200;

impl Walk<'_> {
    /// Charges of the window that paid operations. Seen are their PaymentIntents.
    pub(super) async fn payments(&self) -> Result<Page, Failure> {
        let Listed { objects, cursor } = match self.list_of_customer(List::Charges).await? {
            Some(listed) => listed,
            None => {
                let (since_s, until_s) = (self.since_s(), self.until_s());
                let list = self.deps.stripe.charge_list(since_s, until_s, self.run.cursor.as_deref()).await?;
                Listed { objects: fields::rows(&list).to_vec(), cursor: next_of(&list) }
            }
        };
        let charges: Vec<ChargeFields> = objects.iter().map(ChargeFields::read).collect();
        let ids: HashSet<String> = charges.iter().filter_map(payments::operation_id).map(|id| id.to_string()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let operations = operation::operation_find_many(self.deps.db.read(), &ids).await?;
        let operations: HashMap<OperationId, Operation> =
            operations.into_iter().map(|operation| (operation.id.clone(), operation)).collect();
        let granted = self.payments_granted(&charges, &operations).await?;
        let mut differences = Vec::new();
        for charge in &charges {
            let operation = payments::operation_id(charge).and_then(|id| operations.get(&id));
            let is_granted = charge.payment_intent_id.as_ref().is_some_and(|id| granted.contains(&payment_key(id)));
            differences.extend(payments::compare(charge, operation, is_granted));
        }
        let paid = charges.iter().filter(|charge| charge.is_paid);
        let seen = paid.filter_map(|charge| charge.payment_intent_id.clone()).collect();
        Ok(Page { checked: charges.len(), differences, seen, cursor })
    }

    /// The keys of payments whose credits are in the ledger of the operation's customer.
    async fn payments_granted(
        &self,
        charges: &[ChargeFields],
        operations: &HashMap<OperationId, Operation>,
    ) -> Result<HashSet<String>, Failure> {
        let named = charges.iter().filter_map(|charge| {
            let operation = operations.get(&payments::operation_id(charge)?)?;
            Some((&operation.customer_id, payment_key(charge.payment_intent_id.as_deref()?)))
        });
        let named: Vec<(&CustomerId, String)> = named.collect();
        let pairs: Vec<_> = named.iter().map(|(customer, key)| (*customer, key.as_str())).collect();
        if pairs.is_empty() {
            return Ok(HashSet::new());
        }
        let entries = account::entry_find_by_keys(self.deps.db.read(), &pairs).await?;
        Ok(entries.into_iter().filter_map(|(_, entry)| entry.idempotency_key).collect())
    }

    /// Payments here whose charges Stripe did not list, asked for one by one.
    pub(super) async fn payments_here(&self) -> Result<Page, Failure> {
        let after = self.run.cursor.clone().unwrap_or_default();
        let ours = rows::payments_unseen(self.deps.db.read(), &self.run, &after, HERE_PAGE_LEN).await?;
        let mut differences = Vec::new();
        for operation in &ours {
            let Some(id) = &operation.stripe_id else { continue };
            let theirs = found(self.deps.stripe.payment_retrieve(id).await)?;
            let theirs = theirs.as_ref().map(PaymentIntentFields::read);
            differences.extend(payments::compare_unlisted(operation, theirs.as_ref()));
            // It was made on a Stripe customer that the customer has no longer: its refunds are not listed either.
            if self.run.only_customer.is_some() && theirs.is_some() {
                let paid = paid_by(self.deps, id).await?.filter(is_gone);
                let paid: Vec<Value> = paid.into_iter().collect();
                differences.extend(self.compare_payments_of(&operation.customer_id, &paid).await?);
            }
        }
        let cursor = ours.last().map(|operation| operation.id.to_string());
        Ok(Page { checked: ours.len(), differences, seen: Vec::new(), cursor })
    }

    /// Refunds that may have changed within the window, whenever their charge was made. Of one customer, all charges of
    /// which money is gone, and with the first page all payments of which credits are taken back although it is not, and
    /// all refunds by support. Seen are what was compared.
    pub(super) async fn refunds(&mut self) -> Result<Page, Failure> {
        if let Some(Listed { objects, cursor }) = self.list_of_customer(List::Charges).await? {
            let charges: Vec<Value> = objects.into_iter().filter(is_gone).collect();
            self.wake_reviews(&charges);
            let mut differences = self.compare_charges(&charges).await?;
            let (mut checked, mut seen) = (charges.len(), marks_of(&charges));
            if let Some(customer) = self.run.only_customer.as_ref().filter(|_| self.run.cursor.is_none()) {
                let returned = self.returned(customer).await?;
                differences.extend(self.compare_payments_of(customer, &returned).await?);
                self.compare_refunds_by_support(customer, &mut differences).await?;
                checked += returned.len();
                seen.extend(marks_of(&returned));
            }
            return Ok(Page { checked, differences, seen, cursor });
        }
        let since_s = self.since_s() - REFUND_OPEN_S;
        let list = self.deps.stripe.refund_list_page(since_s, self.until_s(), self.run.cursor.as_deref()).await?;
        self.money_back(&list).await
    }

    /// Has what failed in the streams of these charges tried again now: the credits may be there meanwhile.
    fn wake_reviews(&mut self, charges: &[Value]) {
        if self.run.repair {
            let ids = charges.iter().filter_map(|charge| fields::id(&charge["id"]));
            self.repairs.extend(ids.map(|id| Effect::StreamHasten { stream_key: stripe_stream(&id) }));
        }
    }

    /// Disputes that may have changed within the window.
    pub(super) async fn disputes(&self) -> Result<Page, Failure> {
        let since_s = self.since_s() - DISPUTE_OPEN_S;
        let list = self.deps.stripe.dispute_list_page(since_s, self.until_s(), self.run.cursor.as_deref()).await?;
        self.money_back(&list).await
    }

    /// The charges that a list of refunds or disputes is about, each once.
    async fn money_back(&self, list: &Value) -> Result<Page, Failure> {
        let mut ids: HashSet<String> = HashSet::new();
        let mut charges: Vec<Value> = Vec::new();
        for row in fields::rows(list) {
            let Some(id) = fields::id(&row["charge"]).filter(|id| ids.insert(id.clone())) else { continue };
            if row["charge"].is_object() {
                charges.push(row["charge"].clone());
            } else {
                charges.extend(found(self.deps.stripe.charge_retrieve(&id).await)?);
            }
        }
        let mut differences = self.compare_charges(&charges).await?;
        self.compare_failed(fields::rows(list), &charges, &mut differences).await?;
        let (checked, seen) = (fields::rows(list).len(), marks_of(&charges));
        Ok(Page { checked, differences, seen, cursor: next_of(list) })
    }

    /// Adds the refunds by support that failed at Stripe and still count as made, unless the credits of their charge
    /// differ already: one review mends both.
    async fn compare_failed(
        &self,
        refunds: &[Value],
        charges: &[Value],
        differences: &mut Vec<Difference>,
    ) -> Result<(), Failure> {
        let failed = refunds.iter().filter_map(|row| Some((FailedRefund::read(row)?, fields::id(&row["charge"])?)));
        let failed: Vec<(FailedRefund, String)> = failed.collect();
        if failed.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = failed.iter().map(|(refund, _)| refund.id.clone()).collect();
        let made = operation::operation_list_of_refunds(self.deps.db.read(), &ids).await?;
        for (refund, id) in &failed {
            let Some(charge) = charges.iter().find(|charge| fields::id(charge).as_ref() == Some(id)) else { continue };
            if differences.iter().all(|difference| difference.object_id != *id) {
                let compare = |made| refunds::compare_made(made, refund, (charge, id.as_str()), self.now_ms);
                differences.extend(made.iter().find_map(compare));
            }
        }
        Ok(())
    }

    /// The same of all refunds by support of one customer.
    async fn compare_refunds_by_support(
        &self,
        customer: &CustomerId,
        differences: &mut Vec<Difference>,
    ) -> Result<(), Failure> {
        let made = operation::operation_refund_list(self.deps.db.read(), customer).await?;
        let charges: BTreeSet<&str> = made.iter().filter_map(refunded_charge).collect();
        for id in charges.into_iter().take(RETURNED_MAX) {
            let Some(list) = found(self.deps.stripe.refund_list(id).await)? else { continue };
            if fields::rows(&list).iter().any(|row| FailedRefund::read(row).is_some()) {
                let charge: Vec<Value> = found(self.deps.stripe.charge_retrieve(id).await)?.into_iter().collect();
                self.compare_failed(fields::rows(&list), &charge, differences).await?;
            }
        }
        Ok(())
    }

    /// The payments of a customer of which credits are taken back, as objects that review them; without the charges of
    /// which money is gone, which are listed anyway. So a refund that failed is found, and a credit note that was
    /// voided.
    async fn returned(&self, customer: &CustomerId) -> Result<Vec<Value>, Failure> {
        let db = self.deps.db.read();
        let account = account::account_find(db, customer).await?.unwrap_or_default();
        let grants: Vec<i64> = account.open.clawed.iter().map(|(grant, _)| *grant).collect();
        let grants = account::entry_find_many(db, customer, &grants).await?;
        let references: BTreeSet<String> = grants.into_iter().filter_map(|grant| grant.reference).collect();
        let mut returned = Vec::new();
        for reference in references.iter().take(RETURNED_MAX) {
            returned.extend(paid_by(self.deps, reference).await?.filter(|object| !is_gone(object)));
        }
        Ok(returned)
    }

    /// Compares the credits of a customer's payments with what is gone of their money.
    async fn compare_payments_of(&self, customer: &CustomerId, objects: &[Value]) -> Result<Vec<Difference>, Failure> {
        let customer = customer::customer_find(self.deps.db.read(), customer).await?;
        let mut differences = Vec::new();
        for object in objects {
            let Some(id) = fields::id(object) else { continue };
            differences.extend(self.compare_payment(customer.clone(), object, &id).await?);
        }
        Ok(differences)
    }

    /// Compares the credits of one payment: of whoever has them, else of whoever has the Stripe customer. Credits that
    /// were never granted are another difference, which other phases find. `id` is what the difference is about.
    pub(super) async fn compare_payment(
        &self,
        linked: Option<Customer>,
        object: &Value,
        id: &str,
    ) -> Result<Option<Difference>, Failure> {
        let found = standing_of(self.deps, linked, object, self.now_ms).await?;
        let Some((customer, Standing::Granted { grants })) = found else { return Ok(None) };
        let clawed_back = grants.iter().map(|grant| grant.clawed_back).sum();
        let target = grants.iter().map(|grant| grant.target.total).sum();
        Ok(refunds::compare(object, id, &customer.id, clawed_back, target))
    }

    /// Compares the credits of charges with what is gone of their money.
    async fn compare_charges(&self, charges: &[Value]) -> Result<Vec<Difference>, Failure> {
        let lookups: Vec<_> =
            charges.iter().map(|charge| webhook::lookup(charge, EventKind::ChargeRefunded)).enumerate().collect();
        let known = Known::load(self.deps.db.read(), &lookups).await?;
        let mut differences = Vec::new();
        for (charge, (_, lookup)) in charges.iter().zip(&lookups) {
            let Some(id) = fields::id(charge) else { continue };
            differences.extend(self.compare_payment(known.customer(lookup, None), charge, &id).await?);
        }
        Ok(differences)
    }
}

/// Whether money of a charge is given back or disputed.
fn is_gone(charge: &Value) -> bool {
    let said = ChargeFields::read(charge);
    said.amount_refunded > MoneyMinor::ZERO || said.is_disputed
}

/// The charge of a refund by support that counts as made.
fn refunded_charge(operation: &Operation) -> Option<&str> {
    match &operation.request {
        Request::PaymentRefund { charge_id, .. } if operation.state == State::Succeeded => Some(charge_id),
        _ => None,
    }
}

/// The marks of what was compared.
fn marks_of(objects: &[Value]) -> Vec<String> {
    objects.iter().filter_map(fields::id).map(|id| compared(&id)).collect()
}
