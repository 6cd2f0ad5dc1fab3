//! The environment variables that Bursar reads, and corrections for misspelt ones.

use super::names::setting_names;
use std::ffi::OsString;

/// Prefix of Bursar's variables.
const PREFIX: &str = "BURSAR_";

/// Settings with a variable name of their own; all others are `BURSAR_<SECTION>__<FIELD>`.
pub(super) const OWN_NAMES: &[(&str, &str)] = &[
    ("BURSAR_LISTEN", "listen"),
    ("BURSAR_OPS_LISTEN", "ops_listen"),
    ("BURSAR_DATA_DIR", "data_dir"),
    ("DATABASE_URL", "database_url"),
    ("AMQP_URL", "amqp_url"),
    ("BURSAR_ADMIN_TOKEN", "admin_token"),
    ("BURSAR_SECRET_KEY", "secret_key"),
    ("BURSAR_PUBLIC_URL", "public_url"),
    ("BURSAR_CATALOGUE_FILE", "catalogue_file"),
    ("SMTP_URL", "mail.smtp_url"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secrets"),
    ("GITHUB_WEBHOOK_SECRET", "marketplace.webhook_secrets"),
    ("STRIPE_SECRET_KEY", "stripe.secret_key"),
    ("STRIPE_API_BASE", "stripe.api_base"),
];

/// Variables that configure logs, the command line, the sandbox or the tests.
const OTHER_VARIABLES: [&str; 9] = [
    "BURSAR_LOG",
    "BURSAR_LOG_FORMAT",
    "BURSAR_URL",
    "BURSAR_SANDBOX_CONTROL_TOKEN",
    "BURSAR_SANDBOX_RECORDING",
    "BURSAR_SANDBOX_WEBHOOK_SECRET",
    "BURSAR_NO_CHAOS",
    "BURSAR_FUZZ_SEED",
    "BURSAR_JOURNEYS_SEED",
];

/// Prefixes of variables that configure tests.
const TEST_PREFIXES: [&str; 2] = ["BURSAR_TEST_", "BURSAR_E2E_"];

/// The most letters that a misspelt name may differ in from the one that is meant.
const TYPOS_MAX: usize = 2;

/// A variable with Bursar's prefix that nothing reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownVariable {
    /// Its name.
    pub(super) name: String,
    /// The variable that was probably meant.
    pub(super) meant: Option<String>,
}

impl UnknownVariable {
    /// What to do about it.
    pub(super) fn problem(&self) -> String {
        let Self { name, meant } = self;
        match meant {
            Some(meant) => format!("{name} is not a setting: did you mean {meant}?"),
            None => format!("{name} is not a setting: unset it (bursar.example.toml has every setting)"),
        }
    }
}

/// Whether the server, the command line, the sandbox or the tests read a variable.
pub fn is_known_variable(name: &str) -> bool {
    is_read(name) || variables_of_sections().any(|variable| variable == name)
}

/// Whether a variable that belongs to no section is read.
fn is_read(name: &str) -> bool {
    OWN_NAMES.iter().any(|(variable, _)| *variable == name)
        || OTHER_VARIABLES.contains(&name)
        || TEST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `BURSAR_<SECTION>__<FIELD>` for each setting in a section.
fn variables_of_sections() -> impl Iterator<Item = String> {
    let in_section = setting_names().iter().filter(|name| name.contains('.'));
    in_section.map(|name| format!("{PREFIX}{}", name.replace('.', "__").to_uppercase()))
}

/// The variables with Bursar's prefix that nothing reads, sorted by name. Those of sections are left to the reader of
/// the settings, which finds them, too.
pub(super) fn find_unknown(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<UnknownVariable> {
    let has_section = |name: &str| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains("__"));
    let mut names: Vec<String> = variables
        .into_iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_read(name) && !has_section(name))
        .filter(|(name, value)| !is_set_by_kubernetes(name, &value.to_string_lossy()))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.into_iter().map(unknown).collect()
}

