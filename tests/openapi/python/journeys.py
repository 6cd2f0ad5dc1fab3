"""The five journeys of customers, by the client that openapi-python-client generates from the document.

Nothing here knows an address or a field's name but from that client. The package `bursar_client` is beside this file's
copy; settings are in the environment, as `tests/clients/run` sets them.
"""

import datetime
import hashlib
import hmac
import io
import json
import os
import pathlib
import secrets
import time

from bursar_client import AuthenticatedClient, Client
from bursar_client.api.admin import (
    admin_create_marketplace_link_token,
    admin_get_customer,
    admin_get_event,
    admin_get_marketplace_account,
)
from bursar_client.api.billing import (
    add_payment_method,
    cancel_subscription,
    get_subscription,
    list_invoices,
    resume_subscription,
    subscribe,
)
from bursar_client.api.credits_ import create_usage, get_credits, get_usage_summary, list_transactions
from bursar_client.api.customers import get_customer, onboard
from bursar_client.api.webhooks import github_webhook, stripe_webhook
from bursar_client.models import (
    AcceptedOperation,
    EventState,
    OnboardRequest,
    PaymentMethodRequest,
    Problem,
    SubscriptionRequest,
    UsageRequest,
)
from bursar_client.types import File

URL = os.environ["BURSAR_URL"]
EVENTS = json.loads(pathlib.Path(os.environ["EVENTS_FILE"]).read_text())
OPEN = Client(base_url=URL)
ADMIN = AuthenticatedClient(base_url=URL, token=os.environ["BURSAR_ADMIN_TOKEN"])
FREE, BONUS, PRO = 5, 5, 60
MONTH_S = 30 * 86_400
DEADLINE_S = 60


def same(found, expected, what):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"


def refused(answer, code, status):
    assert isinstance(answer, Problem), f"{code} was due, and not {answer!r}"
    same((answer.code, answer.status), (code, status), "the refusal")


