//! The schedule of faults, computed from the seed before the run begins.

use crate::Backend;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;

/// Time from one fault to the next.
const PAUSE_MS: RangeInclusive<u64> = 2_000..=6_000;
/// How long a node stays down.
const DOWN_MS: RangeInclusive<u64> = 0..=2_000;
/// How long Postgres stays down.
const POSTGRES_DOWN_MS: RangeInclusive<u64> = 0..=1_500;
/// How long a killed broker stays down before it is started, which takes several seconds more.
const BROKER_DOWN_MS: RangeInclusive<u64> = 0..=1_000;
/// Minimum time between two faults of the broker, so that it can start and do some work.
const BROKER_PAUSE_MS: u64 = 15_000;
/// The same for Postgres.
const POSTGRES_PAUSE_MS: u64 = 6_000;

/// A fault of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node gets SIGKILL and is started again.
    Kill {
        /// The node's number, from 0.
        node: usize,
        /// How long it stays down.
        down_ms: u64,
    },
    /// A node gets SIGTERM, must stop in order, and is started again.
    Terminate {
        /// The node's number, from 0.
        node: usize,
        /// How long it stays down.
        down_ms: u64,
    },
    /// Postgres crashes and recovers.
    PostgresRestart {
        /// How long it stays down.
        down_ms: u64,
    },
    /// RabbitMQ stops in order and starts again.
    RabbitRestart,
    /// RabbitMQ gets SIGKILL and is started again.
    RabbitKill {
        /// How long it stays down before it is started.
        down_ms: u64,
    },
    /// RabbitMQ is replaced by an empty one.
    RabbitWipe,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { node, down_ms } => write!(f, "kill -9 of node {node}, down for {down_ms} ms"),
            Self::Terminate { node, down_ms } => write!(f, "SIGTERM to node {node}, down for {down_ms} ms"),
            Self::PostgresRestart { down_ms } => write!(f, "crash of Postgres, down for {down_ms} ms"),
            Self::RabbitRestart => f.write_str("restart of RabbitMQ"),
            Self::RabbitKill { down_ms } => write!(f, "kill -9 of RabbitMQ, down for {down_ms} ms"),
            Self::RabbitWipe => f.write_str("RabbitMQ loses all its data"),
        }
    }
}

/// A scheduled fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The time from the beginning of the load.
    pub at_ms: u64,
    /// The fault.
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Kill,
    Terminate,
    Postgres,
    RabbitRestart,
    RabbitKill,
    RabbitWipe,
}

impl Card {
    fn is_broker(self) -> bool {
        matches!(self, Self::RabbitRestart | Self::RabbitKill | Self::RabbitWipe)
    }
}

/// The faults dealt in one round, kills more often than others. The embedded backend only has its process to kill.
fn deck(backend: Backend) -> Vec<Card> {
    match backend {
        Backend::Embedded => vec![Card::Kill],
        Backend::Production => vec![
            Card::Kill,
            Card::Kill,
            Card::Kill,
            Card::Terminate,
            Card::Postgres,
            Card::RabbitWipe,
            Card::RabbitRestart,
            Card::RabbitKill,
        ],
    }
}

/// Returns all faults of a run in order. The same arguments give the same schedule.
pub fn schedule(seed: u64, seconds: u64, nodes: usize, backend: Backend) -> Vec<Planned> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut waiting: VecDeque<Card> = VecDeque::new();
    let (mut postgres_from_ms, mut broker_from_ms) = (0, 0);
    let mut planned = Vec::new();
    let mut at_ms = rng.random_range(PAUSE_MS) / 2;
    while at_ms < seconds * 1_000 {
        let is_possible = |card: &Card| match card {
            Card::Postgres => at_ms >= postgres_from_ms,
            card if card.is_broker() => at_ms >= broker_from_ms,
            _ => true,
        };
        if !waiting.iter().any(is_possible) {
            let mut cards = deck(backend);
            // The broker can take fewer faults than are dealt, so a waiting fault is not dealt again.
            cards.retain(|card| !waiting.contains(card));
            cards.shuffle(&mut rng);
            waiting.extend(cards);
        }
        // A fresh deck has a kill, and a kill is always possible.
        let Some(card) = waiting.iter().position(is_possible).and_then(|at| waiting.remove(at)) else { break };
        match card {
            Card::Postgres => postgres_from_ms = at_ms + POSTGRES_PAUSE_MS,
            card if card.is_broker() => broker_from_ms = at_ms + BROKER_PAUSE_MS,
            _ => {}
        }
        planned.push(Planned { at_ms, fault: fault(card, nodes, &mut rng) });
        at_ms += rng.random_range(PAUSE_MS);
    }
    planned
}

fn fault(card: Card, nodes: usize, rng: &mut StdRng) -> Fault {
    let node = rng.random_range(0..nodes.max(1));
    match card {
        Card::Kill => Fault::Kill { node, down_ms: rng.random_range(DOWN_MS) },
        Card::Terminate => Fault::Terminate { node, down_ms: rng.random_range(DOWN_MS) },
        Card::Postgres => Fault::PostgresRestart { down_ms: rng.random_range(POSTGRES_DOWN_MS) },
        Card::RabbitRestart => Fault::RabbitRestart,
        Card::RabbitKill => Fault::RabbitKill { down_ms: rng.random_range(BROKER_DOWN_MS) },
        Card::RabbitWipe => Fault::RabbitWipe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_determines_the_schedule() {
        let first = schedule(7, 120, 2, Backend::Production);
        assert_eq!(first, schedule(7, 120, 2, Backend::Production));
        assert_ne!(first, schedule(8, 120, 2, Backend::Production));
    }

    #[test]
    fn ninety_seconds_have_every_kind_of_fault() {
        for seed in 0..200 {
            let planned = schedule(seed, 90, 2, Backend::Production);
            let has = |wanted: fn(&Fault) -> bool| planned.iter().any(|planned| wanted(&planned.fault));
            assert!(has(|fault| matches!(fault, Fault::Kill { .. })), "seed {seed}");
            assert!(has(|fault| matches!(fault, Fault::Terminate { .. })), "seed {seed}");
            assert!(has(|fault| matches!(fault, Fault::PostgresRestart { .. })), "seed {seed}");
            assert!(has(|fault| matches!(fault, Fault::RabbitWipe)), "seed {seed}");
            assert!(has(|fault| matches!(fault, Fault::RabbitKill { .. })), "seed {seed}");
            assert!(has(|fault| matches!(fault, Fault::RabbitRestart)), "seed {seed}");
        }
    }

    #[test]
    fn the_embedded_backend_only_gets_kills() {
        let planned = schedule(1, 60, 1, Backend::Embedded);
        assert!(planned.len() >= 10);
        assert!(planned.iter().all(|planned| matches!(planned.fault, Fault::Kill { node: 0, .. })));
    }

    #[test]
    fn faults_of_the_broker_leave_it_time_to_recover() {
        for seed in 0..200 {
            let planned = schedule(seed, 300, 2, Backend::Production);
            let times: Vec<u64> = planned
                .iter()
                .filter(|planned| {
                    matches!(planned.fault, Fault::RabbitRestart | Fault::RabbitKill { .. } | Fault::RabbitWipe)
                })
                .map(|planned| planned.at_ms)
                .collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= BROKER_PAUSE_MS), "seed {seed}");
        }
    }
}
