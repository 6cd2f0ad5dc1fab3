//! Parameters in the encoding of Stripe's clients: `items[0][price]=…&expand[]=…`.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// Maximum number of parameters of one call.
const PARAMETERS_MAX: usize = 1_000;
/// Deepest nesting of a parameter.
const DEPTH_MAX: usize = 8;
/// The longest name or value of metadata. Source: Stripe, "Metadata".
const METADATA_LEN_MAX: usize = 500;
/// Maximum number of keys of metadata. Source: Stripe, "Metadata".
const METADATA_KEYS_MAX: usize = 50;
/// Bounds of an amount in minor units. Source: Stripe, "Minimum and maximum charge amounts".
const AMOUNT_MIN: i64 = 50;
const AMOUNT_MAX: i64 = 99_999_999;

/// The parameters of a call, or a part of them. Leaves are strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Form(Map<String, Value>);

impl Form {
    /// Decodes a query or a form body. Later parameters win.
    pub(crate) fn decode(text: &str) -> Result<Self, ApiError> {
        let mut root = Map::new();
        for (at, (name, value)) in form_urlencoded::parse(text.as_bytes()).enumerate() {
            if at >= PARAMETERS_MAX {
                return Err(ApiError::invalid("parameter_invalid_string", None, "There are too many parameters."));
            }
            let path = split(&name).ok_or_else(|| {
                let message = format!("Invalid name of a parameter: {name}");
                ApiError::invalid("parameter_unknown", Some(&name), &message)
            })?;
            put(&mut root, &path, value.into_owned());
        }
        Ok(Self(root))
    }

    /// Merges two sets of parameters. Those of `other` win.
    pub(crate) fn merged(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// All parameters as JSON. Numbered ones become lists.
    pub(crate) fn to_json(&self) -> Value {
        with_lists(&Value::Object(self.0.clone()), false)
    }

    /// The top-level names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn at(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// An amount within Stripe's bounds.
    pub(crate) fn amount(&self, param: &str) -> Result<Option<i64>, ApiError> {
        let Some(amount) = self.int(param)? else { return Ok(None) };
        if amount < 1 {
            let message = "This value must be greater than or equal to 1.";
            return Err(ApiError::invalid("parameter_invalid_integer", Some(param), message));
        }
        if amount < AMOUNT_MIN {
            let message = "Amount must be at least $0.50 usd. SANDBOX.";
            return Err(ApiError::invalid("amount_too_small", Some(param), message));
        }
        if amount > AMOUNT_MAX {
            let message = "Amount must be no more than $999,999.99. SANDBOX.";
            return Err(ApiError::invalid("amount_too_large", Some(param), message));
        }
        Ok(Some(amount))
    }

    /// Whether it is present, even if it is empty.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).is_some()
    }

    /// Whether it unsets a field: it is present and empty.
    pub(crate) fn unsets(&self, path: &str) -> bool {
        self.at(path).is_some_and(|value| value == "")
    }

    /// A string that is not empty.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str().filter(|text| !text.is_empty())
    }

    /// A string, or null.
    pub(crate) fn nullable(&self, path: &str) -> Value {
        self.text(path).map_or(Value::Null, Value::from)
    }

    /// Those of these parameters that are present, each as a string or null.
    pub(crate) fn nullables(&self, names: &[&str]) -> impl Iterator<Item = (String, Value)> {
        names.iter().filter(|name| self.has(name)).map(|name| ((*name).to_owned(), self.nullable(name)))
    }

    /// A required string.
    pub(crate) fn required(&self, path: &str) -> Result<&str, ApiError> {
        self.text(path).ok_or_else(|| ApiError::missing(&bracketed(path)))
    }

    /// An integer.
    pub(crate) fn int(&self, path: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(path) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            let message = format!("Invalid integer: {text}");
            ApiError::invalid("parameter_invalid_integer", Some(&bracketed(path)), &message)
        })
    }

    /// A boolean.
    pub(crate) fn flag(&self, path: &str) -> Result<Option<bool>, ApiError> {
        match self.text(path) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(text) => {
                let message = format!("Invalid boolean: {text}");
                Err(ApiError::invalid("parameter_invalid_boolean", Some(&bracketed(path)), &message))
            }
        }
    }

    /// A part of the parameters, empty if it is missing.
    pub(crate) fn part(&self, path: &str) -> Self {
        Self(self.at(path).and_then(Value::as_object).cloned().unwrap_or_default())
    }

    /// A list of groups of parameters, in numerical order.
    pub(crate) fn list(&self, path: &str) -> Vec<Self> {
        self.numbered(path).into_iter().filter_map(|value| value.as_object().cloned().map(Self)).collect()
    }

    /// A list of strings.
    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        let texts = self.numbered(path).into_iter().filter_map(|value| value.as_str().map(str::to_owned));
        texts.filter(|text| !text.is_empty()).collect()
    }

    fn numbered(&self, path: &str) -> Vec<&Value> {
        match self.at(path) {
            Some(Value::Object(map)) => {
                let mut entries: Vec<(usize, &Value)> =
                    map.iter().map(|(name, value)| (name.parse().unwrap_or(usize::MAX), value)).collect();
                entries.sort_by_key(|(number, _)| *number);
                entries.into_iter().map(|(_, value)| value).collect()
            }
            Some(value) => vec![value],
            None => Vec::new(),
        }
    }

    /// Applies a change of metadata: sets the given keys, removes keys whose value is empty, and removes all if
    /// `metadata` is empty. Source: Stripe, "Metadata".
    pub(crate) fn metadata(&self, before: &Value) -> Result<Value, ApiError> {
        self.metadata_at("metadata", before)
    }

    /// The same for the metadata of a part.
    pub(crate) fn metadata_at(&self, path: &str, before: &Value) -> Result<Value, ApiError> {
        if self.unsets(path) {
            return Ok(Value::Object(Map::new()));
        }
        let mut metadata = before.as_object().cloned().unwrap_or_default();
        for (key, value) in &self.part(path).0 {
            let text = value.as_str().unwrap_or_default();
            if key.len() > METADATA_LEN_MAX || text.len() > METADATA_LEN_MAX {
                let message = format!("Metadata can have up to {METADATA_LEN_MAX} characters.");
                return Err(ApiError::invalid("parameter_invalid_string", Some(path), &message));
            }
            if text.is_empty() {
                metadata.remove(key);
            } else {
                metadata.insert(key.clone(), text.into());
            }
        }
        if metadata.len() > METADATA_KEYS_MAX {
            let message = format!("Metadata can have up to {METADATA_KEYS_MAX} keys.");
            return Err(ApiError::invalid("parameter_invalid_string", Some(path), &message));
        }
        Ok(Value::Object(metadata))
    }
}

