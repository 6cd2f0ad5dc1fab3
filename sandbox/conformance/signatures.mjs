// Stripe's own Node library, in releases that pin five API versions, against the sandbox: does each
// find what it pins, and does its verifier accept what the sandbox signs?
//
//     CONFORMANCE_TOOLS=folder-with-node_modules node signatures.mjs http://127.0.0.1:12111

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const RELEASES = ['17.7.0', '18.0.0', '19.3.0', '22.6.0', '23.1.0'];
const BASIL = '2025-03-31.basil';
const DELIVERY_WAIT_MS = 20_000;

const base = new URL(process.argv[2]);
const require = createRequire(join(process.env.CONFORMANCE_TOOLS, 'package.json'));

function client(release) {
    const Stripe = require(`stripe-${release}`);
    const key = `sk_test_conformance_${release.replaceAll('.', '_')}`;
    return new Stripe(key, {
        protocol: base.protocol.slice(0, -1), host: base.hostname, port: base.port, telemetry: false,
        maxNetworkRetries: 0,
    });
}

// Collects what is delivered, and lets others wait for a type of event.
class Receiver {
    constructor() {
        this.deliveries = [];
        this.waiting = [];
        this.server = createServer((request, response) => {
            const chunks = [];
            request.on('data', (chunk) => chunks.push(chunk));
            request.on('end', () => {
                const delivery = { body: Buffer.concat(chunks), signature: request.headers['stripe-signature'] };
                delivery.event = JSON.parse(delivery.body);
                this.deliveries.push(delivery);
                response.end('ok');
                this.waiting = this.waiting.filter((wait) => !wait());
            });
        });
    }

    async listen() {
        await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
        return `http://127.0.0.1:${this.server.address().port}/`;
    }

    async delivery(matches, what) {
        return new Promise((resolve, reject) => {
            const timer = setTimeout(() => reject(new Error(`no ${what} was delivered`)), DELIVERY_WAIT_MS);
            const look = () => {
                const found = this.deliveries.find((delivery) => matches(delivery.event));
                if (found) {
                    clearTimeout(timer);
                    resolve(found);
                }
                return Boolean(found);
            };
            if (!look()) this.waiting.push(look);
        });
    }
}

function verify(stripe, { body, signature, event }, secret) {
    const construct = (bytes, header, key) => stripe.webhooks.constructEvent(bytes, header, key);
    assert.equal(construct(body, signature, secret).id, event.id);
    const refused = { type: 'StripeSignatureVerificationError' };
    const tampered = Buffer.from(body.toString().replace('"livemode"', '"livemodE"'));
    assert.notDeepEqual(tampered, body);
    assert.throws(() => construct(tampered, signature, secret), refused);
    assert.throws(() => construct(body, signature, `${secret}x`), refused);
    const old = signature.replace(/t=\d+/, 't=1700000000');
    assert.throws(() => construct(body, old, secret), refused);
}

async function buy(stripe) {
    const customer = await stripe.customers.create({ email: 'ada@example.com', metadata: { from: 'conformance' } });
    const method = await stripe.paymentMethods.attach('pm_card_visa', { customer: customer.id });
    await stripe.customers.update(customer.id, { invoice_settings: { default_payment_method: method.id } });
    const product = await stripe.products.create({ name: 'Pro' });
    const price = await stripe.prices.create({
        product: product.id, currency: 'usd', unit_amount: 59900, recurring: { interval: 'month' },
    });
    const subscription = await stripe.subscriptions.create({
        customer: customer.id, items: [{ price: price.id }], expand: ['latest_invoice'],
    });
    return { customer, method, price, subscription };
}

