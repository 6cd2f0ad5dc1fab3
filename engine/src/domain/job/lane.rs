//! Lanes: kinds of work that have workers of their own, so that a flood of one does not hold up the others.

/// A lane of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Events of Stripe and GitHub, and what customers change in step with them.
    Events,
    /// What customers have asked for and wait for.
    Operations,
    /// Mails.
    Mails,
    /// Everything for which nobody waits: reconciliation, replays, retention.
    Background,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Events, Self::Operations, Self::Mails, Self::Background];

    /// The lane of a stream, by its key: the head job of a stream is not known before it is claimed.
    pub fn of(stream_key: &str) -> Self {
        match stream_key.split(':').next() {
            Some("stripe" | "github") => Self::Events,
            Some("charges" | "operations" | "operation.run" | "stripe.customer") => Self::Operations,
            Some("mail.send") => Self::Mails,
            _ => Self::Background,
        }
    }

    /// How many of `workers` jobs at once are this lane's alone.
    pub fn own(self, workers: usize) -> usize {
        match self {
            Self::Events => workers / 4,
            Self::Operations => workers / 8,
            Self::Mails | Self::Background => workers / 16,
        }
    }

    /// How many jobs of this lane may run at once: its own and a part of those that all lanes share. Events, which
    /// come in bursts, may take all of these.
    pub fn most(self, workers: usize) -> usize {
        let shared = shared(workers);
        let of_shared = match self {
            Self::Events => shared,
            Self::Operations => shared / 2,
            Self::Mails | Self::Background => shared / 4,
        };
        (self.own(workers) + of_shared).max(1)
    }
}

/// How many of `workers` jobs at once are no lane's own.
pub fn shared(workers: usize) -> usize {
    workers - Lane::ALL.iter().map(|lane| lane.own(workers)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::{JobKind, NewJob};

    #[test]
    fn a_job_without_a_stream_of_its_kind_is_in_the_lane_of_its_kind() {
        for (kind, lane) in [
            (JobKind::OperationRun, Lane::Operations),
            (JobKind::StripeCustomer, Lane::Operations),
            (JobKind::MailSend, Lane::Mails),
            (JobKind::ReplayRun, Lane::Background),
            (JobKind::Retention, Lane::Background),
        ] {
            assert_eq!(Lane::of(&NewJob::new(kind, String::new(), 0).stream()), lane, "{kind:?}");
        }
        assert_eq!(Lane::of("stripe:cus_1"), Lane::Events);
        assert_eq!(Lane::of("github:4"), Lane::Events);
        assert_eq!(Lane::of("stripe.customer:cus_1"), Lane::Operations);
        assert_eq!(Lane::of("job:job_1"), Lane::Background, "of the release before");
    }

    #[test]
    fn every_lane_can_work_however_few_workers_there_are() {
        for workers in 1..300 {
            let own: usize = Lane::ALL.iter().map(|lane| lane.own(workers)).sum();
            assert_eq!(own + shared(workers), workers);
            assert!(shared(workers) > 0);
            for lane in Lane::ALL {
                assert!((1..=workers).contains(&lane.most(workers)));
                assert!(lane.most(workers) >= lane.own(workers));
            }
        }
        assert_eq!(Lane::ALL.map(|lane| (lane.own(256), lane.most(256))), [(64, 192), (32, 96), (16, 48), (16, 48)]);
    }
}
