// The five journeys of customers, by the types that openapi-typescript generates from the document, and openapi-fetch.
//
// The compiler checks every path, parameter, body and field against the document before anything runs. Settings are in
// the environment, as `tests/clients/run` sets them.

import { createHmac, randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./document.js";

type Schemas = components["schemas"];
type Problem = Schemas["Problem"];
/** What openapi-fetch returns: an answer, or an error. */
type Answer<Data> = { data?: Data; error?: unknown; response: Response };

const FREE = 5;
const BONUS = 5;
const PRO = 60;
const MONTH_S = 30 * 86_400;
const DEADLINE_MS = 60_000;

const setting = (name: string): string => {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
};
const baseUrl = setting("BURSAR_URL");
const events = JSON.parse(readFileSync(setting("EVENTS_FILE"), "utf8")) as Record<string, unknown>;
const open = createClient<paths>({ baseUrl });
const admin = createClient<paths>({
  baseUrl,
  headers: { Authorization: `Bearer ${setting("BURSAR_ADMIN_TOKEN")}` },
});

function same<T>(found: T, expected: T, what: string): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
}

function good<Data>(answer: Answer<Data>): Data {
  if (answer.data === undefined) throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

function refused(answer: Answer<unknown>, code: string, status: number): Problem {
  const problem = answer.error as Problem | undefined;
  same([problem?.code, problem?.status], [code, status], "the refusal");
  return problem as Problem;
}

/** Asks until there is an answer. */
async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + DEADLINE_MS;
  while (Date.now() < deadline) {
    const found = await ask();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not come about in ${DEADLINE_MS} ms`);
}

/** Repeats a request under its key until its operation is done. */
function untilDone<Data>(call: () => Promise<Answer<Data | Schemas["AcceptedOperation"]>>): Promise<Answer<Data>> {
  return until("the operation", async () => {
    const answer = await call();
    return answer.response.status === 202 ? undefined : (answer as Answer<Data>);
  });
}

class Customer {
  private constructor(
    readonly id: string,
    readonly email: string,
    readonly client: ReturnType<typeof createClient<paths>>,
  ) {}

  static async make(more: Partial<Schemas["OnboardRequest"]> = {}): Promise<Customer> {
    const email = `clients-${randomBytes(6).toString("hex")}@example.com`;
    const body = { email, name: "Ada Lovelace", ...more };
    const made = good(await open.POST("/api/v1/customers/onboard", { body }));
    const headers = { "x-api-key": made.api_key ?? "" };
    return new Customer(made.customer.id, email, createClient<paths>({ baseUrl, headers }));
  }

  async me(): Promise<Schemas["Customer"]> {
    return good(await this.client.GET("/api/v1/customer"));
  }

  spend(units: number, key: string): Promise<Answer<Schemas["TransactionResult"]>> {
    const request = { params: { header: { "Idempotency-Key": key } }, body: { units, reference: key } };
    return untilDone(() => this.client.POST("/api/v1/usage", request));
  }

  addCard(payment_method: string, key: string, consent = true): Promise<Answer<Schemas["AddedPaymentMethod"]>> {
    const request = { params: { header: { "Idempotency-Key": key } }, body: { payment_method, consent } };
    return untilDone(() => this.client.POST("/api/v1/payment-methods", request));
  }

  subscribe(key: string): Promise<Answer<Schemas["Subscription"]>> {
    const request = { params: { header: { "Idempotency-Key": key } }, body: {} };
    return untilDone(() => this.client.POST("/api/v1/subscription", request));
  }

  cancel(key: string, at_once?: boolean): Promise<Answer<Schemas["Subscription"]>> {
    const query = at_once === undefined ? {} : { at_once };
    const request = { params: { header: { "Idempotency-Key": key }, query } };
    return untilDone(() => this.client.DELETE("/api/v1/subscription", request));
  }

  waitUntilOn(plan: string, credits: number): Promise<boolean> {
    return until(`${plan} with ${credits}`, async () => {
      const me = await this.me();
      return (me.plan === plan && me.credit_balance === credits) || undefined;
    });
  }

  stripeCustomer(): Promise<string> {
    const request = { params: { path: { id: this.id } } };
    return until("a Stripe customer", async () => {
      const found = good(await admin.GET("/admin/v1/customers/{id}", request));
      return found.customer.stripe_customer_id ?? undefined;
    });
  }
}

/** An event of the file with its values. */
function event(name: string, given: Record<string, string | number>): string {
  const now = Math.floor(Date.now() / 1_000);
  const day = (after: number) => new Date(Date.now() + after * 86_400_000).toISOString().slice(0, 10);
  const values = { ...given, now, month_later: now + MONTH_S, today: day(0), next_billing_day: day(20) };
  let text = JSON.stringify(events[name]);
  for (const [key, value] of Object.entries(values)) {
    const mark = `{{${key}}}`;
    text = text.replaceAll(`"${mark}"`, JSON.stringify(value)).replaceAll(mark, String(value));
  }
  return text;
}

const sign = (secret: string, content: string) => createHmac("sha256", setting(secret)).update(content).digest("hex");

/** The bytes of an event as they are: its signature is that of the bytes. */
const raw = { bodySerializer: (body: string) => body, headers: { "Content-Type": "application/octet-stream" } };

function sendStripe(body: string, given?: string): Promise<Answer<Schemas["WebhookReceipt"]>> {
  const now = Math.floor(Date.now() / 1_000);
  const signature = given ?? `t=${now},v1=${sign("STRIPE_WEBHOOK_SECRET", `${now}.${body}`)}`;
  return open.POST("/webhooks/stripe", { params: { header: { "Stripe-Signature": signature } }, body, ...raw });
}

function sendGithub(body: string, delivery: string): Promise<Answer<Schemas["WebhookReceipt"]>> {
  const header = {
    "X-Hub-Signature-256": `sha256=${sign("GITHUB_WEBHOOK_SECRET", body)}`,
    "X-GitHub-Event": "marketplace_purchase",
    "X-GitHub-Delivery": delivery,
  };
  return open.POST("/webhooks/github", { params: { header }, body, ...raw });
}

async function signup(): Promise<void> {
  const disposable = { email: "a@mailinator.com", name: "A" };
  refused(await open.POST("/api/v1/customers/onboard", { body: disposable }), "email_disposable", 422);
  const customer = await Customer.make();
  same((await customer.me()).credit_balance, FREE, "the free credits");
  const again = { email: customer.email.toUpperCase(), name: "Ada" };
  refused(await open.POST("/api/v1/customers/onboard", { body: again }), "customer_exists", 409);
  const spent = good(await customer.spend(1, "first"));
  same([spent.credit_balance, spent.transaction.amount], [FREE - 1, -1], "the first unit");
  same(good(await customer.spend(1, "first")).replayed, true, "the repeated unit");
  const query = { limit: 10 };
  const ledger = good(await customer.client.GET("/api/v1/credits/transactions", { params: { query } }));
  same(ledger.data.map((row) => row.amount), [-1, FREE], "the ledger");
  const over = refused(await customer.spend(FREE, "too-much"), "insufficient_credits", 402);
  same(over.available, FREE - 1, "what is available");
}

async function payAsYouGo(): Promise<void> {
  const customer = await Customer.make();
  refused(await customer.addCard("pm_card_visa", "no", false), "consent_required", 400);
  same(good(await customer.addCard("pm_card_visa", "card")).credit_balance, FREE + BONUS, "the credits with a card");
  same(good(await customer.spend(FREE + BONUS, "all")).credit_balance, 0, "the last credits");
  same(good(await customer.spend(1, "paid")).credit_balance, 0, "the charged unit");
  const summary = good(await customer.client.GET("/api/v1/usage/summary"));
  same([summary.charged[0]?.charges, summary.charged[0]?.amount_minor], [1, 2_900], "the charge");
  const poor = await Customer.make();
  good(await poor.addCard("pm_card_chargeCustomerFail", "card"));
  good(await poor.spend(FREE + BONUS, "all"));
  refused(await poor.spend(1, "unit"), "payment_declined", 402);
}

async function pro(): Promise<void> {
  const customer = await Customer.make();
  refused(await customer.subscribe("no-card"), "payment_method_missing", 402);
  good(await customer.addCard("pm_card_visa", "card"));
  const made = good(await customer.subscribe("pro"));
  same([made.status, made.plan, made.credit_balance], ["active", "pro", FREE + BONUS + PRO], "the subscription");
  refused(await customer.subscribe("again"), "already_subscribed", 409);
  const invoices = good(await customer.client.GET("/api/v1/invoices"));
  same([invoices.data[0]?.status, invoices.data[0]?.amount_paid_minor], ["paid", 59_900], "the invoice");
  same(good(await customer.cancel("cancel")).cancel_at_period_end, true, "the end with the period");
  const request = { params: { header: { "Idempotency-Key": "resume" } } };
  const resumed = await untilDone<Schemas["Subscription"]>(() =>
    customer.client.POST("/api/v1/subscription/resume", request),
  );
  same(good(resumed).cancel_at_period_end, false, "the resumed subscription");
  same(good(await customer.cancel("now", true)).status, "canceled", "the end at once");
  await customer.waitUntilOn("pay_as_you_go", FREE + BONUS + PRO);
}

async function marketplace(): Promise<void> {
  const [account, unique] = [2 ** 40 + randomInt(2 ** 32), randomBytes(6).toString("hex")];
  const bought = event("purchase", { action: "purchased", account, unique });
  same(good(await sendGithub(bought, `${unique}-1`)).duplicate, false, "the first delivery");
  same(good(await sendGithub(bought, `${unique}-1`)).duplicate, true, "the second delivery");
  const path = { github_account_id: account };
  await until("the purchase", async () => {
    const found = await admin.GET("/admin/v1/marketplace/accounts/{github_account_id}", { params: { path } });
    return found.data?.account.plan?.plan === "pro" || undefined;
  });
  const linkPath = "/admin/v1/marketplace/accounts/{github_account_id}/link-token";
  const link = good(await admin.POST(linkPath, { params: { path } }));
  const customer = await Customer.make({ marketplace_link: link.token });
  await customer.waitUntilOn("pro", FREE + PRO);
  same(good(await customer.spend(1, "first")).credit_balance, FREE + PRO - 1, "the first unit");
  good(await sendGithub(event("purchase", { action: "cancelled", account, unique }), `${unique}-2`));
  await customer.waitUntilOn("pay_as_you_go", FREE + PRO - 1);
}

async function webhooks(): Promise<void> {
  const customer = await Customer.make();
  const unique = randomBytes(6).toString("hex");
  const values = { unique, customer: customer.id, stripe_customer: await customer.stripeCustomer() };
  const created = event("subscription_created", values);
  refused(await sendStripe(created, "nonsense"), "signature_malformed", 400);
  same(good(await sendStripe(created)).received, true, "the subscription");
  await customer.waitUntilOn("pro", FREE);
  const paid = event("invoice_paid", values);
  same(good(await sendStripe(paid)).duplicate, false, "the payment");
  same(good(await sendStripe(paid)).duplicate, true, "the repeated payment");
  await customer.waitUntilOn("pro", FREE + PRO);
  good(await sendStripe(event("subscription_deleted", values)));
  await customer.waitUntilOn("pay_as_you_go", FREE + PRO);
  same(good(await customer.client.GET("/api/v1/subscription")).status, "canceled", "the subscription's end");
  const request = { params: { path: { id: `evt_${unique}_paid` } } };
  const seen = good(await admin.GET("/admin/v1/events/{id}", request)).event;
  same([seen.state, seen.deliveries], ["processed", 2], "the event");
}

for (const journey of [signup, payAsYouGo, pro, marketplace, webhooks]) {
  await journey();
  console.log(`typescript: ${journey.name}: ok`);
}
