//! Runs the gateway: starts it, runs its background tasks, and stops its parts in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ingestion_keys::store::StoreError;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admission::log_throttle;
use crate::app::App;
use crate::config::Config;
use crate::error::RunError;
use crate::listener::workers::Workers;

/// The time between two removals of old tombstones, which are the records of deleted keys.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The time to the next attempt after a removal that failed.
const PRUNE_RETRY: Duration = Duration::from_secs(5 * 60);

/// How long the last write of usage counters may take.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// How long the last line of the debug exporter may take. Standard output may be a pipe that nobody
/// reads.
const LAST_LINE: Duration = Duration::from_secs(1);

/// Runs the gateway until `stop` resolves. Then the gateway accepts no more connections, waits for
/// requests in flight for at most `config.shutdown_grace`, and writes the usage counters.
///
/// The listeners for senders are served on the threads `senders`. Everything else runs on the
/// current runtime: management, authorize and telemetry, the cache of keys and the usage counters.
/// Requests of senders therefore never delay a change of a key, or the answer to a health check,
/// however much there is to decode.
///
/// # Errors
///
/// When the gateway cannot start, when its database turns out to be unusable or another file takes
/// the place of the database, or when one of its background tasks panics.
pub async fn run(
    config: Config,
    ready_file: Option<&Path>,
    senders: &Workers,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut stop = std::pin::pin!(stop);
    let mut app = tokio::select! {
        () = &mut stop => return Ok(()),
        app = App::start(&config, ready_file, senders) => app?,
    };
    app.addresses.announce(ready_file)?;
    let (unusable, is_unusable) = oneshot::channel();
    let mut background = background_tasks(&mut app, &config, unusable);
    let of_store =
        |source| RunError::Store { database: config.storage.database.to_string(), source };
    let failed = tokio::select! {
        () = stop => None,
        ended = background.join_next() => ended.and_then(Result::err).map(RunError::from),
        Ok(source) = is_unusable => Some(of_store(source)),
        source = app.store.replaced() => Some(of_store(source)),
    };
    shut_down(app, background, config.shutdown_grace).await;
    failed.map_or(Ok(()), Err)
}

/// Stops the listeners first, then writes the usage counters, and then stops the background tasks.
async fn shut_down(app: App, mut background: JoinSet<()>, grace: Duration) {
    tracing::info!(?grace, "stopping");
    if !app.server.shut_down(grace).await {
        tracing::warn!(?grace, "requests were still in flight after the grace: they were dropped");
    }
    app.debug.stop();
    app.log_throttles.iter().for_each(|throttle| throttle.begin_interval());
    // If another flush is running, this flush waits until the other flush has ended.
    if tokio::time::timeout(LAST_FLUSH, flush(app.cache.flush_last_usage(&*app.keys)))
        .await
        .is_err()
    {
        tracing::error!("the last usage counters were not written in time");
    }
    // The task of the debug exporter is the only one that ends without being aborted.
    if tokio::time::timeout(LAST_LINE, background.join_next()).await.is_err() {
        tracing::warn!("the last line of the debug exporter was not written in time");
    }
    background.shutdown().await;
    tracing::info!("stopped");
}

/// Starts the tasks that run beside the listeners. No task ends before the listeners are stopped.
///
/// If the first read of the keys is not over, it goes on. If it fails because the database cannot
/// be used at all, `unusable` gets the error, which would have ended the start.
fn background_tasks(
    app: &mut App,
    config: &Config,
    unusable: oneshot::Sender<StoreError>,
) -> JoinSet<()> {
    let mut tasks = std::mem::take(&mut app.reloads);
    let (store, cache) = (Arc::clone(&app.keys), Arc::clone(&app.cache));
    let poll_interval = config.storage.poll_interval;
    let first_read = app.first_read.take();
    tasks.spawn(async move {
        if let Some(first_read) = first_read
            && let Err(error) = first_read.await
        {
            // The receiver waits for the error until the gateway stops.
            let _ = unusable.send(error);
            return std::future::pending().await;
        }
        match cache.follow(&*store, poll_interval).await {}
    });

    let hub = Arc::clone(&app.hub);
    tasks.spawn(async move { hub.beat().await });

    let debug = Arc::clone(&app.debug);
    tasks.spawn(async move { debug.print().await });

    let (store, cache) = (Arc::clone(&app.keys), Arc::clone(&app.cache));
    let (interval, stop) = (config.usage.flush_interval, app.server.stopping().clone());
    tasks.spawn(async move {
        // A running flush is never cancelled, because the next flush would then count a part of the
        // usage twice.
        while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
            flush(cache.flush_usage(&*store)).await;
        }
        std::future::pending().await
    });

    let throttles = app.log_throttles.clone();
    tasks.spawn(async move { log_throttle::begin_intervals(&throttles).await });

    let service = app.service.clone();
    tasks.spawn(async move {
        loop {
            let pause = match service.prune().await {
                Ok(()) => PRUNE_INTERVAL,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "old tombstones cannot be removed");
                    PRUNE_RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    });
    tasks
}

async fn flush(flushed: impl Future<Output = Result<(), StoreError>>) {
    if let Err(error) = flushed.await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "usage counters cannot be written: they are kept for the next flush");
    }
}
