//! Attacks on a server in a process of its own, with bounds on its memory and its connections. Others are answered
//! while they last.

use super::webhook::{LARGE, event, forged, head};
use super::{answered, sent_from};
use crate::node::{environment, program};
use bursar_tests::app::{WEBHOOK_SECRETS, config};
use bursar_tests::chaos::node::{Launch, Node};
use bursar_tests::chaos::run_log::RunLog;
use bursar_tests::unique::unique;
use bursar_tests::{Backend, stripe, wait};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How many clients attack, if the system lets this process open so many connections.
const CLIENTS: usize = 2_100;
/// How many clients read nothing.
const UNREAD_CLIENTS: usize = 300;
/// Connections are opened in groups of this size.
const GROUP: usize = 100;
const MIB: f64 = 1_024.0 * 1_024.0;

/// Waits until a server has compressed its page, which it does when the first client asks.
pub(super) async fn compressed(client: &Client, base: &str) {
    wait::until("the documents are compressed", || async {
        let page = client.get(format!("{base}/docs")).header("accept-encoding", "br").send().await.unwrap();
        page.headers().contains_key("content-encoding").then_some(())
    })
    .await;
}

/// A server with an operators' listener, and its customer.
pub(super) struct Target {
    pub(super) node: Node,
    pub(super) client: Client,
    pub(super) address: SocketAddr,
    ops: String,
    _folder: TempDir,
}

impl Target {
    /// Starts one with these further settings.
    pub(super) async fn start(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut environment = environment(&config(Backend::Embedded, &folder).await);
        environment.insert("BURSAR_STRIPE__SANDBOX".to_owned(), "false".to_owned());
        environment.insert("BURSAR_OPS_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let launch = Launch { program: program(), environment, folder: folder.path().to_path_buf() };
        let node = Node::new("target".to_owned(), launch, Arc::new(RunLog::new("test"))).unwrap();
        node.start(&mut *node.lock().await).unwrap();
        // It fails if another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new();
        wait::until("the server is up", || async { node.is_up(&client).await.then_some(()) }).await;
        // It answers before it has logged that it does.
        let line = wait::until("it has logged its second address", || async {
            let log = std::fs::read_to_string(node.log()).unwrap();
            let line = log.lines().find(|line| line.contains("listening for operators"))?;
            serde_json::from_str::<Value>(line).ok()
        })
        .await;
        let ops = format!("http://{}", line["address"].as_str().unwrap());
        let address = node.base.strip_prefix("http://").unwrap().parse().unwrap();
        let target = Self { node, client, address, ops, _folder: folder };
        // Compressing the documents takes memory, which must not be taken for that of an attack.
        for base in [&target.node.base, &target.ops] {
            compressed(&target.client, base).await;
        }
        target
    }

    /// A gauge, as operators see it.
    async fn gauge(&self, name: &str) -> f64 {
        let metrics = self.client.get(format!("{}/metrics", self.ops)).send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
    }

    async fn memory_mib(&self) -> f64 {
        self.gauge("process_resident_memory_bytes").await / MIB
    }

    /// Asserts that customers, Stripe and operators are all answered.
    async fn serves_others(&self) {
        let base = &self.node.base;
        let signup = json!({ "email": format!("{}@example.com", unique()), "name": "Ada", "source": "direct" });
        let made = self.client.post(format!("{base}/api/v1/customers/onboard")).json(&signup).send().await.unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        let made: Value = made.json().await.unwrap();
        for _ in 0..5 {
            let spend = self.client.post(format!("{base}/api/v1/usage"));
            let spend =
                spend.header("x-api-key", made["api_key"].as_str().unwrap()).header("Idempotency-Key", unique());
            assert_eq!(spend.json(&json!({ "units": 1 })).send().await.unwrap().status(), StatusCode::OK);
        }
        for bytes in [10, 2_000_000] {
            let body = event(bytes).to_string();
            let signature = stripe::signature(body.as_bytes(), WEBHOOK_SECRETS[0]);
            let delivery = self.client.post(format!("{base}/webhooks/stripe")).header("Stripe-Signature", signature);
            assert_eq!(delivery.body(body).send().await.unwrap().status(), StatusCode::OK, "{bytes}");
        }
        for address in [base, &self.ops] {
            for path in ["/health", "/health/live", "/health/ready"] {
                // Over a connection of its own, as probes do.
                let answer = Client::new().get(format!("{address}{path}")).send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{address}{path}");
            }
        }
    }

    async fn stop(self) {
        self.node.terminate(&mut *self.node.lock().await).await.unwrap().unwrap();
    }
}

/// As many clients as attack, or fewer if this process may open only few files.
fn clients() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let files = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    CLIENTS.min(files / 3)
}

