//! The chain of hashes over the audit log.
//!
//! Rows are sealed in order: seal 1, 2, 3 … without a gap. The hash of a seal covers its number, its time, all of its
//! row, and the hash of the seal before. So whoever knows one [`Head`] can prove later that no row up to it was
//! changed, removed, added or moved: the chain still has that hash at that number.
//!
//! A hash is the SHA-256, in lower-case hexadecimal, of `bursar audit 1` and these texts, each written as its length in
//! bytes, a colon, the text and a comma (a netstring): the hash before, the seal's number, its time in milliseconds,
//! and the row's id, actor, action, target, details and time in milliseconds. The hash before the first seal is 64
//! zeros.

use super::AuditRow;
use crate::clock::TimeMs;
use sha2::{Digest, Sha256};
use std::fmt;

/// What every hash begins with: the name and the version of the form.
const FORM: &str = "bursar audit 1";
/// Length of a hash in hexadecimal.
const HASH_LEN: usize = 64;

/// A seal and the row that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// The number of the seal, from 1.
    pub seal: i64,
    /// When the row was sealed.
    pub sealed_at_ms: TimeMs,
    /// The row.
    pub row: AuditRow,
    /// The hash of the seal.
    pub hash: String,
}

/// The last seal of a chain, or of a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first.
    pub seal: i64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    /// The head of an empty chain.
    pub fn empty() -> Self {
        Self { seal: 0, hash: "0".repeat(HASH_LEN) }
    }

    /// Reads a head as [`Display`](fmt::Display) shows it; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let (seal, hash) = text.trim().split_once(':')?;
        let is_hash = hash.len() == HASH_LEN && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number = !seal.is_empty() && seal.bytes().all(|byte| byte.is_ascii_digit());
        if !is_hash || !is_number {
            return None;
        }
        Some(Self { seal: seal.parse().ok()?, hash: hash.to_owned() })
    }

    /// Seals the next row.
    pub fn seal(&self, row: AuditRow, sealed_at_ms: TimeMs) -> SealedRow {
        let seal = self.seal + 1;
        let hash = self.hash_of(seal, sealed_at_ms, &row);
        SealedRow { seal, sealed_at_ms, row, hash }
    }

    /// Moves on to a sealed row.
    ///
    /// # Errors
    /// What is wrong with it, in words. The head is that of the row all the same, so that one changed row is reported
    /// once.
    pub fn follow(&mut self, next: &SealedRow) -> Result<(), String> {
        let (expected, hash) = (self.seal + 1, self.hash_of(next.seal, next.sealed_at_ms, &next.row));
        *self = next.head();
        if next.seal != expected {
            return Err(format!("seal {} follows seal {}", next.seal, expected - 1));
        }
        if next.hash != hash {
            return Err(format!(
                "seal {} of row {} ({}) has another hash than its row and the seal before it give",
                next.seal, next.row.id, next.row.action
            ));
        }
        Ok(())
    }

    fn hash_of(&self, seal: i64, sealed_at_ms: TimeMs, row: &AuditRow) -> String {
        let mut hasher = Sha256::new_with_prefix(FORM);
        let (seal, sealed_at_ms, at_ms) = (seal.to_string(), sealed_at_ms.to_string(), row.at_ms.to_string());
        let texts =
            [&self.hash, &seal, &sealed_at_ms, &row.id, &row.actor, &row.action, &row.target, &row.details, &at_ms];
        for text in texts {
            hasher.update(format!("{}:{text},", text.len()));
        }
        hex::encode(hasher.finalize())
    }
}

impl SealedRow {
    /// The head of the chain that ends with it.
    pub fn head(&self) -> Head {
        Head { seal: self.seal, hash: self.hash.clone() }
    }
}

