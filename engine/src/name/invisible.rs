//! Characters that show nothing, or change how the text around them is shown.
//!
//! The ranges are Unicode's `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt of Unicode 16), the control and
//! format characters (`Cc`, `Cf`), the line and paragraph separators, private use and noncharacters, and the Braille
//! blank. Names may hold what their script needs: a joiner between two letters that are not Latin (RFC 5892, appendix
//! A), and the variant of an ideograph.

use std::ops::RangeInclusive;

/// Ranges of invisible characters, ascending.
const INVISIBLE: &[RangeInclusive<char>] = &[
    '\u{0}'..='\u{1F}',
    '\u{7F}'..='\u{9F}',
    '\u{AD}'..='\u{AD}',
    '\u{34F}'..='\u{34F}',
    '\u{600}'..='\u{605}',
    '\u{61C}'..='\u{61C}',
    '\u{6DD}'..='\u{6DD}',
    '\u{70F}'..='\u{70F}',
    '\u{890}'..='\u{891}',
    '\u{8E2}'..='\u{8E2}',
    '\u{115F}'..='\u{1160}',
    '\u{17B4}'..='\u{17B5}',
    '\u{180B}'..='\u{180F}',
    '\u{200B}'..='\u{200F}',
    '\u{2028}'..='\u{202E}',
    '\u{2060}'..='\u{206F}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{E000}'..='\u{F8FF}',
    '\u{FDD0}'..='\u{FDEF}',
    '\u{FE00}'..='\u{FE0F}',
    '\u{FEFF}'..='\u{FEFF}',
    '\u{FFA0}'..='\u{FFA0}',
    '\u{FFF0}'..='\u{FFFB}',
    '\u{FFFE}'..='\u{FFFF}',
    '\u{110BD}'..='\u{110BD}',
    '\u{110CD}'..='\u{110CD}',
    '\u{13430}'..='\u{1343F}',
    '\u{1BCA0}'..='\u{1BCA3}',
    '\u{1D173}'..='\u{1D17A}',
    '\u{E0000}'..='\u{10FFFF}',
];

/// The zero-width joiner and non-joiner.
const JOINERS: [char; 2] = ['\u{200C}', '\u{200D}'];
/// Selectors of an ideograph's variants (Unicode Technical Standard 37).
const VARIANTS: RangeInclusive<char> = '\u{E0100}'..='\u{E01EF}';
/// Scripts whose letters are joined by rules begin after Greek and Cyrillic.
const JOINED_FROM: char = '\u{600}';

/// Whether a text has an invisible character that its script does not need.
pub(super) fn has_invisible(text: &str) -> bool {
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if is_invisible(c) && !is_needed(c, before, rest.peek().copied()) {
            return true;
        }
        before = Some(c);
    }
    false
}

fn is_invisible(c: char) -> bool {
    INVISIBLE.iter().any(|range| range.contains(&c))
}

/// Whether an invisible character is part of how its neighbours are written.
fn is_needed(c: char, before: Option<char>, after: Option<char>) -> bool {
    let is_joined = |c: Option<char>| c.is_some_and(|c| c >= JOINED_FROM && !is_invisible(c) && !c.is_whitespace());
    if JOINERS.contains(&c) {
        return is_joined(before) && is_joined(after);
    }
    VARIANTS.contains(&c) && before.is_some_and(is_ideograph)
}

fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_shows_nothing_or_turns_the_text_around_it_is_found() {
        for text in [
            "Ada\u{200B}",
            "Ada\u{202E}ecalevoL",
            "\u{2066}Ada\u{2069}",
            "A\u{AD}da",
            "\u{FEFF}Ada",
            "Ada\u{3164}",
            "Ada\u{2800}",
            "Ada\u{E0041}",
            "Ada\u{FE0F}",
            "A\u{200D}da",
            "Ada\u{0}",
            "Ada\u{85}",
            "Ada\u{61C}",
            "Ada\u{2028}",
            "Ada\u{E000}",
            "Ada\u{FFFE}",
            "Ada\u{180E}",
            "Ada\u{E0100}",
            "Ada\u{10FFFF}",
        ] {
            assert!(has_invisible(text), "{}", text.escape_unicode());
        }
    }

    #[test]
    fn names_in_every_script_are_clean() {
        for text in [
            "Ada Lovelace",
            "Zoë Müller-Lüdenscheidt",
            "Søren Ærø",
            "Дарья",
            "علی\u{200C}رضا",
            "क्\u{200D}ष",
            "葛\u{E0100}城",
            "李小龍",
            "O’Neil & Söhne",
            "Nguyễn Thị",
            "👩 Ada",
            "J.R.R. Tolkien",
        ] {
            assert!(!has_invisible(text), "{}", text.escape_unicode());
        }
    }

    #[test]
    fn the_ranges_ascend() {
        assert!(INVISIBLE.windows(2).all(|pair| pair[0].end() < pair[1].start()));
    }
}
