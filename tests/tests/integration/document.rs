//! Checks the documents against the code, since readers copy from them.

mod commands;
mod walk;

use bursar_engine::clock::{Clock, parse_rfc3339};
use bursar_engine::config::{Config, SECRETS, SecretSetting, is_known_variable};
use bursar_engine::domain::preflight::{broker, database, machine, mail, stripe};
use bursar_engine::domain::webhook::WANTED;
use serde_yaml::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Words in documents that look like Stripe event types but are not.
const NOT_EVENTS: [&str; 3] = ["customer.id", "customer.onboard", "refund.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents() -> Vec<(String, String)> {
    let mut names: Vec<String> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
        .into_iter()
        .chain(["bursar.example.toml", "deploy/README.md", "deploy/compose.yaml", "sandbox/README.md"])
        .map(str::to_owned)
        .collect();
    for folder in ["docs", "docs/internals"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{folder}/{name}"));
            }
        }
    }
    names.into_iter().map(|name| (name.clone(), read(name))).collect()
}

/// Whether a word looks like a Stripe event type: the part before its last dot is that of a known type.
fn looks_like_an_event(word: &str) -> bool {
    let family = |name: &str| name.rsplit_once('.').map(|(family, _)| family.to_owned());
    family(word).is_some_and(|found| WANTED.iter().any(|wanted| family(wanted).as_deref() == Some(found.as_str())))
}

#[test]
fn every_event_type_named_in_a_document_is_processed() {
    for (name, text) in documents() {
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_' || c == '.'));
        let words = words.map(|word| word.trim_matches('.')).filter(|word| looks_like_an_event(word));
        for word in words.filter(|word| !NOT_EVENTS.contains(word)) {
            assert!(WANTED.contains(&word), "{name} names {word}, which is not in WANTED");
        }
    }
}

#[test]
fn the_guide_lists_exactly_the_processed_event_types() {
    let lists = |text: &str| {
        let blocks: Vec<Vec<String>> = text
            .split("```")
            .skip(1)
            .step_by(2)
            .map(|block| block.lines().skip(1).map(|line| line.trim().to_owned()).filter(|l| !l.is_empty()).collect())
            .filter(|block: &Vec<String>| block.first().is_some_and(|line| looks_like_an_event(line)))
            .collect();
        blocks
    };
    let mut listing = Vec::new();
    for (name, text) in documents() {
        for list in lists(&text) {
            assert_eq!(list, WANTED, "{name}: run ./dev documents, which writes the list anew");
            listing.push(name.clone());
        }
    }
    assert_eq!(listing, ["docs/getting-started.md"]);
}

/// `money::failures::grant` tests this way to buy.
#[test]
fn every_recipe_for_a_checkout_names_the_customer_who_pays() {
    let mut recipes = 0;
    for (name, text) in documents() {
        for block in text.split("```").skip(1).step_by(2).filter(|block| block.contains("subscription_data[")) {
            let names_customer = block.lines().any(|line| line.trim().starts_with("customer="));
            assert!(names_customer, "{name}: without `customer` the payment grants no credits: {block}");
            recipes += 1;
        }
    }
    assert!(recipes > 0);
}

/// Every file below a folder, without build output.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true if path.ends_with("target") => {}
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn variables(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("BURSAR_") && !word.ends_with('_'))
}

#[test]
fn every_variable_that_is_read_or_documented_is_known() {
    // The documents list these as wrong.
    const WRONG: [&str; 2] = ["BURSAR_JOBS_WORKERS_MAX", "BURSAR_DATABASE_URL"];
    const TESTS_OF_UNKNOWN: [&str; 6] = [
        "config/environment.rs",
        "integration/cli.rs",
        "cli/catalogue.rs",
        "cli/config.rs",
        "cli/support.rs",
        "integration/preflight.rs",
    ];
    let sources = ["actors", "api", "engine", "sandbox", "tests"].map(|name| root().join(name));
    let mut texts = documents();
    texts.push(("dev".to_owned(), read("dev")));
    for path in sources.iter().flat_map(|folder| files(folder)) {
        let is_code = path.extension().is_some_and(|ending| ending == "rs");
        if is_code && !TESTS_OF_UNKNOWN.iter().any(|name| path.ends_with(name)) {
            texts.push((path.display().to_string(), read(&path)));
        }
    }
    for (name, text) in texts {
        for variable in variables(&text).filter(|variable| !WRONG.contains(variable)) {
            assert!(is_known_variable(variable), "{name} names {variable}, which a server would call unknown");
        }
    }
}

