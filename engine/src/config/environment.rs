//! The environment variables that Bursar reads, and corrections for misspelt ones.

use super::Config;
use std::ffi::OsString;

/// Prefix of Bursar's variables.
const PREFIX: &str = "BURSAR_";

/// Settings with a variable name of their own; all others are `BURSAR_<SECTION>__<FIELD>`.
pub(super) const OWN_NAMES: &[(&str, &str)] = &[
    ("BURSAR_LISTEN", "listen"),
    ("BURSAR_DATA_DIR", "data_dir"),
    ("DATABASE_URL", "database_url"),
    ("AMQP_URL", "amqp_url"),
    ("BURSAR_ADMIN_TOKEN", "admin_token"),
    ("BURSAR_SECRET_KEY", "secret_key"),
    ("BURSAR_CATALOGUE_FILE", "catalogue_file"),
    ("SMTP_URL", "mail.smtp_url"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secrets"),
    ("GITHUB_WEBHOOK_SECRET", "marketplace.webhook_secrets"),
    ("STRIPE_SECRET_KEY", "stripe.secret_key"),
    ("STRIPE_API_BASE", "stripe.api_base"),
];

/// Variables that configure logs, the command line, the sandbox or the tests.
const OTHER_VARIABLES: [&str; 6] = [
    "BURSAR_LOG",
    "BURSAR_URL",
    "BURSAR_SANDBOX_RECORDING",
    "BURSAR_SANDBOX_WEBHOOK_SECRET",
    "BURSAR_NO_CHAOS",
    "BURSAR_JOURNEYS_SEED",
];

/// Prefixes of variables that configure tests.
const TEST_PREFIXES: [&str; 2] = ["BURSAR_TEST_", "BURSAR_E2E_"];

/// A variable with Bursar's prefix that nothing reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownVariable {
    /// Its name.
    pub(super) name: String,
    /// The variable that was probably meant: its name differs in underscores or prefix only.
    pub(super) meant: Option<String>,
}

/// Whether the server, the command line, the sandbox or the tests read a variable. A name with a section counts as
/// known; its field is checked when the settings are read.
pub fn is_known_variable(name: &str) -> bool {
    OWN_NAMES.iter().any(|(variable, _)| *variable == name)
        || OTHER_VARIABLES.contains(&name)
        || TEST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__"))
}

/// The variables with Bursar's prefix that nothing reads, sorted by name.
pub(super) fn find_unknown(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<UnknownVariable> {
    let mut names: Vec<String> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_known_variable(name))
        .filter(|(name, value)| !is_set_by_kubernetes(name, &value.to_string_lossy()))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.into_iter().map(|name| UnknownVariable { meant: guess_variable(&name), name }).collect()
}

/// Whether Kubernetes sets a variable: it announces a service named `bursar` or `bursar-…` to every pod.
fn is_set_by_kubernetes(name: &str, value: &str) -> bool {
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let of_port = name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || of_port
        || (name.ends_with("_PORT") && is_address)
}

/// The variable that a misspelt name probably means.
fn guess_variable(name: &str) -> Option<String> {
    let letters = |text: &str| text.replace(['_', '.'], "").to_lowercase();
    let wanted = letters(name.strip_prefix(PREFIX)?);
    let own = OWN_NAMES.iter().find(|(variable, field)| {
        [variable.trim_start_matches(PREFIX), field].iter().any(|known| letters(known) == wanted)
    });
    let of_section = || {
        let settings = serde_json::to_value(Config::default()).unwrap_or_default();
        let sections =
            settings.as_object()?.iter().filter_map(|(section, fields)| Some((section, fields.as_object()?)));
        let mut fields = sections.flat_map(|(section, fields)| fields.keys().map(move |field| (section, field)));
        let (section, field) = fields.find(|(section, field)| letters(&format!("{section}{field}")) == wanted)?;
        Some(format!("{PREFIX}{}__{}", section.to_uppercase(), field.to_uppercase()))
    };
    own.map(|(variable, _)| (*variable).to_owned()).or_else(of_section)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_unknown_in(name: &str, value: &str) -> Vec<UnknownVariable> {
        find_unknown([(name.into(), value.into()), ("PATH".into(), "/bin".into())])
    }

    #[test]
    fn a_variable_with_wrong_underscores_or_prefix_means_a_setting() {
        for (name, meant) in [
            ("BURSAR_JOBS_WORKERS_MAX", "BURSAR_JOBS__WORKERS_MAX"),
            ("BURSAR_STRIPE_RECONCILE_HOUR", "BURSAR_STRIPE__RECONCILE_HOUR"),
            ("BURSAR_CATALOGUEFILE", "BURSAR_CATALOGUE_FILE"),
            ("BURSAR_DATABASE_URL", "DATABASE_URL"),
            ("BURSAR_SMTP_URL", "SMTP_URL"),
            ("BURSAR_STRIPE_SECRET_KEY", "STRIPE_SECRET_KEY"),
            ("BURSAR_STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET"),
            ("BURSAR_DATADIR", "BURSAR_DATA_DIR"),
            ("BURSAR__LISTEN", "BURSAR_LISTEN"),
        ] {
            assert_eq!(
                find_unknown_in(name, "1"),
                [UnknownVariable { name: name.to_owned(), meant: Some(meant.to_owned()) }]
            );
        }
    }

    #[test]
    fn a_variable_that_means_nothing_is_unknown() {
        for name in ["BURSAR_LISTN", "BURSAR_IMAGE", "BURSAR_SANDBOX", "BURSAR_PORT"] {
            assert_eq!(find_unknown_in(name, "9000"), [UnknownVariable { name: name.to_owned(), meant: None }]);
        }
    }

    #[test]
    fn what_others_read_and_what_kubernetes_sets_is_no_unknown_variable() {
        for (name, value) in [
            ("BURSAR_LISTEN", "127.0.0.1:0"),
            ("BURSAR_JOBS__WORKERS_MAX", "32"),
            ("BURSAR_URL", "http://127.0.0.1:8080"),
            ("BURSAR_TEST_AMQP_URL", "amqp://broker/%2f"),
            ("BURSAR_NO_CHAOS", "1"),
            ("BURSAR_PORT", "tcp://10.0.0.1:8080"),
            ("BURSAR_API_SERVICE_HOST", "10.0.0.1"),
            ("BURSAR_SERVICE_PORT_HTTP", "8080"),
            ("BURSAR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(find_unknown_in(name, value), [], "{name}");
        }
    }
}
