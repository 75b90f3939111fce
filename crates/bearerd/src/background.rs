use std::{
    collections::HashMap,
    future::{Future, pending},
};

use tokio::task::{Id, JoinSet};

/// What a daemon does beside its service, each for ever. All of it ends when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Background {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Background {
    /// Begins something.
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.tasks.spawn(task).id(), name);
    }

    /// Ends all of it. Returns when nothing of it runs any more.
    pub(crate) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    /// What has ended all the same, when something has.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(panicked)) => panicked.id(),
            None => pending().await,
        };
        self.names.remove(&id).unwrap_or("a task without a name")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn nothing_of_it_is_left_when_it_has_ended() {
        let kept = Arc::new(());
        let mut background = Background::default();
        let copy = Arc::clone(&kept);
        background.spawn("what lasts", async move {
            pending::<()>().await;
            drop(copy);
        });
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&kept), 2);
        background.end().await;
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[tokio::test]
    async fn what_ends_is_named_however_it_has_ended() {
        let mut background = Background::default();
        background.spawn("what lasts", pending());
        background.spawn("what ends", async {});
        assert_eq!(background.ended().await, "what ends");
        background.spawn("what panics", async { panic!("this is expected") });
        assert_eq!(background.ended().await, "what panics");
        tokio::select! {
            biased;
            name = background.ended() => panic!("{name} has ended"),
            () = tokio::task::yield_now() => {}
        }
    }
}
