//! The OpenAPI document and the page that shows it, made once for the whole process, and the icon of the page.

use crate::asset::Asset;
use crate::document;
use crate::routes::{openapi_document, service};
use data_encoding::BASE64;
use poem::http::HeaderValue;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

/// The icon, a coin.
const ICON: &str = concat!(
    r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#7a5c00"/>"##,
    r##"<circle cx="16" cy="16" r="12" fill="#f2c230"/><path d="M12 9h5a4 4 0 0 1 2 7 4 4 0 0 1-2 7h-5z" "##,
    r##"fill="none" stroke="#7a5c00" stroke-width="2.5"/><path d="M12 16h6" stroke="#7a5c00" stroke-width="2.5"/></svg>"##,
);
/// Where the framework's page has its document, and what follows it.
const SPEC: (&str, &str) = ("let spec = ", ";\n    let oauth2RedirectUrl");

/// A document with its page.
pub struct Pages {
    /// `/openapi.json`.
    pub json: Asset,
    /// `/docs`.
    pub page: Asset,
}

/// Everything, for staff too.
pub static ALL: LazyLock<Pages> = LazyLock::new(|| Pages::new(openapi_document(), "Bursar API"));
/// What is for customers.
pub static CUSTOMERS: LazyLock<Pages> =
    LazyLock::new(|| Pages::new(document::for_customers(&openapi_document()), "Bursar API"));
/// `/favicon.svg`.
pub static FAVICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("image/svg+xml", None, ICON.to_owned()));

impl Pages {
    fn new(document: String, title: &str) -> Self {
        let page = page(&service().swagger_ui_html(), &document, title);
        let policy = HeaderValue::from_str(&policy(&page)).ok();
        Self {
            json: Asset::new("application/json", None, document),
            page: Asset::new("text/html; charset=utf-8", policy, page),
        }
    }
}

/// The framework's page with our document, a title, a language and an icon.
fn page(framework: &str, document: &str, title: &str) -> String {
    // The end of a script inside a text would end the script of the page.
    let document = document.trim_end().replace("</", "<\\/");
    let with_document = framework.split_once(SPEC.0).and_then(|(before, rest)| {
        let (_, after) = rest.rsplit_once(SPEC.1)?;
        Some(format!("{before}{}{document}{}{after}", SPEC.0, SPEC.1))
    });
    let page = with_document.unwrap_or_else(|| framework.to_owned());
    let head = "<html lang=\"en\">\n<head>\n    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n    \
                <link rel=\"icon\" type=\"image/svg+xml\" href=\"favicon.svg\">";
    let page = page.trim_start().replacen("<html charset=\"UTF-8\">\n<head>", head, 1);
    format!("<!doctype html>\n{}", page.replacen("<title>Swagger UI</title>", &format!("<title>{title}</title>"), 1))
}

/// Lets the page run its own scripts only, and call this server only. Its styles are set by its scripts, too.
fn policy(page: &str) -> String {
    let (mut scripts, mut rest) = (String::new(), page);
    // A script may contain the text of a tag that begins one, but not of one that ends one.
    while let Some((_, tag)) = rest.split_once("<script")
        && let Some((_, body)) = tag.split_once('>')
        && let Some((body, after)) = body.split_once("</script>")
    {
        let _ = write!(scripts, " 'sha256-{}'", BASE64.encode(&Sha256::digest(body)));
        rest = after;
    }
    format!(
        "default-src 'none'; script-src{scripts}; style-src 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_given_document_under_our_title() {
        let document = r#"{"info": {"description": "</script>"}}"#;
        let page = page(&service().swagger_ui_html(), document, "Bursar API");
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{}", &page[..200]);
        assert!(page.contains("<title>Bursar API</title>") && page.contains("favicon.svg"));
        assert!(page.contains(r#"let spec = {"info": {"description": "<\/script>"}};"#));
        assert!(!page.contains("create_usage") && !page.contains("<title>Swagger"));
    }

    #[test]
    fn the_policy_names_both_scripts_of_the_page() {
        let policy = policy(&page(&service().swagger_ui_html(), "{}", "Bursar API"));
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("script-src 'unsafe-inline'"));
    }
}
