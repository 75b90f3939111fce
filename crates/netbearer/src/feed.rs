use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use futures_core::Stream;

/// Events kept for a reader before the oldest are dropped for a mark and the current state.
const CAPACITY: usize = 256;

/// One reader's queue. The writer never waits for the reader: what is not read in time is replaced by what holds now.
#[derive(Debug)]
struct Queue<T> {
    events: VecDeque<T>,
    waker: Option<Waker>,
    ended: bool,
}

/// Events, in order, each exactly once; ends when what it is about has ended.
#[derive(Debug)]
pub struct Events<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

/// The writing side of any number of readers.
#[derive(Debug)]
pub(crate) struct Feed<T> {
    readers: Vec<Weak<Mutex<Queue<T>>>>,
    ended: bool,
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self { readers: Vec::new(), ended: false }
    }
}

impl<T> Feed<T> {
    /// One that nothing will ever come from.
    pub(crate) const fn ended() -> Self {
        Self { readers: Vec::new(), ended: true }
    }
}

impl<T: Clone> Feed<T> {
    /// A new reader, who gets everything from now on.
    pub(crate) fn subscribe(&mut self) -> Events<T> {
        let queue = Arc::new(Mutex::new(Queue { events: VecDeque::new(), waker: None, ended: self.ended }));
        self.readers.push(Arc::downgrade(&queue));
        Events { queue }
    }

    /// Queues an event for every reader, in the order they came. `current` is what a reader who has fallen behind gets
    /// instead of all it has not read: a mark, and what holds right after this event.
    pub(crate) fn push(&mut self, event: &T, current: impl Fn() -> Vec<T>) -> Wakers {
        self.queue(std::slice::from_ref(event), current)
    }

    /// Queues what holds now for every reader. One who has fallen behind gets nothing else.
    pub(crate) fn push_all(&mut self, current: &[T]) -> Wakers {
        self.queue(current, || current.to_owned())
    }

    fn queue(&mut self, events: &[T], current: impl Fn() -> Vec<T>) -> Wakers {
        let mut wakers = Wakers::default();
        self.readers.retain(|reader| {
            let Some(queue) = reader.upgrade() else { return false };
            let mut queue = lock(&queue);
            if queue.events.len() + events.len() > CAPACITY {
                queue.events = current().into();
            } else {
                queue.events.extend(events.iter().cloned());
            }
            wakers.0.extend(queue.waker.take());
            true
        });
        wakers
    }
}

/// Readers to be woken once no lock is held: what runs then is theirs, and may call anything.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn wake(self) {
        self.0.into_iter().for_each(Waker::wake);
    }
}

impl<T> Feed<T> {
    /// Nothing more will come.
    pub(crate) fn end(&mut self) -> Wakers {
        self.ended = true;
        let mut wakers = Wakers::default();
        for queue in self.readers.drain(..).filter_map(|reader| reader.upgrade()) {
            let mut queue = lock(&queue);
            queue.ended = true;
            wakers.0.extend(queue.waker.take());
        }
        wakers
    }
}

impl<T> Drop for Feed<T> {
    fn drop(&mut self) {
        self.end().wake();
    }
}

impl<T> Events<T> {
    /// The next event; none once there will be no more.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<T> {
        lock(&self.queue).events.pop_front()
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = lock(&self.queue);
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Stream for Events<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(context)
    }
}

/// Nothing that is done under these locks can panic half-way, so a poisoned lock is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn every_reader_gets_every_event_in_order() {
        let mut feed = Feed::default();
        let (mut one, mut other) = (feed.subscribe(), feed.subscribe());
        for event in 0..10 {
            feed.push(&event, Vec::new).wake();
        }
        for events in [&mut one, &mut other] {
            assert!((0..10).map(Some).eq((0..10).map(|_| events.try_next())));
            assert_eq!(events.try_next(), None);
        }
    }

    #[test]
    fn a_reader_who_falls_behind_gets_what_holds_now() {
        let mut feed = Feed::default();
        let mut events = feed.subscribe();
        for event in 0..=CAPACITY {
            feed.push(&event, || vec![1_000_000]).wake();
        }
        assert_eq!(events.try_next(), Some(1_000_000));
        assert_eq!(events.try_next(), None);
        feed.push(&7, Vec::new).wake();
        assert_eq!(events.try_next(), Some(7));
    }

    #[test]
    fn what_holds_now_is_queued_once_however_full_the_queue_is() {
        for filled in [0, CAPACITY - 3, CAPACITY - 2, CAPACITY - 1, CAPACITY] {
            let mut feed = Feed::default();
            let mut events = feed.subscribe();
            for _ in 0..filled {
                feed.push(&0, Vec::new).wake();
            }
            feed.push_all(&[1, 2, 3]).wake();
            let queued: Vec<i32> = std::iter::from_fn(|| events.try_next()).filter(|event| *event > 0).collect();
            assert_eq!(queued, [1, 2, 3], "{filled}");
        }
    }

    #[test]
    fn the_end_is_heard_after_the_last_event_also_by_those_who_come_later() {
        let mut feed = Feed::default();
        let mut early = feed.subscribe();
        feed.push(&1, Vec::new).wake();
        feed.end().wake();
        let mut late = feed.subscribe();
        // None if it would wait.
        let next = |events: &mut Events<i32>| events.next().now_or_never();
        assert_eq!([next(&mut early), next(&mut early), next(&mut late)], [Some(Some(1)), Some(None), Some(None)]);
    }
}
