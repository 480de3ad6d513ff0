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
