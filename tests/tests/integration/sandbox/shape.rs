//! The engine reads the same facts from objects and events in every API version.

use super::facts::facts;
use super::scene::{Made, Stripe, id};
use bursar_engine::domain::catalogue::Catalogue;
use bursar_engine::domain::sale::PriceBook;
use bursar_engine::domain::webhook::WANTED;
use bursar_engine::domain::webhook::fields::{ChargeFields, InvoiceFields};
use bursar_sandbox::Options;
use bursar_sandbox::version::Version;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, Path};
use poem::{EndpointExt, Route, Server, handler, post};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Versions compared at a time: there may be 16 webhook endpoints, one of them for the newest version.
const VERSIONS_AT_A_TIME: usize = 11;
/// How long a delivery may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

type Delivered = mpsc::UnboundedSender<(usize, Value)>;

#[handler]
fn receive(Path(version): Path<usize>, body: Vec<u8>, Data(delivered): Data<&Delivered>) {
    let _ = delivered.send((version, serde_json::from_slice(&body).unwrap()));
}

/// The built-in catalogue with the id of Pro's price, as every API version has it.
fn book(made: &Made) -> PriceBook {
    let mut catalogue = Catalogue::clone(&Catalogue::built_in());
    catalogue.prices[0].stripe = vec![made.price.clone()];
    PriceBook::new(Arc::new(catalogue), [])
}

fn paths(made: &Made) -> Vec<String> {
    vec![
        format!("/v1/customers/{}", made.customer),
        format!("/v1/payment_methods/{}", made.method),
        format!("/v1/subscriptions/{}", made.subscription),
        format!("/v1/invoices/{}", made.invoice),
        format!("/v1/payment_intents/{}", made.intent),
        format!("/v1/charges/{}", made.charge),
        format!("/v1/refunds/{}", made.refund),
        format!("/v1/disputes/{}", made.dispute),
        format!("/v1/credit_notes/{}", made.credit_note),
        format!("/v1/checkout/sessions/{}", made.session),
        format!("/v1/invoice_payments?invoice={}", made.invoice),
    ]
}

/// An object, or the only one of a list.
fn only(answer: Value) -> Value {
    if answer["object"] == "list" { answer["data"][0].clone() } else { answer }
}

#[tokio::test]
async fn every_api_version_of_every_object_reads_the_same() {
    let stripe = Stripe::start(Options::default()).await;
    let made = stripe.everything().await;
    for path in paths(&made) {
        let wanted = facts(&only(stripe.get(&path, Version::newest()).await), &book(&made));
        assert!(wanted[0].is_string(), "{path}: {wanted}");
        for version in Version::all() {
            let found = facts(&only(stripe.get(&path, version).await), &book(&made));
            assert_eq!(found, wanted, "{path} at {version}");
        }
    }
}

#[tokio::test]
async fn the_payment_of_an_invoice_is_found_in_every_api_version() {
    let stripe = Stripe::start(Options::default()).await;
    let made = stripe.everything().await;
    let path = format!("/v1/invoices/{}?expand[]=payments", made.invoice);
    let newest = InvoiceFields::read(&stripe.get(&path, Version::newest()).await);
    assert_eq!(newest.payment_intent_ids.len(), 1);
    for version in Version::all() {
        let path = if version < Version::BASIL { path.split('?').next().unwrap() } else { &path };
        let invoice = InvoiceFields::read(&stripe.get(path, version).await);
        assert_eq!(invoice.payment_intent_ids, newest.payment_intent_ids, "{version}");
        if version < Version::BASIL {
            let charge = stripe.get(&format!("/v1/charges/{}", invoice.charge_ids[0]), version).await;
            assert_eq!(ChargeFields::read(&charge).invoice_id.as_deref(), Some(made.invoice.as_str()), "{version}");
        }
    }
}

#[tokio::test]
async fn every_api_version_of_every_event_reads_the_same() {
    let versions: Vec<Version> = Version::all().collect();
    for (batch, some) in versions.chunks(VERSIONS_AT_A_TIME).enumerate() {
        let mut endpoints = some.to_vec();
        endpoints.push(Version::newest());
        compare_events(&endpoints, batch).await;
    }
}

async fn compare_events(endpoints: &[Version], batch: usize) {
    let (delivered, mut deliveries) = mpsc::unbounded_channel();
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = acceptor.local_addr()[0].as_socket_addr().copied().unwrap();
    let app = Route::new().at("/:version", post(receive)).data(delivered);
    let server = tokio::spawn(Server::new_with_acceptor(acceptor).run(app));

    let stripe = Stripe::start(Options::default()).await;
    for (at, version) in endpoints.iter().enumerate() {
        let url = format!("http://{address}/{at}");
        let form = [("url", url.as_str()), ("enabled_events[]", "*"), ("api_version", version.as_str())];
        stripe.post("/v1/webhook_endpoints", &form).await;
    }
    let events_before = stripe.events().await.len();
    let made = stripe.everything().await;
    let wanted = (stripe.events().await.len() - events_before) * endpoints.len();
    let mut events: BTreeMap<String, BTreeMap<usize, Value>> = BTreeMap::new();
    while events.values().map(BTreeMap::len).sum::<usize>() < wanted {
        let next = tokio::time::timeout(DELIVERY_TIMEOUT, deliveries.recv()).await;
        let (at, event) = next.expect("every event is delivered in every version").unwrap();
        events.entry(id(&event)).or_default().insert(at, event);
    }
    let newest = endpoints.len() - 1;
    let mut types = BTreeSet::new();
    for rendered in events.values() {
        let wanted = facts(&rendered[&newest]["data"]["object"], &book(&made));
        types.insert(rendered[&newest]["type"].as_str().unwrap().to_owned());
        for (at, event) in rendered {
            assert_eq!(event["api_version"], endpoints[*at].as_str(), "batch {batch}");
            let found = facts(&event["data"]["object"], &book(&made));
            assert_eq!(found, wanted, "{} at {}", event["type"], endpoints[*at]);
        }
    }
    let seen = WANTED.iter().filter(|wanted| types.contains(**wanted)).count();
    assert!(seen >= 15, "the scene makes most types of events that matter: {types:?}");
    server.abort();
}
