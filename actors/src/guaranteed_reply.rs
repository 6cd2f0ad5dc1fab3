//! Replies from tasks to the actors that started them, sent even if the task fails.

use ractor::{ActorRef, Message};

/// A reply that always reaches its actor. If the task panics or is dropped, the actor gets the fallback, so it never
/// waits forever.
pub(crate) struct GuaranteedReply<M: Message> {
    actor: ActorRef<M>,
    /// The message that is sent on drop.
    on_drop: Option<M>,
}

impl<M: Message> GuaranteedReply<M> {
    pub(crate) fn new(actor: ActorRef<M>, fallback: M) -> Self {
        Self { actor, on_drop: Some(fallback) }
    }

    /// Sends `message` instead of the fallback.
    pub(crate) fn send(mut self, message: M) {
        self.on_drop = Some(message);
    }
}

impl<M: Message> Drop for GuaranteedReply<M> {
    fn drop(&mut self) {
        if let Some(message) = self.on_drop.take() {
            // The actor may have ended.
            let _ = self.actor.send_message(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ractor::{Actor, ActorProcessingErr, ActorRuntime};
    use tokio::sync::mpsc;

    struct Listener;

    impl Actor for Listener {
        type Msg = String;
        type State = mpsc::UnboundedSender<String>;
        type Arguments = mpsc::UnboundedSender<String>;

        async fn pre_start(
            &self,
            _: ActorRef<String>,
            heard: mpsc::UnboundedSender<String>,
        ) -> Result<mpsc::UnboundedSender<String>, ActorProcessingErr> {
            Ok(heard)
        }

        async fn handle(
            &self,
            _: ActorRef<String>,
            message: String,
            heard: &mut mpsc::UnboundedSender<String>,
        ) -> Result<(), ActorProcessingErr> {
            heard.send(message)?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_reply_arrives_once_even_from_a_task_that_panics() {
        let (heard, mut hears) = mpsc::unbounded_channel();
        let (listener, _) = ActorRuntime::spawn(None, Listener, heard).await.unwrap();
        let reply = || GuaranteedReply::new(listener.clone(), "fallback".to_owned());
        let good = reply();
        good.send("done".to_owned());
        assert_eq!(hears.recv().await.as_deref(), Some("done"));
        let bad = reply();
        let panics = tokio::spawn(async move {
            let _bad = bad;
            panic!("a test asked for this");
        });
        assert!(panics.await.is_err());
        assert_eq!(hears.recv().await.as_deref(), Some("fallback"));
        assert!(hears.try_recv().is_err());
    }
}
