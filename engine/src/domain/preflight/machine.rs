//! Preflight: the machine.

use super::Finding;
use crate::clock::TimeMs;

/// The data folder.
pub const FOLDER: &str = "data_folder";
/// The space on its disk.
pub const DISK: &str = "disk";
/// The limit of open files.
pub const FILES: &str = "open_files";

/// Less space than this is too little.
const DISK_FAIL_BYTES: u64 = 100 * 1_024 * 1_024;
/// Less space than this is warned of.
const DISK_WARN_BYTES: u64 = 1_024 * 1_024 * 1_024;
/// Less than this offset from Stripe's clock is not told apart from the time on the way: its clock is read in seconds.
const STRIPE_OFFSET_WARN_MS: i64 = 5_000;

/// Judges the space on the disk of the data folder.
pub fn judge_disk(free_bytes: u64) -> Finding {
    let message = format!("{} MiB are free on the disk of the data folder", free_bytes / (1_024 * 1_024));
    let remedy = "free some space: without any, nothing can be written";
    match free_bytes {
        bytes if bytes < DISK_FAIL_BYTES => Finding::fail(DISK, message, remedy),
        bytes if bytes < DISK_WARN_BYTES => Finding::warn(DISK, message, remedy),
        _ => Finding::ok(DISK, message),
    }
}

/// Judges the limit of open files, of which `reserved` are for other things than connections.
pub fn judge_files(limit: Option<usize>, connections_max: usize, reserved: usize) -> Finding {
    let Some(limit) = limit else { return Finding::skipped(FILES, "this system does not say its limit of open files") };
    let wanted = connections_max.saturating_add(reserved);
    let message = format!("{limit} files may be open");
    let remedy = format!("raise it to {wanted} or more (ulimit -n, LimitNOFILE=)");
    if limit <= reserved {
        Finding::fail(FILES, format!("{message}, and {reserved} are needed for other things than connections"), remedy)
    } else if limit < wanted {
        let left = limit - reserved;
        let message =
            format!("{message}: no more than {left} of http.connections_max = {connections_max} are accepted");
        Finding::warn(FILES, message, remedy)
    } else {
        Finding::ok(FILES, message)
    }
}

/// Judges how far the machine's clock is ahead of the database's.
pub fn judge_database_clock(name: &'static str, offset_ms: i64, offset_max_ms: i64) -> Finding {
    let message = format!("the machine's clock differs from the database's by {}", seconds(offset_ms));
    if offset_ms.abs() > offset_max_ms {
        let remedy =
            "synchronise the clocks of both machines (NTP): a node beyond database.clock_offset_max_ms is not ready";
        return Finding::fail(name, message, remedy);
    }
    Finding::ok(name, message)
}

/// Judges how far the machine's clock is ahead of Stripe's. Signatures older than `tolerance_s` are refused.
pub fn judge_stripe_clock(name: &'static str, now_ms: TimeMs, stripe_s: i64, tolerance_s: i64) -> Finding {
    // Stripe's time is cut to the second that it is in.
    let offset_ms = now_ms.saturating_sub(stripe_s.saturating_mul(1_000).saturating_add(500));
    let message = format!("the machine's clock differs from Stripe's by about {}", seconds(offset_ms));
    let remedy = "synchronise the machine's clock (NTP): signatures of webhooks count by it";
    if offset_ms.saturating_abs() >= tolerance_s.saturating_mul(1_000) {
        Finding::fail(name, format!("{message}: every webhook would be refused"), remedy)
    } else if offset_ms.saturating_abs() > STRIPE_OFFSET_WARN_MS {
        Finding::warn(name, message, remedy)
    } else {
        Finding::ok(name, message)
    }
}

fn seconds(offset_ms: i64) -> String {
    let ms = offset_ms.saturating_abs();
    format!("{}.{:03} s", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn little_space_is_warned_of_before_there_is_none() {
        let state = |mib: u64| judge_disk(mib * 1_024 * 1_024).state;
        assert_eq!([state(0), state(99), state(100), state(1_024)], [State::Fail, State::Fail, State::Warn, State::Ok]);
    }

    #[test]
    fn the_limit_of_open_files_must_leave_connections() {
        let state = |limit| judge_files(limit, 4_096, 256).state;
        assert_eq!(state(None), State::Skipped);
        assert_eq!([state(Some(256)), state(Some(1_024)), state(Some(4_352))], [State::Fail, State::Warn, State::Ok]);
        assert!(judge_files(Some(1_024), 4_096, 256).message.contains("no more than 768 of"));
    }

    #[test]
    fn a_clock_may_differ_from_the_databases_by_what_is_configured() {
        let state = |offset_ms| judge_database_clock("c", offset_ms, 1_000).state;
        assert_eq!(
            [state(-1_000), state(1_000), state(1_001), state(-1_001)],
            [State::Ok, State::Ok, State::Fail, State::Fail]
        );
        assert!(judge_database_clock("c", -65, 1_000).message.ends_with("by 0.065 s"));
    }

    #[test]
    fn a_clock_beyond_the_tolerance_of_signatures_fails() {
        let state = |ahead_ms: i64| judge_stripe_clock("c", 1_000_000 + ahead_ms, 1_000, 300).state;
        assert_eq!([state(0), state(4_000), state(-4_000)], [State::Ok; 3]);
        assert_eq!([state(60_000), state(-60_000)], [State::Warn; 2]);
        assert_eq!([state(301_000), state(-300_000)], [State::Fail; 2]);
    }
}
