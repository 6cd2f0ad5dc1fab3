//! Looks at a broker from outside, without using it: its version, and its exchanges and queues. Nothing is made but a
//! queue that ends with the connection.

use super::Topology;
use super::topology::Part as Declared;
use crate::config::AmqpConfig;
use crate::domain::preflight::broker::{Part, Standing};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use lapin::options::QueueDeclareOptions;
use lapin::tcp::AMQPUriTcpExt;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};
use std::io;

/// The header with which a client begins. Source: AMQP 0-9-1, section 4.2.2.
const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
/// Length of a frame's head: its type, its channel and its size.
const FRAME_HEAD_LEN: usize = 7;
/// The longest first frame that is read, in bytes. RabbitMQ's has about 500.
const START_LEN_MAX: usize = 64 * 1_024;
/// Bytes of the first frame before the table of the server's properties: class, method and two version numbers.
const START_HEAD_LEN: usize = 6;

/// Codes of a closed channel. Source: AMQP 0-9-1, section 1.2.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// What a broker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its exchanges and queues.
    pub parts: Vec<Part>,
    /// Whether the user may make queues.
    pub may_create: bool,
}

/// Why a broker cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// It does not let the user in, or has no such virtual host.
    #[error("the broker refuses the login: {0}")]
    Refused(String),
    /// It cannot be reached.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
}

impl From<lapin::Error> for SurveyError {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(refusal) => Self::Refused(refusal.get_message().to_string()),
            // RabbitMQ closes the connection of whoever gives a wrong password.
            ErrorKind::IOError(io) if io.kind() == io::ErrorKind::ConnectionAborted => Self::Refused(io.to_string()),
            ErrorKind::IOError(io) => Self::Unreachable(io.to_string()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

/// Logs in, and looks at each exchange and queue of the topology.
///
/// # Errors
/// [`SurveyError`] if the connection cannot be opened, or breaks.
pub async fn survey(url: &str, config: &AmqpConfig) -> Result<Survey, SurveyError> {
    let properties = ConnectionProperties::default().with_connection_name("bursar preflight".into());
    let connection = Connection::connect(url, properties).await?;
    let topology = Topology::new(config);
    let mut parts = Vec::new();
    for part in topology.parts() {
        let standing = standing(&connection, &part).await?;
        parts.push(Part { name: part.name, standing });
    }
    let may_create = may_create(&connection, &topology.trial_queue()).await?;
    // The answer is known; a failure to say goodbye changes nothing.
    let _ = connection.close(200, "looked around".into()).await;
    Ok(Survey { parts, may_create })
}

async fn standing(connection: &Connection, part: &Declared) -> Result<Standing, SurveyError> {
    // A refusal closes its channel, so each question has one of its own.
    let asked = part.declare_as(&connection.create_channel().await?, true).await;
    let answer = match asked {
        Ok(()) => part.declare_as(&connection.create_channel().await?, false).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(()) => Ok(Standing::Same),
        Err(error) => match code(&error) {
            Some(NOT_FOUND) => Ok(Standing::Missing),
            Some(PRECONDITION_FAILED) => Ok(Standing::Differs),
            Some(ACCESS_REFUSED) => Ok(Standing::Refused),
            Some(_) => Ok(Standing::Unknown(error.to_string())),
            None => Err(error.into()),
        },
    }
}

/// Makes a queue that ends with the connection.
async fn may_create(connection: &Connection, name: &str) -> Result<bool, SurveyError> {
    let channel = connection.create_channel().await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.into(), options, FieldTable::default()).await {
        Ok(_) => Ok(true),
        Err(error) if code(&error) == Some(ACCESS_REFUSED) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}

/// The version that the server says before anybody logs in; `None` if it says none. The client library keeps it to
/// itself, so its first frame is read here.
///
/// # Errors
/// The server cannot be reached, or speaks another protocol.
pub async fn server_version(url: &str) -> io::Result<Option<String>> {
    let uri: AMQPUri = url.parse().map_err(io::Error::other)?;
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let mut stream = uri.connect_async(&runtime).await?;
    stream.write_all(PROTOCOL_HEADER).await?;
    stream.flush().await?;
    let mut head = [0; FRAME_HEAD_LEN];
    stream.read_exact(&mut head).await?;
    let [_, _, _, a, b, c, d] = head;
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if head[0] != 1 || len > START_LEN_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no broker of AMQP 0-9-1"));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(version_in(&body))
}

/// The property `version` in the body of the server's first frame. Source: AMQP 0-9-1, section 4.2.5.5, and RabbitMQ,
/// "AMQP 0-9-1 Errata".
fn version_in(start: &[u8]) -> Option<String> {
    let mut left = start.get(START_HEAD_LEN..)?;
    let len = take_u32(&mut left)?;
    let mut left = left.get(..len)?;
    while !left.is_empty() {
        let name_len = usize::from(*left.first()?);
        let name = left.get(1..=name_len)?;
        let kind = *left.get(1 + name_len)?;
        left = left.get(2 + name_len..)?;
        let value_len = match kind {
            b't' | b'b' | b'B' => 1,
            b'I' | b'i' => 4,
            b'l' | b'L' | b'T' => 8,
            b'S' | b'F' | b'A' => take_u32(&mut left)?,
            _ => return None,
        };
        let value = left.get(..value_len)?;
        left = left.get(value_len..)?;
        if name == b"version" && kind == b'S' {
            return std::str::from_utf8(value).ok().map(str::to_owned);
        }
    }
    None
}

fn take_u32(left: &mut &[u8]) -> Option<usize> {
    let (bytes, rest) = left.split_first_chunk::<4>()?;
    *left = rest;
    usize::try_from(u32::from_be_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        let len = u32::try_from(text.len()).unwrap_or_default();
        [&len.to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn entry(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        let len = u8::try_from(name.len()).unwrap_or_default();
        [&[len][..], name.as_bytes(), &[kind], value].concat()
    }

    fn start(entries: &[Vec<u8>]) -> Vec<u8> {
        let table = entries.concat();
        let len = u32::try_from(table.len()).unwrap_or_default();
        [&[0, 10, 0, 10, 0, 9][..], &len.to_be_bytes(), &table, b"rest"].concat()
    }

    #[test]
    fn the_version_is_found_among_the_servers_properties() {
        let capabilities = [&4_u32.to_be_bytes()[..], &entry("a", b't', &[1])].concat();
        let frame = start(&[
            entry("capabilities", b'F', &capabilities),
            entry("product", b'S', &text("RabbitMQ")),
            entry("version", b'S', &text("3.13.7")),
        ]);
        assert_eq!(version_in(&frame).as_deref(), Some("3.13.7"));
        assert_eq!(version_in(&start(&[entry("product", b'S', &text("x"))])), None);
    }

    #[test]
    fn a_frame_that_is_cut_anywhere_says_no_version() {
        let frame = start(&[entry("capabilities", b't', &[1]), entry("version", b'S', &text("3.13.7"))]);
        for len in 0..frame.len() - "rest".len() {
            assert_eq!(version_in(&frame[..len]), None, "{len}");
        }
        assert_eq!(version_in(&start(&[entry("version", b'?', b"3")])), None);
    }
}
