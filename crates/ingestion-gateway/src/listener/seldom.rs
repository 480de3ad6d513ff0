//! Polls a future only when the future itself was woken.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pin_project_lite::pin_project;

pin_project! {
    /// A future that is ready seldom, in a task that is woken often. It is polled only when it was
    /// woken itself. Otherwise, a poll of it costs two comparisons.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct Seldom<F> {
        #[pin]
        future: F,
        bell: Arc<Bell>,
        // The waker of `bell`.
        waker: Waker,
        // The waker of the task that `bell` wakes.
        task: Option<Waker>,
    }
}

/// Notes that it was rung, and wakes a task.
#[derive(Debug)]
struct Bell {
    is_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F> Seldom<F> {
    /// Polls `future` once at first, and then whenever it was woken.
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { is_rung: AtomicBool::new(true), task: Mutex::new(None) });
        let waker = Arc::clone(&bell).into();
        Self { future, bell, waker, task: None }
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *this.task = Some(cx.waker().clone());
            this.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(this.task);
        }
        // A bell that rings from now on wakes this task.
        if !this.bell.is_rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        // Not a mere store, which could undo a ring whose cause the future does not see yet.
        this.bell.is_rung.swap(false, Ordering::AcqRel);
        this.future.poll(&mut Context::from_waker(this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_rung.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;

    use super::*;

    // Scenario: a task polls a future many times. The future is woken once from outside, and then
    // it is ready.
    // Guarantee: the future is polled at first, and once after it was woken. Waking it wakes the
    // task.
    #[test]
    fn only_a_woken_future_is_polled() {
        let (polls, its_waker) = (Cell::new(0), Cell::new(None));
        let mut future = Box::pin(Seldom::new(poll_fn(|cx| {
            polls.set(polls.get() + 1);
            its_waker.set(Some(cx.waker().clone()));
            if polls.get() == 2 { Poll::Ready(()) } else { Poll::Pending }
        })));
        let task = Arc::new(Bell { is_rung: AtomicBool::new(false), task: Mutex::new(None) });
        let waker = Waker::from(Arc::clone(&task));
        let cx = &mut Context::from_waker(&waker);
        for _ in 0..5 {
            assert!(future.as_mut().poll(cx).is_pending());
        }
        assert_eq!(polls.get(), 1);
        its_waker.take().unwrap().wake();
        assert!(task.is_rung.load(Ordering::Acquire));
        assert!(future.as_mut().poll(cx).is_ready());
        assert_eq!(polls.get(), 2);
    }
}