#[test]
fn every_documented_balance_query_is_for_a_past_time() {
    let mut moments = 0;
    for (name, text) in documents() {
        for rest in text.split("--at ").chain(text.split("?at=")).filter(|rest| rest.starts_with("20")) {
            let moment = rest.split(|c: char| c.is_whitespace() || c == '`').next().unwrap();
            let at_ms = parse_rfc3339(moment).unwrap_or_else(|| panic!("{name}: {moment}"));
            assert!(at_ms <= Clock::System.now_ms(), "{name}: {moment} is refused until it is past");
            moments += 1;
        }
    }
    assert!(moments > 2);
}

/// Assignments `NAME=VALUE` in a shell script or an env file.
fn assignments(text: &str) -> Vec<(String, String)> {
    let of_line = |line: &str| {
        let line = line.trim_start_matches(['#', ' ']).trim_start_matches("export ");
        let (name, value) = line.split_once('=')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let value = value.split(" #").next().unwrap_or(value).split("  ").next().unwrap_or(value);
        is_name.then(|| (name.to_owned(), value.trim().trim_matches('\'').to_owned()))
    };
    text.lines().filter_map(of_line).collect()
}

/// The settings with a value in a variable that holds a secret.
fn with_secret(variable: &str, value: &str) -> Config {
    let mut config = Config::default();
    let field = match variable {
        "DATABASE_URL" => &mut config.database_url,
        "AMQP_URL" => &mut config.amqp_url,
        "SMTP_URL" => &mut config.mail.smtp_url,
        "BURSAR_ADMIN_TOKEN" => &mut config.admin_token,
        "BURSAR_SECRET_KEY" => &mut config.secret_key,
        "STRIPE_SECRET_KEY" => &mut config.stripe.secret_key,
        "STRIPE_WEBHOOK_SECRET" => &mut config.stripe.webhook_secrets,
        "GITHUB_WEBHOOK_SECRET" => &mut config.marketplace.webhook_secrets,
        other => panic!("{other} is not known here"),
    };
    value.clone_into(field);
    config
}

#[test]
fn no_documented_value_is_accepted_as_a_secret() {
    let variables: BTreeSet<&str> = SECRETS.iter().map(|secret| secret.variable).collect();
    let mut tried = BTreeSet::new();
    for (document, text) in documents() {
        for (name, value) in assignments(&text) {
            // What a shell computes is no value of a document.
            let Some(variable) = variables.get(name.as_str()).filter(|_| !value.is_empty() && !value.contains('$'))
            else {
                continue;
            };
            let problems = with_secret(variable, &value).secret_problems();
            assert!(problems.iter().any(|problem| problem.contains(&name)), "{document}: {name}={value}: {problems:?}");
            tried.insert(*variable);
        }
    }
    assert_eq!(tried, variables, "the documents print each secret somewhere");
}

