//! `bursar preflight`: looks at the configuration, the machine and every other system before a server starts. Prints
//! one line for each finding.

use crate::admin_token::find_bootstrap_warning;
use crate::capacity::{descriptors_reserved, open_files_max};
use crate::cli::{Cli, PreflightArgs, output};
use crate::data_folder::{find_open_to_others, open_private};
use crate::logging::filter;
use crate::serve::skew_clock;
use crate::{sandbox, secrets, serve};
use anyhow::Result;
use bursar_engine::Error;
use bursar_engine::clock::Clock;
use bursar_engine::config::Config;
use bursar_engine::domain::preflight::machine::{DISK, FILES, FOLDER, judge_disk, judge_files};
use bursar_engine::domain::preflight::{Finding, Report, State};
use bursar_engine::usecase::preflight::{Surroundings, preflight, within_limit};
use rustix::fs::{Access, access, statvfs};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The name of what `bursar config check` finds.
const CONFIG: &str = "config";
/// The width of a state and of a name in a line.
const STATE_WIDTH: usize = 7;
const NAME_WIDTH: usize = 20;

/// Runs all checks and prints what they have found. `problems` are those of the environment outside of the settings.
///
/// # Errors
/// The output cannot be written.
pub async fn run(cli: &Cli, args: &PreflightArgs, problems: Vec<String>) -> Result<ExitCode> {
    quiet_broker();
    let (config, found) = Config::load_with_problems(cli.config.as_deref());
    let problems = [problems, found].concat();
    if problems.is_empty() {
        skew_clock(&config)?;
    }
    let report = look(config, problems, args).await;
    if cli.json {
        output::print(&serde_json::to_string_pretty(&json!({
            "passed": report.is_passed(args.strict),
            "checks": report.findings,
        }))?)?;
    } else {
        output::print(&report.findings.iter().map(line).collect::<Vec<_>>().join("\n"))?;
        output::note(&summary(&report));
    }
    Ok(if report.is_passed(args.strict) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Logs nothing of the broker's client, unless another filter was chosen: it tells as an error whatever the broker
/// refuses, and what this command asks for to see whether it is there is among that.
fn quiet_broker() {
    let control = filter::control().filter(|control| control.at_start() == filter::DEFAULT);
    if let Some(control) = control {
        // What cannot be set is logged as before.
        let _ = control.set(&format!("{},lapin=off", filter::DEFAULT), "preflight", 0);
    }
}

/// Runs all checks.
async fn look(config: Config, problems: Vec<String>, args: &PreflightArgs) -> Report {
    let for_machine = config.clone();
    let on_machine = within_limit(&[FOLDER, DISK, FILES], async move {
        let looked = tokio::task::spawn_blocking(move || check_machine(&for_machine)).await;
        looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    });
    let public_url = args.public_url.clone().or_else(|| Some(config.public_url.clone()).filter(|url| !url.is_empty()));
    let surroundings = Surroundings { config, clock: Clock::System, public_url };
    let config = &surroundings.config;
    let (machine, others, bootstrap) =
        tokio::join!(on_machine, preflight(&surroundings), find_bootstrap_warning(config, "bursar preflight"));
    let warnings = config.warnings().into_iter().chain(bootstrap).collect();
    let of_config = check_config(config, problems, warnings, args);
    Report { findings: [of_config, machine, others].concat() }
}

/// Everything that `bursar config check` finds.
fn check_config(config: &Config, problems: Vec<String>, warnings: Vec<String>, args: &PreflightArgs) -> Vec<Finding> {
    let of = |checked: bursar_engine::Result<()>| match checked {
        Ok(()) => Vec::new(),
        Err(Error::Config(problems)) => problems,
        Err(error) => vec![error.to_string()],
    };
    let more = [
        of(serve::check_role(config, args.role.into())),
        of(sandbox::check(config)),
        secrets::problems(&config.data_dir),
    ];
    let problems = problems.into_iter().chain(more.concat());
    let mut findings: Vec<Finding> = problems
        .map(|problem| Finding::fail(CONFIG, problem, "correct the setting: the server does not start with it"))
        .collect();
    findings.extend(
        warnings.into_iter().map(|warning| Finding::warn(CONFIG, warning, "set it, unless this is what you want")),
    );
    if findings.is_empty() {
        findings.push(Finding::ok(CONFIG, "the configuration is valid"));
    }
    findings
}

/// Looks at the data folder, its disk and the limit of open files.
fn check_machine(config: &Config) -> Vec<Finding> {
    let folder = &config.data_dir;
    let files = judge_files(open_files_max(), config.http.connections_max, descriptors_reserved(&config.http));
    if config.is_postgres() && !folder.exists() {
        let why = "Postgres keeps the data, and all secrets are configured";
        return vec![Finding::skipped(FOLDER, why), Finding::skipped(DISK, why), files];
    }
    let disk = match statvfs(existing(folder)) {
        Ok(disk) => judge_disk(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Finding::skipped(DISK, format!("the system does not say how much space is free: {error}")),
    };
    [check_folder(config), vec![disk, files]].concat()
}

fn check_folder(config: &Config) -> Vec<Finding> {
    let folder = &config.data_dir;
    let shown = folder.display();
    let remedy = "make it writable for the user that Bursar runs as, or set BURSAR_DATA_DIR";
    let writable = if folder.is_dir() {
        try_write(folder).map(|()| format!("{shown} can be written to")).map_err(|error| error.to_string())
    } else {
        let above = existing(folder);
        let may = if above.is_dir() {
            access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string())
        } else {
            Err(format!("{} is no folder", above.display()))
        };
        may.map(|()| format!("{shown} is made at the first start"))
    };
    let mut findings = vec![match writable {
        Ok(message) => Finding::ok(FOLDER, message),
        Err(why) => Finding::fail(FOLDER, format!("{shown} cannot be written to: {why}"), remedy),
    }];
    for (path, mode) in find_open_to_others(config) {
        let message = format!("other users of the machine can open {} ({mode:04o})", path.display());
        findings.push(Finding::warn(FOLDER, message, "the next start removes these permissions"));
    }
    findings
}

/// Writes a file into a folder and removes it.
fn try_write(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".preflight.{}", std::process::id()));
    let written = open_private(&path, File::options().truncate(true)).and_then(|mut file| file.write_all(b"preflight"));
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

/// The folder itself, or the one above it that exists.
fn existing(folder: &Path) -> PathBuf {
    let found = folder.ancestors().find(|path| path.exists() && !path.as_os_str().is_empty());
    found.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// A finding in one line.
fn line(finding: &Finding) -> String {
    let Finding { name, state, message, remedy } = finding;
    let state = match state {
        State::Fail => "FAIL".to_owned(),
        State::Warn => "WARN".to_owned(),
        other => other.as_str().to_owned(),
    };
    let remedy = remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
    let text = format!("{state:STATE_WIDTH$}  {name:NAME_WIDTH$}  {message}{remedy}");
    output::sanitize(&text.replace('\n', " "))
}

fn summary(report: &Report) -> String {
    let [failed, warned, skipped] = [State::Fail, State::Warn, State::Skipped].map(|state| report.count(state));
    match (failed, warned) {
        (0, 0) => format!("ready for take-off ({skipped} skipped)"),
        (0, _) => format!("ready, with warnings: {warned} ({skipped} skipped)"),
        _ => format!("NOT ready: {failed} failed, {warned} warned of, {skipped} skipped"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_what_to_do() {
        let finding = Finding::fail("database.schema", "pending:\n\u{1b}[2J", "run `bursar migrate up`");
        assert_eq!(line(&finding), "FAIL     database.schema       pending: \u{fffd}[2J -> run `bursar migrate up`");
    }

    #[test]
    fn a_folder_is_tried_without_leaving_anything_behind() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().to_path_buf(), ..Config::default() };
        assert_eq!(check_folder(&config)[0].state, State::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = Config { data_dir: folder.path().join("a/b"), ..Config::default() };
        let found = check_folder(&missing);
        assert!(found[0].state == State::Ok && found[0].message.ends_with("is made at the first start"), "{found:?}");
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "x").unwrap();
        let config = Config { data_dir: folder.path().join("file/data"), ..Config::default() };
        let found = check_folder(&config);
        assert!(found[0].state == State::Fail && found[0].message.contains("is no folder"), "{found:?}");
    }

    #[test]
    fn every_name_fits_its_column() {
        use bursar_engine::domain::preflight::{broker, database, mail, stripe};
        let names =
            [broker::TOPOLOGY, database::CONNECTIONS, database::PRIVILEGES, mail::ENCRYPTION, stripe::PERMISSIONS];
        assert!(names.iter().all(|name| name.len() <= NAME_WIDTH), "{names:?}");
    }
}
