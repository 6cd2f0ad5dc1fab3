//! Texts for tests that share services: no two are the same.

use bursar_engine::ids::AuditId;

/// A text that no other call gives.
pub fn unique() -> String {
    AuditId::new().body().to_owned()
}
