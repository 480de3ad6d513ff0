//! The counter of changes of a file's tokens.

use tokio::sync::watch;

/// Tells how often the tokens of a file have changed, and waits for changes.
///
/// A generation is already in force when it is counted. So after a receiver has waited for
/// generation 3, requests are sent or decided with the tokens of generation 3 or of a later
/// generation.
///
/// # Examples
///
/// ```no_run
/// use otlp_auth::client::BearerTokenAuth;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let auth = BearerTokenAuth::builder()
///     .file("/var/run/secrets/otlp/token")
///     .endpoint("https://otlp.example.com")
///     .build()?;
/// let mut generation = auth.generation();
/// tokio::spawn(async move {
///     while let Some(generation) = generation.changed().await {
///         println!("token {generation} is in force");
///     }
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GenerationReceiver(watch::Receiver<u64>);

impl GenerationReceiver {
    pub(crate) fn new(receiver: watch::Receiver<u64>) -> Self {
        Self(receiver)
    }

    /// Returns the generation that is in force. It is 0 for the file as it was first read.
    #[must_use]
    pub fn current(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits for a generation that this method has not returned yet, and returns the latest
    /// generation. Returns `None` if the file is no longer followed.
    pub async fn changed(&mut self) -> Option<u64> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }

    /// Waits until at least `generation` is in force, and returns the latest generation. Returns
    /// `None` if the file is no longer followed and `generation` was not reached.
    pub async fn wait_for(&mut self, generation: u64) -> Option<u64> {
        self.0.wait_for(|current| *current >= generation).await.ok().map(|current| *current)
    }
}
