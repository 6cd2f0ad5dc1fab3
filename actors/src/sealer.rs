//! The sealer: chains new rows of the audit log at intervals.

use crate::deadline::{COMMIT_MAX, within};
use crate::guaranteed_reply::GuaranteedReply;
use crate::root::{Child, Slot};
use bursar_engine::Result;
use bursar_engine::clock::Clock;
use bursar_engine::infra::store::Db;
use bursar_engine::usecase::audit;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;
use std::time::Duration;

/// The wait after all rows were sealed. Operators are told that a row waits at most 10 s while a worker runs.
const SEAL_EVERY: Duration = Duration::from_secs(2);
/// The wait after a full batch.
const SEAL_NEXT_AFTER: Duration = Duration::from_millis(10);

pub(crate) struct SealerDeps {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
}

pub(crate) fn child(deps: Arc<SealerDeps>) -> Child {
    Child::new("sealer", Slot::new(), move || (Sealer { deps: deps.clone() }, ()))
}

struct Sealer {
    deps: Arc<SealerDeps>,
}

enum SealerMsg {
    Seal,
    /// Whether more rows may wait.
    Sealed(bool),
}

impl Actor for Sealer {
    type Msg = SealerMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<SealerMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        myself.send_message(SealerMsg::Seal)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SealerMsg>,
        message: SealerMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SealerMsg::Seal => {
                let deps = self.deps.clone();
                let reply = GuaranteedReply::new(myself, SealerMsg::Sealed(false));
                tokio::spawn(async move { reply.send(SealerMsg::Sealed(seal(&deps).await)) });
            }
            SealerMsg::Sealed(more) => {
                myself.send_after(if more { SEAL_NEXT_AFTER } else { SEAL_EVERY }, || SealerMsg::Seal);
            }
        }
        Ok(())
    }
}

/// Seals a batch. Returns whether more rows may wait.
async fn seal(deps: &SealerDeps) -> bool {
    match within(COMMIT_MAX, audit::seal(&deps.db, deps.clock.now_ms())).await {
        Ok(more) => more,
        Err(error) => {
            tracing::warn!(error = %error.chain(), "the audit log could not be sealed; the sealer tries again");
            false
        }
    }
}
