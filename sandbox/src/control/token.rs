//! The token that the control API asks for: whoever has it moves the clock and makes payments fail.

use crate::error::Error;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The file in the data folder that keeps a generated token.
pub const CONTROL_TOKEN_FILE: &str = "control-token";
/// The shortest token, in characters.
const LEN_MIN: usize = 16;
/// Random bytes of a generated token.
const GENERATED_BYTES: usize = 24;

/// Permissions of the folder and the file, for the owner only.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// The token of the control API. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ControlToken(String);

impl ControlToken {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it has at least 16 characters, all of them visible.
    pub(crate) fn is_usable(&self) -> bool {
        self.0.len() >= LEN_MIN && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The given token, else the one kept in the data folder, else a new one, which is kept there.
    pub(crate) fn find(given: Option<&Self>, folder: Option<&Path>) -> Result<Self, Error> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        let Some(folder) = folder else { return Ok(Self::generate()) };
        let path = folder.join(CONTROL_TOKEN_FILE);
        let problem = |source| Error::File { path: path.display().to_string(), source };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let kept = Self(text.trim().to_owned());
                if kept.is_usable() {
                    return Ok(kept);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(problem(error)),
        }
        let made = Self::generate();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(problem)?;
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(FILE_MODE).open(&path).map_err(problem)?;
        file.write_all(made.0.as_bytes()).and_then(|()| file.sync_all()).map_err(problem)?;
        Ok(made)
    }

    /// Whether a request's `Authorization` header carries it.
    pub(crate) fn is_in(&self, authorization: Option<&str>) -> bool {
        let sent = authorization.and_then(|header| header.split_once(' '));
        // Digests are compared, so that the time of the comparison tells nothing of the token.
        sent.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && Sha256::digest(token.trim()) == Sha256::digest(&self.0)
        })
    }

    /// Random, whatever the sandbox's seed is.
    fn generate() -> Self {
        Self(format!("sct_{}", hex::encode(rand::random::<[u8; GENERATED_BYTES]>())))
    }
}

impl From<&str> for ControlToken {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for ControlToken {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_header_must_carry_the_whole_token_as_a_bearer_token() {
        let token = ControlToken::from("sct_0d6f1c");
        assert!(token.is_in(Some("Bearer sct_0d6f1c")) && token.is_in(Some("bearer  sct_0d6f1c ")));
        for header in
            [None, Some(""), Some("Bearer"), Some("Bearer sct_0d6f1"), Some("Basic sct_0d6f1c"), Some("sct_0d6f1c")]
        {
            assert!(!token.is_in(header), "{header:?}");
        }
    }

    #[test]
    fn a_generated_token_is_kept_in_the_folder_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("sandbox");
        let first = ControlToken::find(None, Some(&inner)).unwrap();
        assert!(first.is_usable() && ControlToken::find(None, Some(&inner)).unwrap() == first);
        let mode = std::fs::metadata(inner.join(CONTROL_TOKEN_FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let given = ControlToken::from("a-token-of-the-caller");
        assert_eq!(ControlToken::find(Some(&given), Some(&inner)).unwrap(), given);
        assert!(ControlToken::find(None, None).unwrap() != ControlToken::find(None, None).unwrap());
    }

    #[test]
    fn debug_does_not_show_the_token() {
        assert!(!format!("{:?}", ControlToken::from("sct_0d6f1c")).contains("0d6f"));
    }
}
