//! The queue of the access log, and the thread that empties it.

use super::Record;
use super::line::Line;
use crate::logging::{Format, Output};
use bursar_engine::metric;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Maximum number of lines that wait to be written.
const QUEUE_MAX: usize = 4_096;
/// How long the thread waits for more lines before it writes: waking it costs a request more than the line itself.
const GATHER: Duration = Duration::from_millis(20);
/// How long a flush may take.
pub const FLUSH_MAX: Duration = Duration::from_secs(1);

enum Message {
    Line(Record),
    /// Answered once all lines before it are written.
    Flush(SyncSender<()>),
}

/// The queue. Its thread ends with it.
pub struct AccessLog {
    queue: SyncSender<Message>,
}

impl AccessLog {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(format: Format, output: Output) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_MAX);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(&messages, format, output))?;
        Ok(Self { queue })
    }

    /// Hands over a record. If the queue is full, it is dropped and counted.
    pub fn push(&self, record: Record) {
        if self.queue.try_send(Message::Line(record)).is_err() {
            metrics::counter!(metric::ACCESS_LOG_LOST).increment(1);
        }
    }

    /// Waits until the lines so far are written, at most [`FLUSH_MAX`]. With a full queue there is no use in waiting.
    pub fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_MAX);
        }
    }
}

/// Writes lines until the queue is gone. Those that wait together are written at once.
fn write_all(messages: &Receiver<Message>, format: Format, output: Output) {
    let mut text = String::new();
    while let Ok(first) = messages.recv() {
        let mut flushes = Vec::new();
        let mut take = |message: Message| match message {
            Message::Line(record) => Line::new(&record).write(format, &mut text),
            Message::Flush(done) => flushes.push(done),
        };
        let is_line = matches!(first, Message::Line(_));
        take(first);
        if is_line {
            thread::sleep(GATHER);
        }
        // No more than the queue holds, so that a line never waits behind all later ones.
        messages.try_iter().take(QUEUE_MAX).for_each(take);
        output.write(text.as_bytes());
        text.clear();
        for done in flushes {
            // Whoever waited may have given up.
            let _ = done.try_send(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::access_log::example;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use std::sync::{Mutex, mpsc};

    /// What the first test's log wrote.
    static WRITTEN: Mutex<String> = Mutex::new(String::new());
    /// Holds the second test's log in its first write.
    static HELD: Mutex<()> = Mutex::new(());

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let keep = |bytes: &[u8]| WRITTEN.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        let log = AccessLog::start(Format::Json, Output(keep)).unwrap();
        for bytes in 0..100 {
            log.push(Record { bytes, ..example() });
        }
        log.flush();
        let text = WRITTEN.lock().unwrap().clone();
        let seen: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["bytes"].as_u64().unwrap())
            .collect();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_request_never_waits_for_a_stuck_output_and_lost_lines_are_counted() {
        let held = HELD.lock().unwrap();
        let wait = |_: &[u8]| drop(HELD.lock());
        let log = AccessLog::start(Format::Human, Output(wait)).unwrap();
        let (recorder, (done, is_done)) = (PrometheusBuilder::new().build_recorder(), mpsc::channel());
        let handle = recorder.handle();
        thread::spawn(move || {
            metrics::with_local_recorder(&recorder, || {
                // The thread may have taken as many as the queue holds, and the queue holds as many again.
                (0..2 * QUEUE_MAX + 100).for_each(|_| log.push(example()));
            });
            done.send(()).unwrap();
        });
        is_done.recv().unwrap();
        drop(held);
        let page = handle.render();
        let lost = page.lines().find_map(|line| line.strip_prefix("bursar_access_log_lost_lines_total "));
        assert!(lost.is_some_and(|lost| lost.parse::<u64>().unwrap() >= 99), "{page}");
    }
}