/// Decodes a query or a form body into JSON, as calls are recorded; `None` if it is refused.
pub fn form_to_json(text: &str) -> Option<Value> {
    Form::decode(text).ok().map(|form| form.to_json())
}

/// Converts `a.b` to the caller's notation `a[b]`.
fn bracketed(path: &str) -> String {
    let mut parts = path.split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| format!("{name}[{part}]"))
}

fn split(name: &str) -> Option<Vec<String>> {
    let (first, mut rest) = name.find('[').map_or((name, ""), |at| name.split_at(at));
    let mut path = vec![first.to_owned()];
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[')?;
        let end = inner.find(']')?;
        path.push(inner[..end].to_owned());
        rest = &inner[end + 1..];
        if path.len() > DEPTH_MAX {
            return None;
        }
    }
    (!first.is_empty()).then_some(path)
}

fn put(map: &mut Map<String, Value>, path: &[String], value: String) {
    let Some((first, rest)) = path.split_first() else { return };
    // `a[]` appends to the list.
    let name = if first.is_empty() { map.len().to_string() } else { first.clone() };
    if rest.is_empty() {
        map.insert(name, value.into());
        return;
    }
    let below = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !below.is_object() {
        *below = Value::Object(Map::new());
    }
    if let Some(below) = below.as_object_mut() {
        put(below, rest, value);
    }
}

/// Turns objects whose keys are all numbers into lists, except for metadata.
fn with_lists(value: &Value, is_metadata: bool) -> Value {
    let Some(map) = value.as_object() else { return value.clone() };
    let mut numbered: Vec<(usize, Value)> = Vec::new();
    let mut named = Map::new();
    for (name, value) in map {
        let below = with_lists(value, name == "metadata");
        match name.parse() {
            Ok(number) if !is_metadata => numbered.push((number, below.clone())),
            _ => {}
        }
        named.insert(name.clone(), below);
    }
    if !map.is_empty() && numbered.len() == map.len() {
        numbered.sort_by_key(|(number, _)| *number);
        return numbered.into_iter().map(|(_, value)| value).collect();
    }
    Value::Object(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form(text: &str) -> Form {
        Form::decode(text).unwrap()
    }

    #[test]
    fn nested_and_numbered_parameters_are_read_as_objects_and_lists() {
        let form = form("items[0][price]=p&items[1][price]=q&metadata[1]=x&expand[]=a&expand[]=b.c&off_session=true");
        assert_eq!(
            form.to_json(),
            json!({"items": [{"price": "p"}, {"price": "q"}], "metadata": {"1": "x"},
                   "expand": ["a", "b.c"], "off_session": "true"})
        );
        assert_eq!(form.list("items")[1].text("price"), Some("q"));
        assert_eq!(form.flag("off_session").unwrap(), Some(true));
    }

    #[test]
    fn encoded_brackets_are_brackets() {
        assert_eq!(form("created%5Bgte%5D=17").int("created.gte").unwrap(), Some(17));
    }

    #[test]
    fn metadata_is_merged_and_an_empty_value_removes_a_key() {
        let before = json!({"a": "1", "b": "2"});
        assert_eq!(form("metadata[a]=&metadata[c]=3").metadata(&before).unwrap(), json!({"b": "2", "c": "3"}));
        assert_eq!(form("metadata=").metadata(&before).unwrap(), json!({}));
        assert_eq!(form("").metadata(&before).unwrap(), before);
    }

    #[test]
    fn a_text_instead_of_a_number_names_the_parameter() {
        let error = form("items[0][quantity]=many").list("items")[0].int("quantity").unwrap_err();
        assert_eq!(error.status, 400);
        assert_eq!(error.param.as_deref(), Some("quantity"));
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["[a]=1", "a[b=1", "a[b]c=1", "a[1][2][3][4][5][6][7][8][9]=1"] {
            assert!(Form::decode(text).is_err(), "{text}");
        }
    }
}
