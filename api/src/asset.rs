//! Documents that are the same for everybody: in memory once, compressed once, when the first client asks, with entity
//! tags.

use crate::unread_answers::SharedBody;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Endpoint, Request, Response};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// How hard Brotli tries, from 0 to 11. At 11 the page takes seconds.
const BROTLI_QUALITY: i32 = 7;
/// Brotli's window, as a power of two; enough for the whole page.
const BROTLI_WINDOW: i32 = 22;
/// Brotli's buffer, in bytes.
const BROTLI_BUFFER_BYTES: usize = 4_096;
/// Bytes of the hash that is the entity tag.
const TAG_BYTES: usize = 16;

/// One document.
pub struct Asset {
    content_type: &'static str,
    /// What the page may load, if it is one.
    policy: Option<HeaderValue>,
    tag: String,
    plain: Bytes,
    gzip: OnceLock<Bytes>,
    brotli: OnceLock<Bytes>,
    begun: AtomicBool,
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Brotli,
    Gzip,
    Plain,
}

impl Coding {
    /// The name in HTTP; empty if the bytes are as they are.
    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Plain => "",
        }
    }
}

impl Asset {
    /// A document of this text.
    pub fn new(content_type: &'static str, policy: Option<HeaderValue>, text: String) -> Self {
        let tag = HEXLOWER.encode(&Sha256::digest(&text)[..TAG_BYTES]);
        let (plain, gzip, brotli) = (Bytes::from(text), OnceLock::new(), OnceLock::new());
        Self { content_type, policy, tag, plain, gzip, brotli, begun: AtomicBool::new(false) }
    }

    /// Compresses it, which takes a tenth of a second or more.
    fn compress(&self) {
        self.gzip.get_or_init(|| gzip(&self.plain));
        self.brotli.get_or_init(|| brotli(&self.plain));
    }

    /// Compresses it beside the requests, once. Until that is done it is answered as it is.
    fn begin_to_compress(&'static self) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            // A thread of its own, which no stop waits for. Without one, it stays as it is.
            let _ = std::thread::Builder::new().name("compress".to_owned()).spawn(|| self.compress());
        }
    }

    fn respond(&self, request: &Request) -> Response {
        let (coding, bytes) = self.choose(request.headers());
        let separator = if coding == Coding::Plain { "" } else { "-" };
        let tag = format!("\"{}{separator}{}\"", self.tag, coding.name());
        let is_known = request.headers().get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &tag));
        let mut response = Response::builder()
            .header(header::VARY, "accept-encoding")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::ETAG, tag)
            .extension(SharedBody);
        if let Some(policy) = &self.policy {
            response = response.header(header::CONTENT_SECURITY_POLICY, policy);
        }
        if is_known {
            return response.status(StatusCode::NOT_MODIFIED).finish();
        }
        if coding != Coding::Plain {
            response = response.header(header::CONTENT_ENCODING, coding.name());
        }
        response.header(header::CONTENT_TYPE, self.content_type).body(bytes.clone())
    }

    fn choose(&self, headers: &HeaderMap) -> (Coding, &Bytes) {
        let accepted = |coding: Coding| {
            let values = headers.get_all(header::ACCEPT_ENCODING).iter();
            values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let is_named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(coding.name()));
                let is_refused = parts.any(|part| {
                    part.strip_prefix("q=")
                        .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
                });
                is_named && !is_refused
            })
        };
        match (self.brotli.get(), self.gzip.get()) {
            (Some(bytes), _) if accepted(Coding::Brotli) => (Coding::Brotli, bytes),
            (_, Some(bytes)) if accepted(Coding::Gzip) => (Coding::Gzip, bytes),
            _ => (Coding::Plain, &self.plain),
        }
    }
}

/// Whether `If-None-Match` names a tag. The comparison is weak (RFC 9110, section 13.1.2).
fn names(known: &HeaderValue, tag: &str) -> bool {
    let Ok(text) = known.to_str() else { return false };
    text.split(',').map(str::trim).any(|item| item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag)
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

fn brotli(bytes: &[u8]) -> Bytes {
    let mut encoded = Vec::new();
    let params = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW,
        size_hint: bytes.len(),
        ..Default::default()
    };
    {
        let mut encoder = brotli::CompressorWriter::with_params(&mut encoded, BROTLI_BUFFER_BYTES, &params);
        // Writing into memory does not fail.
        let _ = encoder.write_all(bytes);
    }
    encoded.into()
}

impl Endpoint for &'static Asset {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if request.headers().contains_key(header::ACCEPT_ENCODING) {
            self.begin_to_compress();
        }
        Ok(self.respond(&request))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::Read;

    fn asset() -> Asset {
        let asset = Asset::new("text/html; charset=utf-8", None, "<p>a page</p>".repeat(100));
        asset.compress();
        asset
    }

    fn get(asset: &Asset, accepted: &str, known: Option<&str>) -> Response {
        let mut request = Request::builder().header(header::ACCEPT_ENCODING, accepted);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        asset.respond(&request.finish())
    }

    fn coding(accepted: &str) -> String {
        get(&asset(), accepted, None).header(header::CONTENT_ENCODING).unwrap_or_default().to_owned()
    }

    #[test]
    fn the_best_accepted_coding_is_chosen() {
        assert_eq!(coding("gzip, deflate, br, zstd"), "br");
        assert_eq!(coding("gzip"), "gzip");
        assert_eq!(coding("GZIP;q=0.5, br;q=0"), "gzip");
        for none in ["", "identity", "deflate", "gzip;q=0", "br; q=0.0"] {
            assert_eq!(coding(none), "", "{none}");
        }
    }

    #[tokio::test]
    async fn every_coding_carries_the_same_text() {
        let asset = asset();
        let bytes = async |accepted| get(&asset, accepted, None).into_body().into_bytes().await.unwrap();
        let plain = bytes("").await;
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&bytes("gzip").await[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain);
        text.clear();
        brotli::Decompressor::new(&bytes("br").await[..], 4_096).read_to_end(&mut text).unwrap();
        assert_eq!(text, plain);
        assert!(bytes("br").await.len() < plain.len() / 5);
    }

    #[tokio::test]
    async fn a_client_that_knows_the_document_gets_no_copy() {
        let asset = asset();
        for accepted in ["", "gzip", "br"] {
            let first = get(&asset, accepted, None);
            let tag = first.header(header::ETAG).unwrap().to_owned();
            for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
                let second = get(&asset, accepted, Some(&known));
                assert_eq!(second.status(), StatusCode::NOT_MODIFIED, "{known}");
                assert_eq!(second.header(header::ETAG), Some(tag.as_str()));
                assert!(second.into_body().into_bytes().await.unwrap().is_empty());
            }
            assert_eq!(get(&asset, accepted, Some("\"other\"")).status(), StatusCode::OK);
        }
        let tag = |accepted| get(&asset, accepted, None).header(header::ETAG).unwrap().to_owned();
        assert!(tag("gzip") != tag("br") && tag("br") != tag(""));
    }
}
