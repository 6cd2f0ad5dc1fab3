//! Idempotency keys: whether a repeated request is the one that used the key first.

use crate::error::Refusal;

/// Checks that a request with a used key is the one that used it: that both have the same hash.
///
/// A request without a hash equals only another one without (the engine's own commands have none). Two callers decide
/// more than this: `usecase::api_key` accepts a row from before hashes were stored, and `usecase::operation` also
/// compares the kind of the operation.
///
/// # Errors
/// [`Refusal::KeyReused`].
pub fn check_same_request(stored_hash: Option<&str>, request_hash: Option<&str>) -> Result<(), Refusal> {
    if stored_hash == request_hash { Ok(()) } else { Err(Refusal::KeyReused) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_reused_unless_both_requests_have_the_same_hash() {
        assert_eq!(check_same_request(Some("a"), Some("a")), Ok(()));
        assert_eq!(check_same_request(None, None), Ok(()));
        for (stored, asked) in [(Some("a"), Some("b")), (Some("a"), None), (None, Some("a"))] {
            assert_eq!(check_same_request(stored, asked), Err(Refusal::KeyReused));
        }
    }
}