#[test]
fn the_documents_table_of_secrets_is_the_codes() {
    let text = read("docs/operations.md");
    let (_, section) = text.split_once("\n### Secrets\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), SECRETS.len(), "{rows:#?}");
    for (row, SecretSetting { variable, len_min, len_min_stand_in, .. }) in rows.iter().zip(SECRETS) {
        let shortest = if len_min == 0 { String::new() } else { format!("{len_min} ") };
        assert!(row.starts_with(&format!("| `{variable}` | {shortest}|")), "{variable}: {row}");
        if len_min_stand_in > 1 && len_min_stand_in < len_min {
            assert!(row.contains(&format!("{len_min_stand_in} where something stands in")), "{row}");
        }
    }
}

#[test]
fn the_guide_to_the_preflight_names_every_check() {
    let text = read("docs/operations.md");
    let (_, section) = text.split_once("\n## Preflight\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    let named: BTreeSet<&str> = rows.collect();
    let checks: BTreeSet<&str> = [
        "config",
        machine::FOLDER,
        machine::DISK,
        machine::FILES,
        database::REACHABLE,
        database::VERSION,
        database::WRITABLE,
        database::PRIVILEGES,
        database::SCHEMA,
        database::CONNECTIONS,
        database::CLOCK,
        broker::REACHABLE,
        broker::VERSION,
        broker::TOPOLOGY,
        mail::LOGIN,
        mail::ENCRYPTION,
        stripe::KEY,
        stripe::MODE,
        stripe::PERMISSIONS,
        stripe::WEBHOOK,
        stripe::EVENTS,
        stripe::API_VERSION,
        stripe::PRICES,
        stripe::CLOCK,
    ]
    .into();
    assert_eq!(named, checks);
}

/// The test `money::permission` runs with exactly these permissions.
#[test]
fn the_guide_to_restricted_keys_lists_what_is_read_and_written() {
    let rows = permissions();
    let kinds: Vec<&str> = rows.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, stripe::READS);
    for (kind, needs, name) in &rows {
        let wanted = if stripe::WRITES.contains(&kind.as_str()) { "write" } else { "read" };
        assert_eq!(needs, wanted, "{kind}");
        assert!(name.starts_with("rak_") && name.ends_with(&format!("_{wanted}")), "{kind}: {name}");
    }
}

/// The documented permissions of a restricted key: objects, `read` or `write`, and Stripe's name.
pub(crate) fn permissions() -> Vec<(String, String, String)> {
    let text = read("docs/operations.md");
    let (_, section) = text.split_once("\n### A restricted Stripe key\n").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let cells = |line: &str| -> Option<(String, String, String)> {
        let mut cells = line.strip_prefix("| `")?.split('|').map(|cell| cell.trim_matches([' ', '`']).to_owned());
        Some((cells.next()?, cells.next()?, cells.next()?))
    };
    section.lines().filter_map(cells).collect()
}

#[test]
fn compose_passes_every_variable_that_production_needs() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## In production").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let named: BTreeSet<String> = assignments(section).into_iter().map(|(name, _)| name).collect();
    assert!(named.contains("STRIPE_SECRET_KEY") && named.contains("BURSAR_HTTP__TRUSTED_PROXIES"), "{named:?}");

    let mut compose: Value = serde_yaml::from_str(&read("deploy/compose.yaml")).unwrap();
    compose.apply_merge().unwrap();
    // Variables set by the image.
    let image: BTreeSet<String> = read("deploy/Dockerfile")
        .lines()
        .filter_map(|line| line.strip_prefix("ENV "))
        .flat_map(|line| line.split(' '))
        .filter_map(|pair| pair.split_once('=').map(|(name, _)| name.to_owned()))
        .collect();
    for service in ["migrate", "api", "worker"] {
        let environment = compose["services"][service]["environment"].as_mapping().unwrap();
        let passed: BTreeSet<String> =
            environment.keys().map(|name| name.as_str().unwrap().to_owned()).chain(image.clone()).collect();
        let missing: Vec<_> = named.difference(&passed).collect();
        assert!(missing.is_empty(), "{service}: {missing:?}");
        // A name without a value is passed through if it is set.
        let mut optional =
            environment.iter().filter(|(_, value)| value.as_str().is_some_and(|value| value.contains(":-")));
        assert!(
            optional.all(|(name, value)| value.as_str().unwrap().contains(name.as_str().unwrap())),
            "{service}: each variable is passed under its own name"
        );
    }
}

#[test]
fn composes_comments_name_every_variable_of_the_env_file() {
    let text = read("deploy/compose.yaml");
    let comments: String = text.lines().take_while(|line| line.is_empty() || line.starts_with('#')).collect();
    let compose: Value = serde_yaml::from_str(&text).unwrap();
    let environment = compose["x-bursar"]["environment"].as_mapping().unwrap();
    for (name, value) in environment {
        let value = value.as_str().unwrap_or_default();
        let mut named: Vec<&str> =
            value.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap()).collect();
        if value.is_empty() {
            named.push(name.as_str().unwrap());
        }
        for name in named {
            assert!(comments.contains(&format!(" {name}=")), "{name}");
        }
    }
}

#[test]
fn the_image_has_every_program_that_its_guide_names() {
    let image = read("deploy/Dockerfile");
    let copied = image.lines().find(|line| line.starts_with("COPY --from=build")).unwrap_or_default();
    for program in ["bursar", "e2e"] {
        assert!(copied.contains(&format!("/release/{program} ")), "{program}: {copied}");
    }
}
