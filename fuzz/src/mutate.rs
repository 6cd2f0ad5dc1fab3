//! Makes other JSON and other TOML of a text: values from elsewhere in it or from a list, and parts left out, repeated
//! or moved. Changed bytes, which the fuzzer tries as well, most often make such a text unreadable.

use serde_json::{Value, json};

/// Words that events have, and values at which readers go wrong.
const WORDS: [&str; 40] = [
    "id",
    "object",
    "type",
    "customer",
    "subscription",
    "parent",
    "lines",
    "items",
    "data",
    "metadata",
    "price",
    "pricing",
    "price_details",
    "lookup_key",
    "unit_amount",
    "recurring",
    "status",
    "paid",
    "amount",
    "total",
    "quantity",
    "currency",
    "discount_amounts",
    "billing_reason",
    "proration",
    "period",
    "start",
    "end",
    "current_period_end",
    "cancel_at",
    "has_more",
    "payment_intent",
    "charge",
    "before",
    "bursar_customer_id",
    "bursar_plan",
    "bursar_price",
    "price_pro",
    "price_team",
    "",
];
/// Values of fields in TOML.
const TOML_VALUES: [&str; 16] = [
    "0",
    "1",
    "-1",
    "50",
    "99999999",
    "9223372036854775807",
    "\"\"",
    "\"usd\"",
    "\"isk\"",
    "\"month\"",
    "\"3 years\"",
    "\"monthly\"",
    "\"reset\"",
    "true",
    "[\"price_1\"]",
    "{ usd = 1, eur = 2 }",
];

/// Mutates the text that stands in the first `size` bytes of `data` by one of this module's functions. Returns its new
/// size; `None` if it was not readable, is too long now, or if it is the turn of bytes.
pub fn in_place(
    data: &mut [u8],
    size: usize,
    size_max: usize,
    seed: u32,
    mutate: fn(&str, &mut Dice) -> Option<String>,
) -> Option<usize> {
    let mut dice = Dice(u64::from(seed) | 1 << 32);
    if dice.below(4) == 0 {
        return None;
    }
    let text = mutate(std::str::from_utf8(&data[..size]).ok()?, &mut dice)?;
    let room = data.get_mut(..text.len()).filter(|room| room.len() <= size_max)?;
    room.copy_from_slice(text.as_bytes());
    Some(text.len())
}

/// Numbers that follow from a seed (xorshift64*).
pub struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let thrown = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize;
        thrown % end.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Mutates JSON; `None` if the text is none.
pub fn json(text: &str, dice: &mut Dice) -> Option<String> {
    let mut root: Value = serde_json::from_str(text).ok()?;
    for _ in 0..=dice.below(3) {
        let mut places = Vec::new();
        find_places(&root, "", &mut places);
        let place = &places[dice.below(places.len())];
        let elsewhere = root.pointer(&places[dice.below(places.len())]).cloned().unwrap_or_default();
        change(&mut root, place, elsewhere, dice);
    }
    Some(root.to_string())
}

/// The pointers of all values.
fn find_places(value: &Value, here: &str, places: &mut Vec<String>) {
    places.push(here.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            find_places(value, &format!("{here}/{name}"), places);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| find_places(item, &format!("{here}/{at}"), places));
        }
        _ => {}
    }
}

fn change(root: &mut Value, place: &str, elsewhere: Value, dice: &mut Dice) {
    let Some(value) = root.pointer_mut(place) else { return };
    match (dice.below(4), value) {
        (0, Value::Object(fields)) => {
            let name = fields.keys().nth(dice.below(fields.len())).cloned().unwrap_or_default();
            fields.remove(&name);
        }
        (1, Value::Object(fields)) => drop(fields.insert(dice.pick(&WORDS).to_owned(), elsewhere)),
        (0, Value::Array(items)) => drop(items.pop()),
        (1, Value::Array(items)) => items.insert(dice.below(items.len() + 1), elsewhere),
        (2, value) => *value = elsewhere,
        (_, Value::Number(number)) if dice.below(2) == 0 => {
            let by = [1, -1, 1_000][dice.below(3)];
            *number = number.as_i64().unwrap_or_default().wrapping_add(by).into();
        }
        (_, value) => *value = scalar(dice),
    }
}

fn scalar(dice: &mut Dice) -> Value {
    match dice.below(14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(false),
        3 => json!(0),
        4 => json!(-1),
        5 => json!(i64::MAX),
        6 => json!(i64::MIN),
        7 => json!(u64::MAX),
        8 => json!(1.5),
        9 => json!("\u{0}é\u{202e}"),
        10 => json!("x".repeat(300)),
        11 => json!([]),
        12 => json!({}),
        _ => json!(dice.pick(&WORDS)),
    }
}

/// Mutates the lines of a file of settings.
pub fn lines(text: &str, dice: &mut Dice) -> Option<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=dice.below(3) {
        if lines.is_empty() {
            return None;
        }
        let (at, to) = (dice.below(lines.len()), dice.below(lines.len()));
        match (dice.below(5), lines[at].split_once('=')) {
            (0, _) => drop(lines.remove(at)),
            (1, _) => lines.insert(to, lines[at].clone()),
            (2, _) => lines.swap(at, to),
            (3, Some((name, _))) => lines[at] = format!("{name}= {}", dice.pick(&TOML_VALUES)),
            (_, Some((name, _))) => {
                if let Some((_, value)) = lines[to].split_once('=') {
                    lines[at] = format!("{name}={value}");
                }
            }
            (_, None) => lines[at] = lines[to].clone(),
        }
    }
    Some(lines.join("\n") + "\n")
}
