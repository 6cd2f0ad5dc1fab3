//! The log of the process: its format, its filter, and the identifiers of the request that a line belongs to.
//!
//! | module | what is in it |
//! |---|---|
//! | [`filter`] | reading a filter, and changing it while the process runs |
//! | `request_fields` | adds the request's identifiers to each line that is logged while it is answered |

pub mod filter;
mod request_fields;

use crate::access_log::{self, AccessLog};
use anyhow::{Context, Result};
use filter::FilterControl;
use request_fields::WithRequest;
use std::env::VarError;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The variable that chooses the format.
const FORMAT_VARIABLE: &str = "BURSAR_LOG_FORMAT";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Human,
    /// A JSON object for each line.
    Json,
}

impl Format {
    /// Reads the name of a format; nothing, or `auto`, is text on a terminal and JSON otherwise.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, is_terminal: bool) -> Result<Self, String> {
        match name.trim() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            "" | "auto" if is_terminal => Ok(Self::Human),
            "" | "auto" => Ok(Self::Json),
            other => Err(format!("{FORMAT_VARIABLE} must be human, json or auto, and not {other}")),
        }
    }

    /// Reads the environment's.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_environment() -> Result<Self, String> {
        let is_terminal = io::stderr().is_terminal();
        match std::env::var(FORMAT_VARIABLE) {
            Ok(name) => Self::parse(&name, is_terminal),
            Err(VarError::NotPresent) => Self::parse("", is_terminal),
            Err(error @ VarError::NotUnicode(_)) => Err(format!("{FORMAT_VARIABLE}: {error}")),
        }
    }
}

/// Where lines go. It is called with whole lines.
#[derive(Debug, Clone, Copy)]
pub struct Output(pub fn(&[u8]));

impl Output {
    /// The standard error.
    pub const STDERR: Self = Self(|lines| {
        // Nobody can be told if it is closed.
        let _ = io::stderr().lock().write_all(lines);
    });

    /// Writes lines.
    pub fn write(self, lines: &[u8]) {
        (self.0)(lines);
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(*self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Problems of the log's settings in the environment, in sentences.
pub fn problems() -> Vec<String> {
    [filter::of_environment().err(), Format::of_environment().err()].into_iter().flatten().collect()
}

/// Starts the log of this process with the settings of the environment; defaults replace those that are wrong. The
/// caller reports [`problems`].
///
/// # Errors
/// Another log is installed.
pub fn start() -> Result<()> {
    let filter = filter::of_environment().unwrap_or_else(|_| filter::DEFAULT.to_owned());
    let format = Format::of_environment().unwrap_or(Format::Json);
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    start_with(&filter, format, is_coloured, Output::STDERR)
}

/// Starts the log of this process. Colours are for terminals, and for people only.
///
/// # Errors
/// The filter is wrong, or another log is installed.
pub fn start_with(filter: &str, format: Format, is_coloured: bool, output: Output) -> Result<()> {
    let parsed = filter::parse(filter).map_err(anyhow::Error::msg)?;
    let (layer, handle) = reload::Layer::<_, Registry>::new(parsed);
    let registry = tracing_subscriber::registry().with(layer);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || output);
    let installed = match format {
        Format::Human => {
            let human = WithRequest::human(format::format().with_target(!is_coloured).with_ansi(is_coloured));
            registry.with(lines.with_ansi(is_coloured).event_format(human)).try_init()
        }
        Format::Json => {
            let json = WithRequest::json(format::format().json().flatten_event(true));
            let fields = format::JsonFields::new();
            registry.with(lines.fmt_fields(fields).event_format(json)).try_init()
        }
    };
    installed.context("the log could not be set up")?;
    filter::set(FilterControl::new(filter, handle));
    access_log::set(AccessLog::start(format, output).context("the access log could not be started")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_for_people_on_a_terminal_unless_it_is_chosen() {
        for (name, on_terminal, elsewhere) in [
            ("", Format::Human, Format::Json),
            ("auto", Format::Human, Format::Json),
            ("human", Format::Human, Format::Human),
            (" json ", Format::Json, Format::Json),
        ] {
            assert_eq!(Format::parse(name, true), Ok(on_terminal), "{name}");
            assert_eq!(Format::parse(name, false), Ok(elsewhere), "{name}");
        }
        for wrong in ["JSON", "text", "pretty"] {
            assert!(Format::parse(wrong, true).is_err_and(|why| why.contains("human, json or auto")), "{wrong}");
        }
    }
}
