//! Options of all commands are refused, and not shown, where they have no effect: somebody who gives `--url` to
//! `migrate` believes that it migrates the database of that server.

use super::Cli;
use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// Commands, and the options of all commands that have no effect on them.
const WITHOUT_EFFECT: &[(&[&str], &[&str])] = &[
    (&["serve"], &["json", "url", "token"]),
    (&["migrate"], &["url", "token"]),
    (&["verify"], &["url", "token"]),
    (&["openapi"], &["config", "url", "token"]),
    (&["config"], &["url", "token"]),
    (&["preflight"], &["url", "token"]),
    (&["completions"], &["json", "config", "url", "token"]),
    (&["catalogue", "check"], &["url", "token"]),
    (&["mail", "preview"], &["url", "token"]),
    (&["audit", "check"], &["config", "url", "token"]),
    (&["stripe", "send"], &["token"]),
    (&["stripe", "events"], &["config", "url", "token"]),
    (&["github", "send"], &["token"]),
];

/// The definition of the command line.
pub(super) fn command() -> Command {
    WITHOUT_EFFECT.iter().fold(Cli::command(), |command, (path, options)| {
        let hidden = options.iter().filter_map(|id| {
            let option = Cli::command().get_arguments().find(|option| option.get_id() == *id).cloned();
            option.map(|option| option.hide(true).env(Resettable::Reset))
        });
        hide(command, path, &hidden.collect::<Vec<_>>())
    })
}

/// Gives a command its own hidden options, which the ones of all commands then leave as they are.
fn hide(command: Command, path: &[&str], options: &[clap::Arg]) -> Command {
    match path {
        [] => command.args(options),
        [name, rest @ ..] => command.mut_subcommand(*name, |command| hide(command, rest, options)),
    }
}

/// Parses arguments.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let mut matches = command.try_get_matches_from_mut(words)?;
    let without_effect = WITHOUT_EFFECT.iter().filter(|(path, _)| is_at(&matches, path));
    for (path, options) in without_effect {
        let given = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(option) = options.iter().find(given) {
            let message = format!("--{option} has no effect on `{} {}`", super::PROGRAM, path.join(" "));
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
    }
    Cli::from_arg_matches_mut(&mut matches)
}

/// Whether the arguments name the command at this path.
fn is_at(matches: &ArgMatches, path: &[&str]) -> bool {
    match path {
        [] => true,
        [name, rest @ ..] => matches.subcommand().is_some_and(|(own, matches)| own == *name && is_at(matches, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Cli, clap::Error> {
        parse(std::iter::once("bursar").chain(words.iter().copied()).map(OsString::from))
    }

    fn help(path: &[&str]) -> String {
        let words: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
        parsed(&words).expect_err("help ends the parsing").to_string()
    }

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn an_option_without_effect_is_refused_wherever_it_stands() {
        for words in [
            &["--url", "http://h:1", "migrate", "status"][..],
            &["migrate", "--url", "http://h:1", "status"],
            &["migrate", "status", "--url", "http://h:1"],
            &["serve", "--token", "s3cret"],
            &["--token", "s3cret", "stripe", "send", "f"],
            &["completions", "bash", "--json"],
            &["catalogue", "check", "f", "--url", "http://h:1"],
        ] {
            let refused = parsed(words).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::ArgumentConflict, "{words:?}: {refused}");
            assert!(refused.to_string().contains("has no effect on `bursar "), "{refused}");
            assert!(!refused.to_string().contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn an_option_is_accepted_where_it_acts() {
        for words in [
            &["--url", "http://h:1", "customers", "list", "--json"][..],
            &["catalogue", "show", "--url", "http://h:1"],
            &["stripe", "send", "f", "--url", "http://h:1"],
            &["verify", "--json", "--config", "f"],
            &["openapi", "--json"],
        ] {
            assert!(parsed(words).is_ok(), "{words:?}");
        }
        let cli = parsed(&["jobs", "list", "--url", "http://h:1", "--token", "s3cret"]).expect("valid");
        assert_eq!(cli.connection.url.as_deref(), Some("http://h:1"));
        assert!(cli.connection.token.is_some());
    }

    #[test]
    fn help_shows_options_only_where_they_act() {
        for (path, options) in WITHOUT_EFFECT {
            let text = help(path);
            for option in *options {
                assert!(!text.contains(&format!("--{option} ")), "{path:?}: {text}");
            }
        }
        for path in [&["customers", "list"][..], &["catalogue", "show"], &["stripe", "reconcile"]] {
            for option in ["--url", "--token", "--config", "--json"] {
                assert!(help(path).contains(option), "{path:?} {option}");
            }
        }
    }

    #[test]
    fn help_is_wrapped() {
        for path in [&["replays", "create"][..], &["marketplace", "correct"], &["preflight"], &[]] {
            let text = help(path);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(super::super::HELP_WIDTH_MAX), "{path:?}: {widest:?}\n{text}");
        }
    }
}
