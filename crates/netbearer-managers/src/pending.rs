use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// More objects than this are asked for all at once.
const MAX_OBJECTS: usize = 256;

/// What a manager is to be asked, as its signals say. Signals are taken in at once, whether there is time to ask or not.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    questions: Mutex<Questions>,
    added: Notify,
}

/// Questions for a manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    /// All it has to say.
    pub(crate) everything: bool,
    /// What it has to say of these objects.
    pub(crate) objects: BTreeSet<String>,
}

impl Pending {
    pub(crate) fn add_everything(&self) {
        self.questions().everything = true;
        self.added.notify_one();
    }

    pub(crate) fn add(&self, object: &str) {
        let mut questions = self.questions();
        questions.objects.insert(object.to_owned());
        questions.everything |= questions.objects.len() > MAX_OBJECTS;
        drop(questions);
        self.added.notify_one();
    }

    /// Waits for questions, and takes them.
    pub(crate) async fn next(&self) -> Questions {
        loop {
            let questions = std::mem::take(&mut *self.questions());
            if questions.everything {
                return Questions { everything: true, objects: BTreeSet::new() };
            }
            if !questions.objects.is_empty() {
                return questions;
            }
            self.added.notified().await;
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if questions.everything {
            questions.objects.clear();
        }
        questions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn questions_are_asked_once_and_a_flood_of_them_all_at_once() {
        let pending = Pending::default();
        pending.add("/a");
        pending.add("/b");
        pending.add("/a");
        assert_eq!(pending.next().await.objects, BTreeSet::from(["/a".to_owned(), "/b".to_owned()]));
        for number in 0..10_000 {
            pending.add(&number.to_string());
        }
        assert!(pending.questions().objects.len() <= MAX_OBJECTS + 1, "memory is bounded");
        assert_eq!(pending.next().await, Questions { everything: true, objects: BTreeSet::new() });
    }
}
