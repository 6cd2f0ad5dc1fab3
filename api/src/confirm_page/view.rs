//! How the page looks: its template, its style, and the headers that guard it.

use bursar_engine::config::Config;
use bursar_engine::domain::confirmation::LinkState;
use data_encoding::BASE64;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!("../../templates/confirm.css");
const TEMPLATE: &str = "confirm.html";

/// What the page shows.
pub(super) enum Page<'a> {
    /// The question, with the form.
    Ask { email: String, is_confirmed: bool, token: &'a str },
    /// What was done, and the new key.
    Done { email: &'a str, is_first: bool, api_key: Option<&'a str>, is_kept: bool, ended: usize },
    /// The link is no longer good.
    Gone { state: LinkState, token: &'a str },
    /// A new link is on its way.
    Sent { email: &'a str },
    /// There is no such link.
    Unknown,
    /// The request failed.
    Failed { status: StatusCode, detail: Option<String> },
}

/// The variables of the template.
#[derive(Default, Serialize)]
struct Context<'a> {
    page: &'static str,
    title: &'static str,
    product: &'a str,
    is_sandbox: bool,
    style: &'static str,
    email: &'a str,
    token: &'a str,
    is_confirmed: bool,
    is_first: bool,
    api_key: &'a str,
    is_kept: bool,
    ended: usize,
    detail: String,
}

/// Renders the page in the words of the settings.
pub(super) struct View {
    product: String,
    is_sandbox: bool,
}

impl View {
    /// Takes the words from the configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self { product: config.mail.product_name.clone(), is_sandbox: config.is_sandbox() }
    }

    /// The page as an answer.
    pub(super) fn respond(&self, status: StatusCode, page: &Page<'_>) -> Response {
        guarded(Response::builder().status(status).content_type("text/html; charset=utf-8").body(self.render(page)))
    }

    /// The page as HTML. A template that cannot be rendered is an empty page; tests render each.
    fn render(&self, page: &Page<'_>) -> String {
        let common =
            Context { product: &self.product, is_sandbox: self.is_sandbox, style: STYLE, ..Context::default() };
        let context = context(page, common);
        let rendered = TEMPLATES.get_template(TEMPLATE).and_then(|template| template.render(Serde(&context)));
        rendered.unwrap_or_else(|error| {
            tracing::error!(%error, "the page cannot be rendered");
            String::new()
        })
    }
}

fn context<'a>(page: &'a Page<'a>, common: Context<'a>) -> Context<'a> {
    match page {
        Page::Ask { email, is_confirmed, token } => {
            let title = if *is_confirmed { "Get a new API key" } else { "Confirm your address" };
            Context { page: "ask", title, email, token, is_confirmed: *is_confirmed, ..common }
        }
        Page::Done { email, is_first, api_key, is_kept, ended } => Context {
            page: "done",
            title: if *is_first { "Thank you" } else { "Done" },
            email,
            is_first: *is_first,
            api_key: api_key.unwrap_or_default(),
            is_kept: *is_kept,
            ended: *ended,
            ..common
        },
        Page::Gone { state, token } => {
            let (detail, token) = match state {
                LinkState::Usable => ("This link is good: open it once more.", ""),
                LinkState::Used => ("This link was used, or another one was.", *token),
                LinkState::Expired => ("This link has expired.", *token),
                LinkState::Moved => ("This link was for another address.", ""),
            };
            Context { page: "gone", title: "This link is no longer good", detail: detail.to_owned(), token, ..common }
        }
        Page::Sent { email } => {
            let detail = format!("A new link is on its way to {email}.");
            Context { page: "said", title: "Look into your mailbox", detail, ..common }
        }
        Page::Unknown => {
            let detail =
                "There is no such link. Open it from the mail once more: a part of it may be missing.".to_owned();
            Context { page: "said", title: "This link is not known", detail, ..common }
        }
        Page::Failed { status, detail } => {
            let detail = detail.clone().unwrap_or_else(|| advice(*status).to_owned());
            Context { page: "said", title: "That did not work", detail, ..common }
        }
    }
}

