//! Messages that a task owes to the actor that started it.

use ractor::{ActorRef, Message};

/// A message that reaches its actor even if the task that owes it panics or is given up: then it is the
/// one named in the beginning. So no actor waits for ever for what it started.
pub(crate) struct Owed<M: Message> {
    actor: ActorRef<M>,
    otherwise: Option<M>,
}

impl<M: Message> Owed<M> {
    pub(crate) fn new(actor: ActorRef<M>, otherwise: M) -> Self {
        Self { actor, otherwise: Some(otherwise) }
    }

    pub(crate) fn send(mut self, message: M) {
        self.otherwise = Some(message);
    }
}

impl<M: Message> Drop for Owed<M> {
    fn drop(&mut self) {
        if let Some(message) = self.otherwise.take() {
            // An actor that has ended meanwhile waits for nothing.
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
    async fn what_is_owed_arrives_once_even_from_a_task_that_panics() {
        let (heard, mut hears) = mpsc::unbounded_channel();
        let (listener, _) = ActorRuntime::spawn(None, Listener, heard).await.unwrap();
        let owed = || Owed::new(listener.clone(), "nobody knows".to_owned());
        let good = owed();
        good.send("done".to_owned());
        assert_eq!(hears.recv().await.as_deref(), Some("done"));
        let bad = owed();
        let panics = tokio::spawn(async move {
            let _bad = bad;
            panic!("a test asked for this");
        });
        assert!(panics.await.is_err());
        assert_eq!(hears.recv().await.as_deref(), Some("nobody knows"));
        assert!(hears.try_recv().is_err());
    }
}