/// A variable that nothing reads, with the one that was probably meant.
pub(super) fn unknown(name: String) -> UnknownVariable {
    UnknownVariable { meant: guess_variable(&name), name }
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

/// The variable that a misspelt name probably means: one with the same letters, else the only one that begins with it
/// or whose field has this name, else the only one within a few letters.
fn guess_variable(name: &str) -> Option<String> {
    let letters = |text: &str| text.replace(['_', '.'], "").to_lowercase();
    let bare = name.strip_prefix(PREFIX)?;
    let wanted = letters(bare);
    let own = OWN_NAMES.iter().find(|(variable, field)| {
        [variable.trim_start_matches(PREFIX), field].iter().any(|known| letters(known) == wanted)
    });
    if let Some((variable, _)) = own {
        return Some((*variable).to_owned());
    }
    // Settings with a name of their own are offered under that name only.
    let has_own = |variable: &String| {
        let field = variable.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
        OWN_NAMES.iter().any(|(_, known)| *known == field)
    };
    let of_sections: Vec<String> = variables_of_sections().filter(|variable| !has_own(variable)).collect();
    if let Some(same) = of_sections.iter().find(|variable| letters(variable.trim_start_matches(PREFIX)) == wanted) {
        return Some(same.clone());
    }
    let others = OWN_NAMES.iter().map(|(variable, _)| *variable).chain(OTHER_VARIABLES).map(str::to_owned);
    let all: Vec<String> = others.chain(of_sections).collect();
    let only = |is_it: &dyn Fn(&str) -> bool| {
        let mut found = all.iter().filter(|variable| is_it(variable));
        found.next().filter(|_| found.next().is_none()).cloned()
    };
    let has_field = |variable: &str| variable.rsplit_once("__").is_some_and(|(_, field)| field == bare);
    let typos = |variable: &str| strsim::damerau_levenshtein(variable, name);
    let fewest = all.iter().map(|variable| typos(variable)).min().filter(|typos| *typos <= TYPOS_MAX);
    only(&|variable| variable.starts_with(name))
        .or_else(|| only(&has_field))
        .or_else(|| only(&|variable| Some(typos(variable)) == fewest))
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
        for name in ["BURSAR_IMAGE", "BURSAR_PORT", "BURSAR_X", "BURSAR_MODE_OF_OPERATION"] {
            assert_eq!(find_unknown_in(name, "9000"), [UnknownVariable { name: name.to_owned(), meant: None }]);
        }
    }

    #[test]
    fn a_misspelt_variable_means_the_one_that_is_near() {
        for (name, meant) in [
            ("BURSAR_LISTN", "BURSAR_LISTEN"),
            ("BURSAR_LISETN", "BURSAR_LISTEN"),
            ("BURSAR_LOGS", "BURSAR_LOG"),
            ("BURSAR_SANDBOX", "BURSAR_STRIPE__SANDBOX"),
            ("BURSAR_WORKERS_MAX", "BURSAR_JOBS__WORKERS_MAX"),
            ("BURSAR_JOBS__WORKERS", "BURSAR_JOBS__WORKERS_MAX"),
            ("BURSAR_JOBS__WORKRES_MAX", "BURSAR_JOBS__WORKERS_MAX"),
            ("BURSAR_STRIPE__LIVE_MODE", "BURSAR_STRIPE__LIVEMODE"),
        ] {
            assert_eq!(guess_variable(name).as_deref(), Some(meant), "{name}");
        }
        assert_eq!(
            unknown("BURSAR_LISTN".to_owned()).problem(),
            "BURSAR_LISTN is not a setting: did you mean BURSAR_LISTEN?"
        );
    }

    #[test]
    fn a_variable_of_a_section_is_known_if_the_settings_have_its_field() {
        assert!(is_known_variable("BURSAR_JOBS__WORKERS_MAX") && is_known_variable("BURSAR_STRIPE__SECRET_KEY"));
        assert!(!is_known_variable("BURSAR_JOBS__WORKERS") && !is_known_variable("BURSAR_STRYPE__SANDBOX"));
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