def until(what, ask):
    """Asks until there is an answer that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come about in {DEADLINE_S} s")


def until_done(what, call):
    """Repeats a request under its key until its operation is done."""

    def ask():
        answer = call()
        return None if isinstance(answer, AcceptedOperation) else answer

    return until(what, ask)


class Customer:
    """A new customer with its key."""

    def __init__(self, **more):
        self.email = f"clients-{secrets.token_hex(6)}@example.com"
        made = onboard.sync(client=OPEN, body=OnboardRequest(email=self.email, name="Ada Lovelace", **more))
        assert not isinstance(made, Problem), made
        self.id = made.customer.id
        self.client = AuthenticatedClient(base_url=URL, token=made.api_key, prefix="", auth_header_name="x-api-key")

    def me(self):
        return get_customer.sync(client=self.client)

    def spend(self, units, key):
        body = UsageRequest(units=units, reference=key)
        return until_done(key, lambda: create_usage.sync(client=self.client, body=body, idempotency_key=key))

    def add_card(self, payment_method, key, consent=True):
        body = PaymentMethodRequest(payment_method=payment_method, consent=consent)
        return until_done(key, lambda: add_payment_method.sync(client=self.client, body=body, idempotency_key=key))

    def subscribe(self, key):
        body = SubscriptionRequest()
        return until_done(key, lambda: subscribe.sync(client=self.client, body=body, idempotency_key=key))

    def wait_until_on(self, plan, credits):
        until(f"{plan} with {credits}", lambda: (self.me().plan, self.me().credit_balance) == (plan, credits))

    def stripe_customer(self):
        return until("a Stripe customer", lambda: admin_get_customer.sync(self.id, client=ADMIN).customer.stripe_customer_id)


def event(name, **values):
    """An event of the file with its values."""
    now = int(time.time())
    today = datetime.datetime.now(datetime.UTC).date()
    values |= {
        "now": now,
        "month_later": now + MONTH_S,
        "today": str(today),
        "next_billing_day": str(today + datetime.timedelta(days=20)),
    }
    text = json.dumps(EVENTS[name])
    for key, value in values.items():
        mark = "{{" + key + "}}"
        text = text.replace(f'"{mark}"', json.dumps(value)).replace(mark, str(value))
    assert "{{" not in text, text
    return text.encode()


def sign(secret, content):
    return hmac.new(os.environ[secret].encode(), content, hashlib.sha256).hexdigest()


def send_stripe(body, signature=None):
    now = str(int(time.time()))
    signature = signature or f"t={now},v1={sign('STRIPE_WEBHOOK_SECRET', now.encode() + b'.' + body)}"
    return stripe_webhook.sync(client=OPEN, body=File(io.BytesIO(body)), stripe_signature=signature)


def send_github(body, delivery):
    return github_webhook.sync(
        client=OPEN,
        body=File(io.BytesIO(body)),
        x_hub_signature_256=f"sha256={sign('GITHUB_WEBHOOK_SECRET', body)}",
        x_git_hub_event="marketplace_purchase",
        x_git_hub_delivery=delivery,
    )


def signup():
    refused(onboard.sync(client=OPEN, body=OnboardRequest(email="a@mailinator.com", name="A")), "email_disposable", 422)
    customer = Customer()
    same(customer.me().credit_balance, FREE, "the free credits")
    again = OnboardRequest(email=customer.email.upper(), name="Ada")
    refused(onboard.sync(client=OPEN, body=again), "customer_exists", 409)
    spent = customer.spend(1, "first")
    same((spent.credit_balance, spent.transaction.amount, spent.replayed), (FREE - 1, -1, False), "the first unit")
    same(customer.spend(1, "first").replayed, True, "the repeated unit")
    ledger = list_transactions.sync(client=customer.client, limit=10)
    same([row.amount for row in ledger.data], [-1, FREE], "the ledger")
    assert isinstance(ledger.data[0].created_at, datetime.datetime), "times are times"
    over = customer.spend(FREE, "too-much")
    refused(over, "insufficient_credits", 402)
    same(over.available, FREE - 1, "what is available")


def pay_as_you_go():
    customer = Customer()
    refused(customer.add_card("pm_card_visa", "no", consent=False), "consent_required", 400)
    same(customer.add_card("pm_card_visa", "card").credit_balance, FREE + BONUS, "the credits with a card")
    same(customer.spend(FREE + BONUS, "all").credit_balance, 0, "the last credits")
    same(customer.spend(1, "paid").credit_balance, 0, "the charged unit")
    charged = get_usage_summary.sync(client=customer.client).charged[0]
    same((charged.charges, charged.amount_minor), (1, 2_900), "the charge")
    poor = Customer()
    poor.add_card("pm_card_chargeCustomerFail", "card")
    poor.spend(FREE + BONUS, "all")
    refused(poor.spend(1, "unit"), "payment_declined", 402)


def pro():
    customer = Customer()
    refused(customer.subscribe("no-card"), "payment_method_missing", 402)
    customer.add_card("pm_card_visa", "card")
    made = customer.subscribe("pro")
    same((made.status, made.plan, made.credit_balance), ("active", "pro", FREE + BONUS + PRO), "the subscription")
    refused(customer.subscribe("again"), "already_subscribed", 409)
    invoice = list_invoices.sync(client=customer.client).data[0]
    same((invoice.status, invoice.amount_paid_minor), ("paid", 59_900), "the invoice")

    def cancel(key, **how):
        return until_done(key, lambda: cancel_subscription.sync(client=customer.client, idempotency_key=key, **how))

    same(cancel("cancel").cancel_at_period_end, True, "the end with the period")
    resumed = until_done("resume", lambda: resume_subscription.sync(client=customer.client, idempotency_key="resume"))
    same(resumed.cancel_at_period_end, False, "the resumed subscription")
    same(cancel("now", at_once=True).status, "canceled", "the end at once")
    customer.wait_until_on("pay_as_you_go", FREE + BONUS + PRO)


def marketplace():
    account, unique = (1 << 40) + secrets.randbelow(1 << 32), secrets.token_hex(6)
    bought = event("purchase", action="purchased", account=account, unique=unique)
    same(send_github(bought, f"{unique}-1").duplicate, False, "the first delivery")
    same(send_github(bought, f"{unique}-1").duplicate, True, "the second delivery")

    def known():
        found = admin_get_marketplace_account.sync(account, client=ADMIN)
        return not isinstance(found, Problem) and found.account.plan is not None and found.account.plan.plan == "pro"

    until("the purchase", known)
    link = admin_create_marketplace_link_token.sync(account, client=ADMIN).token
    customer = Customer(marketplace_link=link)
    customer.wait_until_on("pro", FREE + PRO)
    same(customer.spend(1, "first").credit_balance, FREE + PRO - 1, "the first unit")
    send_github(event("purchase", action="cancelled", account=account, unique=unique), f"{unique}-2")
    customer.wait_until_on("pay_as_you_go", FREE + PRO - 1)


def webhooks():
    customer = Customer()
    values = {"unique": secrets.token_hex(6), "customer": customer.id, "stripe_customer": customer.stripe_customer()}
    created = event("subscription_created", **values)
    refused(send_stripe(created, "nonsense"), "signature_malformed", 400)
    same(send_stripe(created).received, True, "the subscription")
    customer.wait_until_on("pro", FREE)
    paid = event("invoice_paid", **values)
    same([send_stripe(paid).duplicate for _ in range(2)], [False, True], "the payment")
    customer.wait_until_on("pro", FREE + PRO)
    send_stripe(event("subscription_deleted", **values))
    customer.wait_until_on("pay_as_you_go", FREE + PRO)
    same(get_subscription.sync(client=customer.client).status, "canceled", "the subscription's end")
    same(get_credits.sync(client=customer.client).balance, FREE + PRO, "the credits")
    seen = admin_get_event.sync(f"evt_{values['unique']}_paid", client=ADMIN).event
    same((seen.state, seen.deliveries), (EventState.PROCESSED, 2), "the event")


for journey in (signup, pay_as_you_go, pro, marketplace, webhooks):
    journey()
    print(f"python: {journey.__name__}: ok", flush=True)
