//! The `bursar` command.

use anyhow::{Result, bail};
use bursar::admin_token::find_bootstrap_warning;
use bursar::cli::progress::Progress;
use bursar::cli::table::{Column, Table};
use bursar::cli::{Cli, Command, ConfigCommand, ServeArgs, VerifyArgs, output};
use bursar::database::connect_command;
use bursar::{access_log, cli, logging, migrate, preflight, routes, sandbox, secrets, serve};
use bursar_engine::Error;
use bursar_engine::config::Config;
use bursar_engine::usecase::schema::schema;
use bursar_engine::usecase::verify::verify_since;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::parse_from_words(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(error),
    };
    // Fails only if a log is already installed, which works as well.
    let _ = logging::start();
    // Fails only if a provider is already installed, which works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the runtime did not start");
            return output::report(Err(error), cli.json);
        }
    };
    let ended = runtime.block_on(run(&cli));
    access_log::flush();
    output::report(ended, cli.json)
}

/// Prints why the arguments are wrong, as JSON if they ask for it; or the help or the version that they ask for.
fn refuse_arguments(error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    output::report(Err(error.into()), std::env::args_os().any(|word| word == "--json"))
}

async fn run(cli: &Cli) -> Result<ExitCode> {
    let file = cli.config.as_deref();
    match &cli.command {
        Command::Serve(ServeArgs { role, demo }) => {
            serve::run(load(file)?, (*role).into(), *demo).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate(arguments) => migrate::run(&load(file)?, cli.json, arguments).await,
        Command::Verify(arguments) => verify_database(cli, arguments, &load(file)?).await,
        Command::Openapi => {
            output::print(routes::openapi_document().trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(arguments) => match arguments.command {
            ConfigCommand::Check { role } => check_config(cli, role.into()).await,
        },
        Command::Preflight(arguments) => preflight::run(cli, arguments, logging::problems()).await,
        _ => cli::run(cli).await,
    }
}

/// Prints whether the configuration is valid, with its warnings. As JSON, it prints the problems too.
async fn check_config(cli: &Cli, role: bursar_actors::Role) -> Result<ExitCode> {
    let valid = load(cli.config.as_deref()).and_then(|config| {
        serve::check_role(&config, role)?;
        sandbox::check(&config)?;
        secrets::check(&config.data_dir)?;
        Ok(config)
    });
    let checked: Result<Vec<String>> = match valid {
        Ok(config) => {
            let bootstrap = find_bootstrap_warning(&config, "bursar config check").await;
            Ok(config.warnings().into_iter().chain(bootstrap).collect())
        }
        Err(error) => Err(error),
    };
    if cli.json {
        let (warnings, problems) = match checked {
            Ok(warnings) => (warnings, Vec::new()),
            Err(error) => match error.downcast::<Error>()? {
                Error::Config(problems) => (Vec::new(), problems),
                error => return Err(error.into()),
            },
        };
        let is_valid = problems.is_empty();
        let answer = serde_json::json!({ "valid": is_valid, "problems": problems, "warnings": warnings });
        output::print(&serde_json::to_string_pretty(&answer)?)?;
        return Ok(if is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    checked?.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    output::print("the configuration is valid")?;
    Ok(ExitCode::SUCCESS)
}

/// Loads the configuration and checks the log's settings.
fn load(file: Option<&Path>) -> Result<Config> {
    let (config, of_log) = (Config::load(file), logging::problems());
    if of_log.is_empty() {
        return Ok(config?);
    }
    let mut problems = match config {
        Ok(_) => Vec::new(),
        Err(Error::Config(problems)) => problems,
        Err(error) => return Err(error.into()),
    };
    problems.extend(of_log);
    Err(Error::Config(problems).into())
}

async fn verify_database(cli: &Cli, arguments: &VerifyArgs, config: &Config) -> Result<ExitCode> {
    let db = connect_command(config, "bursar verify").await?;
    let schema = schema(&db).await?;
    if !schema.is_served() {
        bail!(schema.problem().unwrap_or_default());
    }
    let bar = Progress::bar("verifying", 0);
    let report = verify_since(&db, arguments.audit_head.as_ref(), |progress| {
        bar.set(progress.done, progress.total);
        bar.set_message(&progress.to_string());
    })
    .await?;
    drop(bar);
    if cli.json {
        output::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        let columns = [
            Column::number("obligation"),
            Column::wrapped("what is proven"),
            Column::number("checked"),
            Column::number("violations"),
        ];
        let mut table = Table::new(&columns);
        for check in &report.checks {
            table.row([
                check.obligation.to_string(),
                check.name.to_owned(),
                check.checked.to_string(),
                check.violations_total.to_string(),
            ]);
        }
        output::print(&table.render(output::width()))?;
        for violation in report.checks.iter().flat_map(|check| &check.violations) {
            output::print(violation)?;
        }
        output::print(if report.holds() { "everything holds" } else { "NOT everything holds" })?;
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
