//! The open connections of one listener: how many there may be, and which of them gives way to a
//! new one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::activity::{Activity, Rank};

/// How long a connection that was asked may take to give way, before another one is asked.
const PATIENCE: Duration = Duration::from_millis(100);

/// The connections that are ranked at once are this fraction of all. With many connections, ranking
/// all of them for each new one would take longer than serving it.
const RANKED_AT_ONCE: usize = 64;

/// The open connections of one listener.
#[derive(Debug)]
pub(crate) struct Connections {
    places: Arc<Semaphore>,
    /// How long a peer may send too little of its bodies, before its connection may give way.
    slow: Duration,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The connections by age. The oldest one has the smallest number.
    connections: BTreeMap<u64, Arc<Activity>>,
    next: u64,
    /// Connections that may give way, the first one last. Each has the rank that it had when all
    /// connections were ranked.
    candidates: Vec<(Rank, u64)>,
}

/// A place of one connection among the open ones. Dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    number: u64,
    activity: Arc<Activity>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Allows at most `max` open connections. A peer that sends too little of its bodies for `slow`
    /// does not keep its place.
    pub(crate) fn new(max: usize, slow: Duration) -> Arc<Self> {
        Arc::new(Self { places: Arc::new(Semaphore::new(max)), slow, open: Mutex::default() })
    }

    /// Waits for a place for a new connection. If all places are taken, asks the connection that
    /// has said least for longest to give way.
    pub(crate) async fn place(self: &Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                break permit;
            }
            self.ask_one_to_give_way();
            let permit = Arc::clone(&self.places).acquire_owned();
            // The semaphore is never closed, so acquiring does not fail.
            if let Ok(Ok(permit)) = timeout(PATIENCE, permit).await {
                break permit;
            }
        };
        let activity = Arc::<Activity>::default();
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Arc::clone(&activity));
        drop(open);
        Place { connections: Arc::clone(self), number, activity, _permit: permit }
    }

    /// Asks the connection that has said least for longest to give way. Connections with a request
    /// in flight are asked last, and only if their peers do not send the bodies.
    pub(crate) fn ask_one_to_give_way(&self) {
        let mut open = self.open();
        if open.candidates.is_empty() {
            open.rank_all(self.slow);
        }
        while let Some((rank, number)) = open.candidates.pop() {
            match open.connections.get(&number) {
                // A connection that has said something since then keeps its place.
                Some(activity) if activity.rank(self.slow) == Some(rank) => {
                    return activity.ask_to_give_way();
                }
                _ => {}
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn rank_all(&mut self, slow: Duration) {
        let ranked = self.connections.iter();
        let ranked = ranked.filter_map(|(&number, activity)| Some((activity.rank(slow)?, number)));
        self.candidates.extend(ranked);
        self.candidates.sort_unstable();
        self.candidates.truncate((self.connections.len() / RANKED_AT_ONCE).max(1));
        self.candidates.reverse();
    }
}

impl Place {
    /// Returns what happens on the connection that has this place.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_secs(10);

    // Scenario: a listener allows three connections. The first one has answered two requests, the
    // second one has a request in flight, and the third one has answered one request. Then three
    // more connections arrive, one after the other, and each of them stays silent.
    // Guarantee: the third connection gives way to the fourth, the fourth to the fifth, and the
    // fifth to the sixth.
    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_said_least_gives_way() {
        let connections = Connections::new(3, SLOW);
        let busy = connections.place().await;
        (0..2).for_each(|_| drop(busy.activity().begin()));
        let in_flight = connections.place().await;
        let _request = in_flight.activity().begin();
        let mut last = connections.place().await;
        drop(last.activity().begin());
        for _ in 0..3 {
            let activity = Arc::clone(last.activity());
            let leave = async move {
                activity.gives_way(SLOW).await;
                drop(last);
            };
            (last, ()) = tokio::join!(connections.place(), leave);
        }
        assert!(busy.activity().rank(SLOW).is_some(), "the busy connection was asked to give way");
    }

    // Scenario: a listener allows one connection, which has a request in flight. A new connection
    // arrives.
    // Guarantee: the new connection waits until the request has ended, and then gets the place.
    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_does_not_give_way() {
        let connections = Connections::new(1, SLOW);
        let first = connections.place().await;
        let request = first.activity().begin();
        let mut second = std::pin::pin!(connections.place());
        assert!(timeout(Duration::from_secs(600), second.as_mut()).await.is_err());
        assert!(timeout(Duration::from_secs(600), first.activity().gives_way(SLOW)).await.is_err());
        drop(request);
        assert!(timeout(Duration::from_secs(600), second.as_mut()).await.is_err());
        first.activity().gives_way(SLOW).await;
        drop(first);
        second.await;
    }

    // Scenario: a listener allows two connections. The peers of both do not send the bodies of
    // their requests. A new connection arrives.
    // Guarantee: after a while, the older of the two gives way.
    #[tokio::test(start_paused = true)]
    async fn a_request_whose_body_does_not_come_gives_way() {
        let connections = Connections::new(2, SLOW);
        let (first, second) = (connections.place().await, connections.place().await);
        let requests = [first.activity().begin(), second.activity().begin()];
        let _bodies = [first.activity().wait(), second.activity().wait()];
        let leave = async {
            first.activity().gives_way(SLOW).await;
            drop(first);
        };
        let (_third, ()) = tokio::join!(connections.place(), leave);
        assert!(second.activity().rank(SLOW).is_some(), "both were asked to give way");
        drop(requests);
    }
}
