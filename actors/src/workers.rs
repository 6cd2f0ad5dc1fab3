//! The workers of a process: permits to run a job, some of them for one lane of jobs only.

use bursar_engine::domain::job::{Lane, shared_workers};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// Permits to run jobs.
#[derive(Debug)]
pub(crate) struct Workers {
    /// For jobs of any lane.
    shared: Semaphore,
    /// For jobs of one lane, in the order of [`Lane::ALL`].
    lanes: [LaneWorkers; Lane::ALL.len()],
}

#[derive(Debug)]
struct LaneWorkers {
    own: Semaphore,
    /// Bounds the lane's jobs, whichever permits they have.
    most: Semaphore,
    most_permits: usize,
}

/// A permit to run one job.
#[derive(Debug)]
pub(crate) struct WorkerPermit<'a> {
    _worker: SemaphorePermit<'a>,
    _of_lane: SemaphorePermit<'a>,
}

impl Workers {
    /// Permits for `workers` jobs at once.
    pub(crate) fn new(workers: usize) -> Self {
        let lanes = Lane::ALL.map(|lane| LaneWorkers {
            own: Semaphore::new(lane.own(workers)),
            most: Semaphore::new(lane.most(workers)),
            most_permits: lane.most(workers),
        });
        Self { shared: Semaphore::new(shared_workers(workers)), lanes }
    }

    /// Waits until a job of this lane may run.
    ///
    /// # Errors
    /// The process stops.
    pub(crate) async fn acquire(&self, lane: Lane) -> Result<WorkerPermit<'_>, AcquireError> {
        let lane = &self.lanes[lane as usize];
        let of_lane = lane.most.acquire().await?;
        let worker = tokio::select! {
            biased;
            permit = lane.own.acquire() => permit?,
            permit = self.shared.acquire() => permit?,
        };
        Ok(WorkerPermit { _worker: worker, _of_lane: of_lane })
    }

    /// Waits until no job runs. None begins while the answer is kept.
    pub(crate) async fn drain(&self) -> Vec<SemaphorePermit<'_>> {
        let mut all = Vec::new();
        for lane in &self.lanes {
            let permits = u32::try_from(lane.most_permits).unwrap_or(u32::MAX);
            all.extend(lane.most.acquire_many(permits).await);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    /// Takes permits of a lane until none is left.
    fn take_all(workers: &Workers, lane: Lane) -> Vec<WorkerPermit<'_>> {
        std::iter::from_fn(|| workers.acquire(lane).now_or_never()).map(|permit| permit.expect("it is open")).collect()
    }

    #[test]
    fn a_flood_of_one_lane_leaves_the_others_their_share() {
        for flood in Lane::ALL {
            let workers = Workers::new(256);
            let taken = take_all(&workers, flood);
            assert_eq!(taken.len(), flood.most(256));
            for lane in Lane::ALL.into_iter().filter(|lane| *lane != flood) {
                assert!(take_all(&workers, lane).len() >= lane.own(256), "{lane:?} beside {flood:?}");
            }
        }
    }

    #[test]
    fn all_lanes_together_have_as_many_workers_as_are_set() {
        for set in [1, 2, 5, 16, 256] {
            let workers = Workers::new(set);
            let taken: Vec<_> = Lane::ALL.into_iter().flat_map(|lane| take_all(&workers, lane)).collect();
            assert_eq!(taken.len(), set, "of {set}");
        }
    }

    #[test]
    fn draining_waits_for_running_jobs_and_lets_none_begin() {
        let workers = Workers::new(16);
        let running = workers.acquire(Lane::Mails).now_or_never().expect("a worker is free");
        assert!(workers.drain().now_or_never().is_none(), "a job runs");
        drop(running);
        let _drained = workers.drain().now_or_never().expect("no job runs");
        assert!(take_all(&workers, Lane::Events).is_empty());
    }
}
