//! Unique texts, for tests that share services.

use bursar_engine::ids::AuditId;

/// A text that no other call returns.
pub fn unique() -> String {
    AuditId::new().body().to_owned()
}