/// Shows number and hash with a colon.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seal, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: i64) -> AuditRow {
        AuditRow {
            id: format!("aud_{n}"),
            actor: "admin:ada/adt_1".to_owned(),
            action: "customer.adjust".to_owned(),
            target: "cst_1".to_owned(),
            details: format!("{{\"amount\":{n}}}"),
            at_ms: 1_000 + n,
        }
    }

    fn chain(len: i64) -> Vec<SealedRow> {
        let mut head = Head::empty();
        let mut sealed = Vec::new();
        for n in 1..=len {
            let next = head.seal(row(n), 2_000 + n);
            head = next.head();
            sealed.push(next);
        }
        sealed
    }

    fn problems(chain: &[SealedRow]) -> Vec<String> {
        let mut head = Head::empty();
        chain.iter().filter_map(|next| head.follow(next).err()).collect()
    }

    #[test]
    fn a_chain_follows_from_its_rows() {
        let sealed = chain(5);
        assert_eq!(sealed.iter().map(|next| next.seal).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(problems(&sealed), [""; 0]);
        let mut later = sealed[1].head();
        assert!(sealed[2..].iter().all(|next| later.follow(next).is_ok()), "a part follows from its head");
        assert_eq!(later, sealed[4].head());
    }

    #[test]
    fn the_form_of_the_hash_is_the_documented_one() {
        let text = format!(
            "bursar audit 164:{},1:1,4:2001,5:aud_1,15:admin:ada/adt_1,15:customer.adjust,5:cst_1,12:{{\"amount\":1}},4:1001,",
            "0".repeat(64)
        );
        assert_eq!(chain(1)[0].hash, hex::encode(Sha256::digest(text)));
    }

    #[test]
    fn every_change_of_a_row_or_a_seal_is_found_at_that_seal() {
        type Change = fn(&mut SealedRow);
        let changes: [Change; 8] = [
            |next| next.row.id.push('x'),
            |next| next.row.actor = "admin:bob/adt_2".to_owned(),
            |next| next.row.action = "customer.suspend".to_owned(),
            |next| next.row.target.push('x'),
            |next| next.row.details = "{\"amount\":4}".to_owned(),
            |next| next.row.at_ms += 1,
            |next| next.sealed_at_ms += 1,
            |next| next.hash = "0".repeat(64),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut sealed = chain(5);
            change(&mut sealed[2]);
            let found = problems(&sealed);
            assert!(found[0].starts_with("seal 3 of row aud_3"), "{at}: {found:?}");
            // A changed hash breaks the next seal as well, which covers it.
            assert_eq!(found.len(), if at == 7 { 2 } else { 1 }, "{at}: {found:?}");
        }
    }

    #[test]
    fn text_cannot_move_from_one_field_to_the_next() {
        let (mut one, mut two) = (row(1), row(1));
        (one.actor, one.action) = ("a".to_owned(), "b1:c,".to_owned());
        (two.actor, two.action) = ("a,1:b".to_owned(), "c,".to_owned());
        assert_ne!(Head::empty().seal(one, 0).hash, Head::empty().seal(two, 0).hash);
    }

    #[test]
    fn rows_that_were_removed_added_or_moved_are_found() {
        let mut removed = chain(5);
        removed.remove(2);
        assert_eq!(problems(&removed)[0], "seal 4 follows seal 2");
        let mut moved = chain(5);
        moved.swap(1, 3);
        assert!(!problems(&moved).is_empty());
        let mut sealed_anew = chain(2);
        let mut head = sealed_anew[1].head();
        for n in [9, 3, 4, 5] {
            let next = head.seal(row(n), 2_000 + n);
            head = next.head();
            sealed_anew.push(next);
        }
        // A chain that was made anew is in order by itself. A head from before shows it.
        assert_eq!(problems(&sealed_anew), [""; 0]);
        assert_ne!(sealed_anew[4].head(), chain(5)[4].head());
    }

    #[test]
    fn a_head_is_read_back_and_nothing_else_is() {
        let head = chain(3)[2].head();
        assert_eq!(Head::parse(&format!(" {head}\n")), Some(head.clone()));
        assert_eq!(Head::parse(&Head::empty().to_string()), Some(Head::empty()));
        for wrong in ["", "3", &head.hash, &format!("-1:{}", head.hash), &format!("3:{}", &head.hash[1..]), "3:x"] {
            assert_eq!(Head::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Head::parse(&head.to_string().to_uppercase()), None);
    }
}