function checkShapes(version, { subscription, price }, invoice, intent) {
    assert.equal(subscription.status, 'active');
    assert.equal(invoice.status, 'paid');
    assert.equal(invoice.amount_paid, 59900);
    const [item] = subscription.items.data;
    const [line] = invoice.lines.data;
    if (version < BASIL) {
        assert.ok(subscription.current_period_end > subscription.current_period_start);
        assert.equal(item.current_period_end, undefined);
        assert.equal(invoice.subscription, subscription.id);
        assert.equal(invoice.paid, true);
        assert.match(invoice.payment_intent, /^pi_/);
        assert.match(invoice.charge, /^ch_/);
        assert.equal(line.price.id, price.id);
        assert.equal(line.plan.id, price.id);
        assert.equal(line.type, 'subscription');
        assert.equal(intent.invoice, null);
    } else {
        assert.equal(subscription.current_period_end, undefined);
        assert.ok(item.current_period_end > item.current_period_start);
        assert.equal(invoice.parent.subscription_details.subscription, subscription.id);
        assert.equal(invoice.subscription, undefined);
        assert.equal(invoice.paid, undefined);
        assert.equal(line.pricing.price_details.price, price.id);
        assert.equal(line.price, undefined);
        assert.equal(intent.invoice, undefined);
    }
    assert.match(intent.latest_charge, /^ch_/);
}

async function pay(stripe, { customer, method }) {
    const options = { idempotencyKey: `pay-${customer.id}` };
    const wanted = {
        amount: 2900, currency: 'usd', customer: customer.id, payment_method: method.id, off_session: true,
        confirm: true,
    };
    const intent = await stripe.paymentIntents.create(wanted, options);
    const again = await stripe.paymentIntents.create(wanted, options);
    assert.equal(again.id, intent.id);
    await assert.rejects(stripe.paymentIntents.create({ ...wanted, amount: 1 }, options), { type: 'StripeIdempotencyError' });
    const declined = { ...wanted, payment_method: 'pm_card_chargeDeclined' };
    await assert.rejects(stripe.paymentIntents.create(declined), { type: 'StripeCardError', code: 'card_declined' });
    const refund = await stripe.refunds.create({ payment_intent: intent.id, amount: 900 });
    assert.equal(refund.status, 'succeeded');
    const charge = await stripe.charges.retrieve(intent.latest_charge);
    assert.equal(charge.amount_refunded, 900);
    await assert.rejects(stripe.customers.retrieve('cus_nobody'), { type: 'StripeInvalidRequestError', code: 'resource_missing' });
    return intent;
}

async function pages(stripe, customer) {
    for (let at = 0; at < 3; at += 1) {
        await stripe.paymentIntents.create({ amount: 100 + at, currency: 'usd', customer: customer.id });
    }
    const amounts = [];
    for await (const intent of stripe.paymentIntents.list({ customer: customer.id, limit: 2 })) amounts.push(intent.amount);
    assert.deepEqual(amounts.slice(0, 3), [102, 101, 100]);
    assert.ok(amounts.length >= 4);
}

async function run(release, receiver, url) {
    const stripe = client(release);
    const version = stripe.getApiField('version');
    const endpoint = await stripe.webhookEndpoints.create({ url, enabled_events: ['*'], api_version: version });
    const bought = await buy(stripe);
    const intent = await pay(stripe, bought);
    const invoice = await stripe.invoices.retrieve(bought.subscription.latest_invoice.id);
    checkShapes(version, bought, invoice, intent);
    await pages(stripe, bought.customer);
    const isPaid = (event) => event.type === 'invoice.paid' && event.api_version === version
        && event.data.object.id === invoice.id;
    verify(stripe, await receiver.delivery(isPaid, `invoice.paid of ${version}`), endpoint.secret);
    await stripe.subscriptions.cancel(bought.subscription.id);
    const isEnded = (event) => event.type === 'customer.subscription.deleted' && event.api_version === version
        && event.data.object.id === bought.subscription.id;
    const ended = await receiver.delivery(isEnded, `customer.subscription.deleted of ${version}`);
    verify(stripe, ended, endpoint.secret);
    assert.equal('current_period_end' in ended.event.data.object, version < BASIL);
    await stripe.webhookEndpoints.del(endpoint.id);
    console.log(`stripe ${release}, ${version}: shapes, errors, pages and signatures are as it expects`);
}

const receiver = new Receiver();
const url = await receiver.listen();
for (const release of RELEASES) await run(release, receiver, url);
receiver.server.close();
receiver.server.closeAllConnections();
