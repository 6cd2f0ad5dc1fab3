//! Counts in sentences.

use std::fmt::Display;

/// A count with its noun, such as `1 credit` or `2 credits`.
pub fn counted<T: Display + PartialEq + From<u8>>(count: T, noun: &str) -> String {
    if count == T::from(1) { format!("{count} {noun}") } else { format!("{count} {}", plural(noun)) }
}

/// The English plural of a noun.
pub fn plural(noun: &str) -> String {
    let ends_in_sibilant = ["s", "x", "z", "ch", "sh"].iter().any(|ending| noun.ends_with(ending));
    format!("{noun}{}", if ends_in_sibilant { "es" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let texts = [0_i64, 1, 2].map(|count| counted(count, "credit"));
        assert_eq!(texts, ["0 credits", "1 credit", "2 credits"]);
        assert_eq!(counted(2_i64, "fix"), "2 fixes");
    }
}
