//! Debits, alone and beside strangers on another address who are slow, withhold bodies and forge webhooks. Signed
//! webhooks arrive meanwhile, and none may be lost.

use super::plan::Scenario;
use super::report::{Measurement, OtherTraffic};
use super::server::Server;
use super::{Attempt, Latencies, http, quantile_ms, run_callers, seed, spread, webhooks};
use crate::app::WEBHOOK_SECRETS;
use crate::stripe;
use anyhow::{Context, Result};
use bursar_engine::clock::Clock;
use hdrhistogram::Histogram;
use reqwest::{Client, StatusCode};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

/// Where the strangers are.
const STRANGERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Slow connections that they keep.
const SLOW: usize = 2_100;
/// Time between two new slow connections: 250 a second.
const SLOW_EVERY: Duration = Duration::from_millis(4);
/// Bodies that they withhold at a time, and how large each is.
const WITHHELD: usize = 16;
const WITHHELD_BYTES: usize = 4 * 1_024 * 1_024;
/// Time between two such bodies.
const WITHHELD_EVERY: Duration = Duration::from_millis(500);
/// Time between two forged webhooks: 100 a second.
const FORGED_EVERY: Duration = Duration::from_millis(10);
/// Time between two signed webhooks: 20 a second.
const SIGNED_EVERY: Duration = Duration::from_millis(50);

/// Measures how much longer debits take beside the strangers.
///
/// # Errors
/// When the server does not start, refuses a debit or a signed webhook, or loses one.
pub async fn run(scenario: &Scenario) -> Result<Measurement> {
    seed::open(scenario, 4, http::KEYS_MAX).await?.close().await;
    let server = Server::start(scenario).await?;
    let address: SocketAddr = server.base.strip_prefix("http://").context("an address")?.parse()?;
    let (alone, _) = debits(scenario, &server, "alone").await?;
    let forged = Latencies::new()?;
    let mut strangers = JoinSet::new();
    strangers.spawn(be_slow(address));
    strangers.spawn(withhold(address));
    strangers.spawn(forge(server.base.clone(), forged.clone()));
    let measured = tokio::try_join!(debits(scenario, &server, "beside"), deliver(scenario, &server));
    let ended = strangers.try_join_next();
    strangers.shutdown().await;
    if let Some(ended) = ended {
        ended??;
    }
    let ((beside, seconds), delivered) = measured?;
    let db = seed::open(&Scenario { is_seeded: true, ..scenario.clone() }, 2, 0).await?;
    webhooks::wait_until_done(&db).await?;
    webhooks::check_results(&db, delivered).await?;
    let mut measured = Measurement::new(scenario, &beside, seconds, server.memory_mib()?);
    measured.p99_times = Some(quantile_ms(&beside, 0.99) / quantile_ms(&alone, 0.99));
    let forged = forged.all()?;
    #[allow(clippy::cast_precision_loss)]
    let per_second = forged.len() as f64 / seconds;
    measured.others = Some(OtherTraffic { per_second, p95_ms: quantile_ms(&forged, 0.95), refused: forged.len() });
    Ok(measured)
}

async fn debits(scenario: &Scenario, server: &Server, phase: &'static str) -> Result<(Histogram<u64>, f64)> {
    let (client, url) = (Client::new(), format!("{}/api/v1/usage", server.base));
    let keys = scenario.customers.min(http::KEYS_MAX);
    let debit = move |caller: usize, n: u64| {
        let request = http::debit(&client, &url, spread(caller, n, keys), &format!("{phase}-{caller}-{n}"));
        async move {
            http::expect_success(request.send().await?).await?;
            Ok(Attempt::Done)
        }
    };
    run_callers(scenario.callers, scenario.seconds, debit).await
}

/// Delivers signed webhooks at a constant rate. Returns how many, all of which were accepted.
async fn deliver(scenario: &Scenario, server: &Server) -> Result<u64> {
    let (client, url) = (Client::new(), format!("{}/webhooks/stripe", server.base));
    let mut due = Instant::now();
    let until = due + Duration::from_secs(scenario.seconds);
    let mut delivered = 0;
    while due < until {
        sleep_until(due).await;
        let invoice = stripe::pro_invoice(&seed::stripe_customer_id(delivered % scenario.customers), None);
        let body = stripe::event("invoice.paid", &invoice).to_string();
        let signature = stripe::signature(body.as_bytes(), WEBHOOK_SECRETS[0]);
        let request = client.post(&url).header("Stripe-Signature", signature).body(body);
        http::expect_success(request.send().await?).await?;
        (due, delivered) = (due + SIGNED_EVERY, delivered + 1);
    }
    Ok(delivered)
}

/// Opens a connection from the strangers' address. The server may refuse what is sent on it.
async fn open(address: SocketAddr, text: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(STRANGERS.into(), 0))?;
    let mut stream = socket.connect(address).await?;
    let _ = stream.write_all(text.as_bytes()).await;
    Ok(stream)
}

/// Keeps many connections with half a head each.
async fn be_slow(address: SocketAddr) -> Result<()> {
    let (mut held, mut turns) = (VecDeque::new(), interval(SLOW_EVERY));
    loop {
        turns.tick().await;
        held.push_back(open(address, "POST /api/v1/usage HTTP/1.1\r\nHost: bur").await?);
        if held.len() > SLOW {
            held.pop_front();
        }
    }
}

/// A signature header that anybody can make.
fn forged_signature() -> String {
    format!("t={},v1={}", Clock::System.now_ms() / 1_000, "00".repeat(32))
}

/// Sends one large body after another, and the last byte of none.
async fn withhold(address: SocketAddr) -> Result<()> {
    let (mut held, mut turns) = (VecDeque::new(), interval(WITHHELD_EVERY));
    let body = vec![b'x'; WITHHELD_BYTES - 1];
    loop {
        turns.tick().await;
        let head = format!(
            "POST /webhooks/stripe HTTP/1.1\r\nHost: bursar\r\nStripe-Signature: {}\r\nContent-Length: {WITHHELD_BYTES}\r\n\r\n",
            forged_signature()
        );
        let mut stream = open(address, &head).await?;
        let _ = stream.write_all(&body).await;
        held.push_back(stream);
        if held.len() > WITHHELD {
            held.pop_front();
        }
    }
}

/// Sends webhooks that nobody signed. Records how long their refusals take.
async fn forge(base: String, latencies: Latencies) -> Result<()> {
    let client = Client::builder().local_address(std::net::IpAddr::from(STRANGERS)).build()?;
    let mut turns = interval(FORGED_EVERY);
    loop {
        turns.tick().await;
        let begun = Instant::now();
        let request = client.post(format!("{base}/webhooks/stripe")).header("Stripe-Signature", forged_signature());
        // The slow connections of the same address may leave it no room.
        if let Ok(answer) = request.body("x".repeat(1_000)).send().await {
            anyhow::ensure!(answer.status() != StatusCode::OK, "a forged webhook was accepted");
            latencies.record(0, begun);
        }
    }
}
