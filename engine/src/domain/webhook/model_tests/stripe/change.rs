//! Changes of a subscription within its period, with prorations.

use super::super::deed::Pay;
use super::super::fact::{Kind, Line, Sub};
use super::Named;
use super::Stripe;
use crate::domain::webhook::EventKind;
use chrono::{DateTime, Datelike};

impl Stripe {
    /// Credits the rest of the period of what a subscription has, and bills that of what it gets, or ends it.
    pub(super) fn prorate(&mut self, sub: usize, to: Option<(usize, i64)>) {
        let Some(from) = self.proratable(sub, to) else { return };
        let lines = std::iter::once(self.rest(sub, from, -1)).chain(to.map(|to| self.rest(sub, to, 1))).collect();
        self.bill(Some(sub), false, "subscription_update", lines, Pay::Card);
        match to {
            Some(to) => {
                self.subs[sub].items[0] = to;
                self.tell(EventKind::SubscriptionUpdated, Named::Sub(sub));
            }
            None => self.end(sub),
        }
    }

    /// The line that credits (-1) or bills (1) the rest of a subscription's period.
    fn rest(&self, sub: usize, (price, quantity): (usize, i64), sign: i64) -> Line {
        let (from_s, until_s) = (self.now_s, self.subs[sub].until_s);
        let length_s = until_s - self.subs[sub].from_s;
        let whole = self.prices[price].amount * quantity;
        let amount = sign * (whole * (until_s - from_s) / length_s).max(1);
        let promise = self.prices[price].promise.clone();
        Line { price, promise, quantity, amount, discount: 0, kind: Kind::Proration, from_s, until_s }
    }

    /// Credits the rest of the period of what a subscription has, and begins a new one of what it gets.
    pub(super) fn restart(&mut self, sub: usize, price: usize, seats: i64) {
        let Some(from) = self.proratable(sub, None) else { return };
        if self.prices[from.0].currency != self.prices[price].currency {
            return;
        }
        let credit = self.rest(sub, from, -1);
        self.subs[sub].items[0] = (price, seats);
        self.begin_period_with(sub, self.now_s, "subscription_update", Pay::Card, Some(credit));
    }

    /// What a subscription has, if the rest of its period can be prorated: it was billed for it, the period is paid and
    /// has begun, and the new price has the same one. What is granted by months, and what is paid in part by coupons,
    /// has tests of its own.
    fn proratable(&self, sub: usize, to: Option<(usize, i64)>) -> Option<(usize, i64)> {
        let Sub { items, until_s, from_s, status, percent_off, is_paused, is_stranger, .. } = &self.subs[sub];
        let [(price, quantity)] = items[..] else { return None };
        let is_plain = |price: usize| self.prices[price].promise.is_some() && !self.is_monthly(price);
        let is_alike = |to: usize| {
            let (one, other) = (&self.prices[price], &self.prices[to]);
            is_plain(to) && one.currency == other.currency && one.every == other.every
        };
        let of_period = |line: &Line| line.kind == Kind::Period && (line.from_s, line.until_s) == (*from_s, *until_s);
        let own = || self.invoices.iter().filter(|invoice| invoice.sub == Some(sub));
        let is_paid = own().any(|invoice| invoice.is_paid() && invoice.lines.iter().any(of_period));
        let billed = own().flat_map(|invoice| &invoice.lines).rev().find(|line| line.amount > 0)?;
        let is_billed = (billed.price, billed.quantity) == (price, quantity) && billed.until_s == *until_s;
        // Of a period that ends with a month it is not certain when it began.
        let day = DateTime::from_timestamp(*until_s, 0)?.day();
        let is_right = *status == "active" && *percent_off == 0 && !is_paused && !is_stranger && day < 28;
        let is_within = (*from_s..*until_s).contains(&self.now_s);
        (is_right && is_within && is_paid && is_billed && is_plain(price) && to.is_none_or(|(to, _)| is_alike(to)))
            .then_some((price, quantity))
    }
}
