//! What woke the task of a connection: the connection itself, or some of its requests.
//!
//! All of them are polled in one task. Whoever is woken while the task is being polled is polled
//! before this poll ends, so that it does not take another turn of the task.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// What was woken, and the task that is to be woken for it.
#[derive(Debug, Default)]
pub(super) struct Wakes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    task: Option<Waker>,
    /// Whether the task is being polled, or is already woken.
    is_awake: bool,
    woken: Woken,
}

/// Who was woken.
#[derive(Debug, Default)]
pub(super) struct Woken {
    pub(super) connection: bool,
    /// The places of requests. One may be there twice, and it may have ended.
    pub(super) requests: Vec<usize>,
}

/// Wakes a task, and notes for whom.
#[derive(Debug)]
struct Bell {
    wakes: Arc<Wakes>,
    /// The place of a request, or `None` for the connection.
    place: Option<usize>,
}

impl Wakes {
    /// Returns a waker for the connection.
    pub(super) fn of_connection(self: &Arc<Self>) -> Waker {
        Arc::new(Bell { wakes: Arc::clone(self), place: None }).into()
    }

    /// Returns a waker for the request at `place`.
    pub(super) fn of_request(self: &Arc<Self>, place: usize) -> Waker {
        Arc::new(Bell { wakes: Arc::clone(self), place: Some(place) }).into()
    }

    /// Begins a poll of `task`. Until [`end`](Self::end), wakes are only noted.
    pub(super) fn begin(&self, task: &Waker) {
        let mut state = self.lock();
        state.is_awake = true;
        if !state.task.as_ref().is_some_and(|before| before.will_wake(task)) {
            state.task = Some(task.clone());
        }
    }

    /// Takes what was woken. `woken` must be empty, and its room is used again.
    pub(super) fn take(&self, woken: &mut Woken) {
        mem::swap(woken, &mut self.lock().woken);
    }

    /// Ends a poll of the task, which goes on at once if somebody was woken and not polled. Those
    /// in `taken` were taken, but not polled.
    pub(super) fn end(&self, taken: &mut Woken) {
        let mut state = self.lock();
        state.woken.connection |= mem::take(&mut taken.connection);
        state.woken.requests.append(&mut taken.requests);
        state.is_awake = !state.woken.is_empty();
        if state.is_awake
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }

    /// Wakes the request at `place`, or the connection.
    pub(super) fn wake(&self, place: Option<usize>) {
        let mut state = self.lock();
        match place {
            Some(place) => state.woken.requests.push(place),
            None => state.woken.connection = true,
        }
        if !mem::replace(&mut state.is_awake, true)
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Woken {
    pub(super) fn is_empty(&self) -> bool {
        !self.connection && self.requests.is_empty()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakes.wake(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    // Scenario: the connection and a request are woken while their task waits, while it is polled,
    // and at the end of a poll that does not come to them.
    // Guarantee: nobody is forgotten. The task is woken once when it waits, once if somebody is
    // left at the end of a poll, and not while it is polled.
    #[test]
    fn nobody_who_was_woken_is_forgotten() {
        let (wakes, task) = (Arc::<Wakes>::default(), Arc::<Task>::default());
        let waker = Waker::from(Arc::clone(&task));
        let (connection, request) = (wakes.of_connection(), wakes.of_request(7));
        let woken = || task.0.swap(0, Ordering::Relaxed);
        let mut taken = Woken::default();
        wakes.begin(&waker);
        connection.wake_by_ref();
        wakes.take(&mut taken);
        assert!(mem::take(&mut taken.connection) && taken.requests.is_empty());
        wakes.end(&mut taken);
        assert_eq!(woken(), 0);
        request.wake_by_ref();
        connection.wake_by_ref();
        assert_eq!(woken(), 1);
        wakes.begin(&waker);
        wakes.take(&mut taken);
        assert_eq!((taken.connection, &taken.requests[..]), (true, &[7][..]));
        // The poll ends without polling them.
        wakes.end(&mut taken);
        assert_eq!(woken(), 1);
        wakes.begin(&waker);
        wakes.take(&mut taken);
        assert_eq!((taken.connection, &taken.requests[..]), (true, &[7][..]));
    }
}
