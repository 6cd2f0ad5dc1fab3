//! The page on which the owner of a mailbox confirms its address: `/confirm`.
//!
//! It needs no script. A GET shows what the link is good for and changes nothing, so that a mail scanner that follows
//! links confirms nothing. The button posts a form. Its answer shows a new API key once; it must not be stored, framed,
//! or named to another site.

mod view;

use crate::app::App;
use crate::client_ip::ClientIp;
use crate::problem::ApiError;
use crate::routes::input::parameter;
use bursar_engine::domain::confirmation::{Choice, ConfirmationToken, LinkState};
use bursar_engine::ids::CustomerId;
use bursar_engine::usecase::confirmation::{self, Asker, LinkRequest, ShownLink, Used};
use bursar_engine::usecase::onboard::gate::client_network;
use bursar_engine::usecase::rate_limit;
use bursar_engine::{Error, Result as EngineResult};
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, FromRequest, Request, RequestBody, Response};
use poem_openapi::OperationId;
use std::sync::Arc;
use view::{Page, View};

/// Forms that one client may post in a minute.
const POSTS_PER_MINUTE: u32 = 20;
const MINUTE_MS: i64 = 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// The longest form, in bytes.
const FORM_MAX_BYTES: usize = 4_096;
const FORM_TYPE: &str = "application/x-www-form-urlencoded";

/// The page as an endpoint.
pub(crate) struct ConfirmPage {
    app: Arc<App>,
    view: View,
}

impl ConfirmPage {
    /// The page of an application.
    pub(crate) fn new(app: Arc<App>) -> Self {
        let view = View::new(&app.config);
        Self { app, view }
    }

    async fn show(&self, request: &Request) -> EngineResult<Response> {
        let query = request.uri().query().unwrap_or_default();
        let Some(token) = parameter(query.as_bytes(), "token").and_then(|text| ConfirmationToken::parse(&text)) else {
            return Ok(self.unknown());
        };
        let shown = confirmation::look(self.app.db.read(), &token, self.app.clock.now_ms()).await?;
        Ok(match shown {
            None => self.unknown(),
            Some(shown) if shown.state == LinkState::Usable => {
                let is_confirmed = shown.customer.confirmation.is_confirmed();
                let page = Page::Ask { email: shown.customer.email, is_confirmed, token: token.expose() };
                self.view.respond(StatusCode::OK, &page)
            }
            Some(shown) => self.gone(&shown, &token),
        })
    }

    async fn submit(&self, mut request: Request) -> EngineResult<Response> {
        self.take_turn(&request).await?;
        let is_form = request.content_type().is_some_and(|kind| kind.starts_with(FORM_TYPE));
        let form = request.take_body().into_bytes_limit(FORM_MAX_BYTES).await;
        let (true, Ok(form)) = (is_form, form) else { return Ok(self.unknown()) };
        let Some(token) = parameter(&form, "token").and_then(|text| ConfirmationToken::parse(&text)) else {
            return Ok(self.unknown());
        };
        match parameter(&form, "action").as_deref() {
            Some("confirm") => {
                let is_ticked = |name| parameter(&form, name).is_some();
                self.confirm(&token, Choice { keep_keys: is_ticked("keep_keys"), new_key: is_ticked("new_key") }).await
            }
            Some("send") => self.send(&token).await,
            _ => Ok(self.unknown()),
        }
    }

    async fn confirm(&self, token: &ConfirmationToken, choice: Choice) -> EngineResult<Response> {
        let used = confirmation::confirm(&self.app.db, token, choice, self.app.clock.now_ms()).await?;
        Ok(match used {
            Used::Unknown => self.unknown(),
            Used::Unusable(shown) => self.gone(&shown, token),
            Used::Confirmed(done) => {
                for hash in &done.ended {
                    self.app.evict_api_key(hash, true).await;
                }
                let page = Page::Done {
                    email: &done.customer.email,
                    is_first: done.is_first,
                    api_key: done.new_key.as_ref().map(|key| key.expose()),
                    is_kept: choice.keep_keys,
                    ended: done.ended.len(),
                };
                self.view.respond(StatusCode::OK, &page)
            }
        })
    }

    /// Sends a new link in place of one that is no longer good: at most one a day, however often the button is pressed.
    async fn send(&self, token: &ConfirmationToken) -> EngineResult<Response> {
        let now_ms = self.app.clock.now_ms();
        let shown = match confirmation::look(self.app.db.read(), token, now_ms).await? {
            Some(shown) if matches!(shown.state, LinkState::Used | LinkState::Expired) => shown,
            Some(shown) => return Ok(self.gone(&shown, token)),
            None => return Ok(self.unknown()),
        };
        let customer: &CustomerId = &shown.customer.id;
        let key = format!("page:{}:{}", token.hash(), now_ms / DAY_MS);
        let request = LinkRequest { asker: Asker::Mailbox, key: &key, request_hash: "page" };
        let (app, config) = (&self.app, &self.app.config.onboarding);
        let sent = confirmation::send_link(&app.db, app.seal(), config, customer, request, now_ms).await?;
        app.runtime.dispatcher.announce(sent.wakes);
        Ok(self.view.respond(StatusCode::OK, &Page::Sent { email: &sent.customer.email }))
    }

    /// Counts a form against the limit of its client.
    async fn take_turn(&self, request: &Request) -> EngineResult<()> {
        let from = ClientIp::from_request(request, &mut RequestBody::default()).await;
        let network = from.map_or_else(|_| String::new(), |from| client_network(from.0));
        let (key, now_ms) = (format!("confirm:{network}"), self.app.clock.now_ms());
        rate_limit::take(&self.app.db, &key, POSTS_PER_MINUTE, MINUTE_MS, now_ms).await?.into_result()
    }

    fn unknown(&self) -> Response {
        self.view.respond(StatusCode::NOT_FOUND, &Page::Unknown)
    }

    fn gone(&self, shown: &ShownLink, token: &ConfirmationToken) -> Response {
        self.view.respond(StatusCode::GONE, &Page::Gone { state: shown.state, token: token.expose() })
    }

    /// The page for a request that failed. What went wrong on our side is logged where it becomes an API error.
    fn failed(&self, error: Error) -> Response {
        let detail = match &error {
            Error::Conflict { message, .. } => Some(message.clone()),
            _ => None,
        };
        let problem = crate::problem::respond(ApiError::from(error));
        let (status, after) = (problem.status(), problem.headers().get(header::RETRY_AFTER).cloned());
        let mut response = self.view.respond(status, &Page::Failed { status, detail });
        if let Some(after) = after {
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}

impl Endpoint for ConfirmPage {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (operation, answer) = match *request.method() {
            Method::GET | Method::HEAD => ("show_confirmation", self.show(&request).await),
            Method::POST => ("submit_confirmation", self.submit(request).await),
            _ => {
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let mut response = self.view.respond(status, &Page::Failed { status, detail: None });
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                return Ok(response);
            }
        };
        let mut response = answer.unwrap_or_else(|error| self.failed(error));
        response.set_data(OperationId(operation));
        Ok(response)
    }
}
