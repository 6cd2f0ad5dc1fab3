//! The page in a real browser, as on a phone, with scripts switched off.

use super::*;
use crate::private::Private;
use bursar_services::Chromium;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long an answer of the browser may take, its start included.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A narrow phone, in CSS pixels.
const PHONE: (u32, u32) = (360, 740);

/// One tab, driven by the Chrome DevTools Protocol.
struct Tab {
    requests: std::fs::File,
    messages: Receiver<Value>,
    events: VecDeque<Value>,
    session: Option<String>,
    sent: u64,
}

impl Tab {
    /// Opens a tab as a phone has it, without scripts.
    fn open(browser: &Chromium) -> Self {
        let requests = browser.requests().try_clone().unwrap();
        let messages = read(browser.answers().unwrap());
        let mut tab = Self { requests, messages, events: VecDeque::new(), session: None, sent: 0 };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        tab.session = Some(text(&tab.call("Target.attachToTarget", attach)["sessionId"]).to_owned());
        for domain in ["Page.enable", "Log.enable", "DOM.enable"] {
            tab.call(domain, json!({}));
        }
        tab.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
        let (width, height) = PHONE;
        let phone = json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        tab.call("Emulation.setDeviceMetricsOverride", phone);
        tab
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut request = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.next();
            if message["id"] == self.sent {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push_back(message);
        }
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(ANSWER_LIMIT).expect("the browser answers in time")
    }

    /// Waits until a page is loaded.
    fn wait_loaded(&mut self) {
        loop {
            let event = self.events.pop_front().unwrap_or_else(|| self.next());
            assert_ne!(event["method"], "Log.entryAdded", "the browser complains: {event}");
            if event["method"] == "Page.loadEventFired" {
                return;
            }
        }
    }

    fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.wait_loaded();
    }

    fn node(&mut self, selector: &str) -> Value {
        let root = self.call("DOM.getDocument", json!({}))["root"]["nodeId"].clone();
        let found = self.call("DOM.querySelector", json!({ "nodeId": root, "selector": selector }))["nodeId"].clone();
        assert_ne!(found, 0, "{selector} is on the page");
        found
    }

    /// The size of an element, in CSS pixels, and its middle.
    fn place(&mut self, selector: &str) -> (f64, f64, f64, f64) {
        let node = self.node(selector);
        self.call("DOM.scrollIntoViewIfNeeded", json!({ "nodeId": node }));
        let model = self.call("DOM.getBoxModel", json!({ "nodeId": node }))["model"].clone();
        let number = |value: &Value| value.as_f64().unwrap();
        let quad = |at: usize| number(&model["border"][at]);
        (
            number(&model["width"]),
            number(&model["height"]),
            f64::midpoint(quad(0), quad(4)),
            f64::midpoint(quad(1), quad(5)),
        )
    }

    fn click(&mut self, selector: &str) {
        let (_, _, x, y) = self.place(selector);
        for kind in ["mousePressed", "mouseReleased"] {
            let click = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", click);
        }
    }

    fn html(&mut self) -> String {
        let node = self.node("main");
        text(&self.call("DOM.getOuterHTML", json!({ "nodeId": node }))["outerHTML"]).to_owned()
    }

    /// The width of the whole page, which is wider than the phone if something has to be scrolled to the side.
    fn width(&mut self) -> f64 {
        self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"]["width"].as_f64().unwrap()
    }
}

/// Reads messages in a thread of its own, because a read of the pipe has no time limit.
fn read(mut pipe: std::fs::File) -> Receiver<Value> {
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 65_536]);
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            while let Some(end) = kept.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = kept.drain(..=end).collect();
                let message = serde_json::from_slice(&message[..end]).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    messages
}

/// Confirms an address on the page; returns what the last page said.
fn confirm_by_hand(browser: &Chromium, url: &str) -> String {
    let mut tab = Tab::open(browser);
    tab.go(url);
    assert!((tab.width() - f64::from(PHONE.0)).abs() < 1.0, "nothing is wider than the phone: {}", tab.width());
    let (width, height, ..) = tab.place("button");
    assert!(
        height >= 44.0 && width > 200.0,
        "the policy lets the style through, and a thumb hits the button: {height}"
    );
    assert!(tab.place("input[type=checkbox]").1 >= 20.0);
    tab.click("button");
    tab.wait_loaded();
    assert!((tab.width() - f64::from(PHONE.0)).abs() < 1.0, "the key is wrapped: {}", tab.width());
    tab.html()
}

with_backend! {
    async fn an_address_is_confirmed_in_a_browser_on_a_phone_without_scripts(backend: Backend) {
        let browser = Private::start(Chromium::start).await;
        let app = TestApp::start_with(backend, asks).await;
        let customer = sign_up(&app, "a.rather.long.address.of.somebody@example.com").await;
        let url = format!("{}{}", app.base, welcome_link(&app, &customer).await);
        let html = browser.run(move |browser| Ok(confirm_by_hand(browser, &url))).await;
        let page = Page { status: 200, html, headers: reqwest::header::HeaderMap::new() };
        let key = page.key().unwrap_or_else(|| panic!("no key in {}", page.html));
        assert!(is_confirmed(&app, &key).await && !works(&app, &customer.api_key).await);
        app.stop().await;
    }
}
