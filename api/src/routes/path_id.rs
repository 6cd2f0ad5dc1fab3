//! Identifiers in paths, parsed once into the engine's types.

use crate::problem::ApiError;
use bursar_engine::Error;
use bursar_engine::error::Refusal;
use bursar_engine::ids::{
    AdminTokenId, ApiKeyId, CustomerId, HoldId, JobId, MailId, OperationId, ReconciliationId, ReplayId,
};
use poem_openapi::registry::MetaSchemaRef;
use poem_openapi::types::{ParseFromParameter, ParseResult, Type};
use std::borrow::Cow;

/// An identifier that can occur in a path.
pub trait Id: Sized + Send + Sync {
    /// Parses the identifier. `None` if the text is malformed.
    fn parse(text: &str) -> Option<Self>;

    /// The error for an unknown identifier.
    fn not_found() -> Error;
}

macro_rules! ids {
    ($($id:ident => $unknown:expr,)+) => {
        $(
            impl Id for $id {
                fn parse(text: &str) -> Option<Self> {
                    $id::parse(text).ok()
                }

                fn not_found() -> Error {
                    $unknown
                }
            }
        )+
    };
}

ids! {
    AdminTokenId => Error::NotFound("admin token"),
    ApiKeyId => Error::NotFound("API key"),
    CustomerId => Error::NotFound("customer"),
    HoldId => Refusal::HoldNotFound(HoldId::trusted(String::new())).into(),
    JobId => Error::NotFound("job"),
    MailId => Error::NotFound("mail"),
    OperationId => Error::NotFound("operation"),
    ReconciliationId => Error::NotFound("reconciliation"),
    ReplayId => Error::NotFound("replay"),
}

/// Parses an identifier from a request. A malformed one counts as unknown.
pub fn parse_id<I: Id>(text: &str) -> Result<I, ApiError> {
    I::parse(text).ok_or_else(|| I::not_found().into())
}

/// An identifier in a path. A malformed one is only refused by [`PathId::parsed`], so that other errors of the request
/// are reported first.
#[derive(Debug)]
pub struct PathId<I>(Option<I>);

impl<I: Id> PathId<I> {
    /// Returns the identifier.
    ///
    /// # Errors
    /// It is malformed, which counts as unknown.
    pub fn parsed(self) -> Result<I, ApiError> {
        self.0.ok_or_else(|| I::not_found().into())
    }
}

impl<I: Id> Type for PathId<I> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        String::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        String::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl<I: Id> ParseFromParameter for PathId<I> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        Ok(Self(I::parse(text)))
    }
}
