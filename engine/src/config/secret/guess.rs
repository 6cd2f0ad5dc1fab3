//! Texts that anybody guesses: placeholders and examples of documents, words, sequences, and the same few characters
//! repeated.

/// The fewest different characters. One in 30,000 texts of 16 random hexadecimal digits has fewer.
const DISTINCT_MIN: usize = 6;

/// Placeholders in documentation, Bursar's and others'. No URL, and no secret, has them.
const PLACEHOLDERS: [&str; 8] = ["…", "...", "<", "changeme", "change-me", "change_me", "placeholder", "no_real_money"];

/// Words of people. A random text has one of them once in ten million times.
const WORDS: [&str; 8] = ["secret", "password", "example", "your_", "your-", "replace", "default", "letmein"];

/// Values that documents print: the test key in Stripe's documents, and old defaults of ours.
const EXAMPLES: [&str; 2] = ["4ec39hqlyjwdarjtt1zdp7dc", "whsec_sandbox_no_real_money"];

/// Whether a text contains a placeholder.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let text = text.to_lowercase();
    PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder))
}

/// Whether a secret may be random: no placeholder, word or example, enough different characters, not one piece
/// repeated, and no sequence such as `0123456789`.
pub(crate) fn may_be_random(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let characters: Vec<char> = secret.chars().collect();
    let mut distinct = characters.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let repeats = |period: usize| characters.iter().skip(period).eq(&characters[..characters.len() - period]);
    distinct.len() >= DISTINCT_MIN
        && !is_placeholder(secret)
        && !WORDS.iter().chain(&EXAMPLES).any(|known| lower.contains(known))
        && !(1..=characters.len() / 2).any(repeats)
        && !is_sequence(&characters)
}

/// Whether at least half of the characters follow the one before them in the alphabet, in either direction.
fn is_sequence(characters: &[char]) -> bool {
    let follows = characters.windows(2).filter(|pair| u32::from(pair[0]).abs_diff(u32::from(pair[1])) == 1).count();
    follows * 2 >= characters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_not_random() {
        for text in [
            "",
            "abc",
            "0123456789abcdef0123456789abcdef",
            "bat_0123456789abcdef0123456789abcdef",
            "abcdefghijklmnopqrstuvwxyz012345",
            "zyxwvutsrqponmlkjihgfedcba987654",
            "deadbeefdeadbeefdeadbeefdeadbeef",
            "my-very-long-secret-of-production",
            "Password-Password-2026-November-x",
            "your_admin_token_goes_in_this_place",
            "whsec_sandbox_no_real_money_moves",
            "4eC39HqLyjWDarjtT1zdp7dc",
        ] {
            assert!(!may_be_random(text), "{text}");
        }
    }

    #[test]
    fn what_a_machine_makes_is_random() {
        for _ in 0..1_000 {
            let text = hex::encode(rand::random::<[u8; 16]>());
            assert!(may_be_random(&text), "{text}");
        }
        for text in ["4fJ9HqLyjWDbrjtT1zdp7eK", "a9-Kd_03xQ+zz7/Pm=2vR", "7d1f0a4be95c26838a3be41f6c07d592"] {
            assert!(may_be_random(text), "{text}");
        }
    }
}