/// Opens that many connections, each from the address of its number, and sends the same text on each.
async fn attack(target: &Target, clients: usize, from: fn(usize) -> Ipv4Addr, text: &str) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for first in (0..clients).step_by(GROUP) {
        let group = (first..clients.min(first + GROUP)).map(|number| sent_from(from(number), target.address, text));
        streams.extend(join_all(group).await);
    }
    streams
}

const SLOW: &str = "POST /api/v1/usage HTTP/1.1\r\nHost: bur";

/// Bounds: 512 connections for the attacker, and 64 MiB of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_of_one_address_cost_others_nothing() {
    let target = Target::start(&[]).await;
    target.serves_others().await;
    let before = target.memory_mib().await;
    let clients = clients();
    let streams = attack(&target, clients, |_| Ipv4Addr::new(127, 0, 0, 2), SLOW).await;
    target.serves_others().await;
    let connections = target.gauge("bursar_http_connections").await;
    assert!(connections <= 512.0 + 40.0, "{connections} connections");
    let grown = target.memory_mib().await - before;
    assert!(grown < 64.0, "{grown} MiB");
    drop(streams);
    target.stop().await;
}

/// Bounds: 1,024 connections in all, and 112 KiB of memory for each, without optimisation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_of_as_many_addresses_cost_others_nothing() {
    let target = Target::start(&[
        ("BURSAR_HTTP__CONNECTIONS_MAX", "1024"),
        ("BURSAR_HTTP__REQUESTS_MAX", "512"),
        ("BURSAR_HTTP__WEBHOOKS_MAX", "256"),
    ])
    .await;
    target.serves_others().await;
    let before = target.memory_mib().await;
    let address = |number: usize| {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        Ipv4Addr::new(127, 1, high, low)
    };
    // Slow heads, slow bodies of strangers, and unread answers.
    let signup = head("/api/v1/customers/onboard", "Content-Type: application/json\r\n", 1_000);
    let unread = "GET /docs HTTP/1.1\r\nHost: bursar\r\n\r\n".repeat(20);
    let webhook = head("/webhooks/stripe", &forged(), 100_000);
    let (mut streams, mut grown) = (Vec::new(), Vec::new());
    let most = clients() / 2;
    // What the system buffers for those who read nothing counts, too, so they are fewer.
    for (clients, text) in [(most, SLOW), (most, &signup), (UNREAD_CLIENTS, &unread), (most, &webhook)] {
        streams.push(attack(&target, clients, address, text).await);
        target.serves_others().await;
        let connections = target.gauge("bursar_http_connections").await;
        assert!(connections <= 1_024.0 + 40.0, "{connections} connections");
        grown.push(target.memory_mib().await - before);
    }
    assert!(grown.iter().all(|grown| *grown < 112.0), "MiB after each attack: {grown:?}");
    drop(streams);
    target.stop().await;
}

/// Bound: 80 MiB of memory for 64 MiB that are sent, of which 8 are kept: the allocator gives back a little later what
/// was freed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_withheld_bodies_of_four_mib_from_one_address_cost_others_nothing() {
    let target = Target::start(&[]).await;
    target.serves_others().await;
    let before = target.memory_mib().await;
    let text = head("/webhooks/stripe", &forged(), LARGE);
    let withheld = join_all((0..16).map(|_| async {
        let mut stream = sent_from([127, 0, 0, 2], target.address, &text).await;
        let _ = stream.write_all(&vec![b'x'; LARGE - 1]).await;
        stream
    }))
    .await;
    target.serves_others().await;
    let grown = target.memory_mib().await - before;
    assert!(grown < 80.0, "{grown} MiB");
    drop(withheld);
    target.stop().await;
}

/// Bound: no event is lost, and none is stored that nobody signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_webhooks_keeps_no_signed_one_out() {
    let target = Target::start(&[]).await;
    let body = "x".repeat(1_000);
    let text = format!("{}{body}", head("/webhooks/stripe", &format!("{}Connection: close\r\n", forged()), body.len()));
    let mut refused = 0;
    for _ in 0..10 {
        let flood = attack(&target, GROUP, |_| Ipv4Addr::new(127, 0, 0, 2), &text);
        let (streams, ()) = tokio::join!(flood, target.serves_others());
        for answer in join_all(streams.into_iter().map(answered)).await {
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1_000);
    target.stop().await;
}