/// What somebody may do after a failure.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "There were too many such requests lately. Try again later.",
        StatusCode::METHOD_NOT_ALLOWED => "Open the link from the mail once more.",
        _ => "Nothing changed. Try again in a few minutes.",
    }
}

/// Adds the headers that keep the page to whoever opened it: not stored, not framed, not named to other sites, without
/// scripts, and with forms that go nowhere else.
fn guarded(mut response: Response) -> Response {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = BASE64.encode(&Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("base 64 and the words around it are visible ASCII")
    });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    environment
        .add_template(TEMPLATE, include_str!("../../templates/confirm.html"))
        .expect("the file does not change once it is compiled in, and tests render it");
    environment
});

#[cfg(test)]
mod tests {
    use super::*;

    fn render(page: &Page<'_>) -> String {
        View { product: "Acme & Sons".to_owned(), is_sandbox: false }.render(page)
    }

    fn ask(is_confirmed: bool) -> String {
        render(&Page::Ask { email: "ada@example.com".to_owned(), is_confirmed, token: "cfm_1" })
    }

    fn done(api_key: Option<&str>, is_kept: bool, ended: usize) -> String {
        render(&Page::Done { email: "ada@example.com", is_first: true, api_key, is_kept, ended })
    }

    #[test]
    fn every_page_is_whole_and_has_no_script() {
        let pages = [
            ask(true),
            ask(false),
            done(Some("bsk_1"), false, 2),
            done(None, true, 0),
            render(&Page::Gone { state: LinkState::Used, token: "cfm_1" }),
            render(&Page::Gone { state: LinkState::Expired, token: "cfm_1" }),
            render(&Page::Gone { state: LinkState::Moved, token: "cfm_1" }),
            render(&Page::Sent { email: "ada@example.com" }),
            render(&Page::Unknown),
            render(&Page::Failed { status: StatusCode::SERVICE_UNAVAILABLE, detail: None }),
        ];
        for page in pages {
            assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>"), "{page}");
            assert!(page.contains("width=device-width") && page.contains("Acme &amp; Sons"), "{page}");
            for hole in ["<script", "{{", "{%", "onclick", "style=\"", "src=", "<h1></h1>"] {
                assert!(!page.contains(hole), "{hole} in {page}");
            }
        }
    }

    #[test]
    fn keys_are_kept_only_if_somebody_ticks_that() {
        for page in [ask(true), ask(false)] {
            assert_eq!(page.matches("type=\"checkbox\"").count(), 2);
            assert!(!page.contains("checked") && page.contains("stop working at once"), "{page}");
        }
    }

    #[test]
    fn what_was_done_is_told_and_a_key_is_shown() {
        let taken_over = done(Some("bsk_1"), false, 2);
        assert!(
            taken_over.contains("<code>bsk_1</code>") && taken_over.contains("The 2 keys that were made before have")
        );
        assert!(done(Some("bsk_1"), false, 1).contains("The key that was made before has"));
        let kept = done(None, true, 0);
        assert!(kept.contains("stay valid") && !kept.contains("bsk_") && !kept.contains("<pre"), "{kept}");
    }

    #[test]
    fn only_the_reader_of_the_same_mailbox_is_offered_a_new_link() {
        let gone = |state| render(&Page::Gone { state, token: "cfm_1" });
        for state in [LinkState::Used, LinkState::Expired] {
            assert!(gone(state).contains("value=\"send\"") && gone(state).contains("value=\"cfm_1\""));
        }
        assert!(!gone(LinkState::Moved).contains("<form"));
    }

    #[test]
    fn what_others_wrote_is_only_text() {
        let page = render(&Page::Sent { email: "<b>ada</b>@example.com" });
        assert!(!page.contains("<b>") && page.contains("&lt;b&gt;ada"), "{page}");
    }
}
