//! Whose credential a request carried.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose credential a request carried. The layer puts it into the extensions of the request.
///
/// Cheap to clone: one reference count. Two are equal if their names and numbers are.
#[derive(Clone)]
pub struct Identity {
    // One word, and so is `Undecided`: a verdict fits into two registers.
    shared: Arc<Shared>,
}

// As written: uses are counted in the cache line of the reference count, which is written to
// anyway.
#[repr(C)]
struct Shared {
    uses: AtomicU64,
    name: String,
    id: Option<u64>,
    handle: Option<Box<dyn Any + Send + Sync>>,
}

impl Identity {
    /// An identity of this name: a token's name, a key's.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self::of(name.into(), None, None)
    }

    /// An identity that has a number besides, because names need not be unique, and a handle: a way
    /// back to whoever decided, for what is learnt about the request afterwards.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use otlp_auth::Identity;
    ///
    /// #[derive(Default)]
    /// struct Received(AtomicU64);
    ///
    /// let identity = Identity::with_handle("edge", 17, Received::default());
    /// if let Some(Received(bytes)) = identity.handle() {
    ///     bytes.fetch_add(4096, Ordering::Relaxed);
    /// }
    /// assert_eq!((identity.name(), identity.id()), ("edge", Some(17)));
    /// ```
    #[must_use]
    pub fn with_handle(name: impl Into<String>, id: u64, handle: impl Any + Send + Sync) -> Self {
        Self::of(name.into(), Some(id), Some(Box::new(handle)))
    }

    fn of(name: String, id: Option<u64>, handle: Option<Box<dyn Any + Send + Sync>>) -> Self {
        Self { shared: Arc::new(Shared { uses: AtomicU64::new(0), name, id, handle }) }
    }

    /// This identity for a request that is let in, which is counted in [`uses`](Self::uses).
    #[inline]
    #[must_use]
    pub fn for_request(&self) -> Self {
        self.shared.uses.fetch_add(1, Ordering::Relaxed);
        self.clone()
    }

    /// How often it was given to a request, for authenticators that count: all clones share it, and
    /// whoever reads it may set it back.
    #[must_use]
    pub fn uses(&self) -> &AtomicU64 {
        &self.shared.uses
    }

    /// The name it was given. Not a secret, and not part of one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The number it was given, if any.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.shared.id
    }

    /// The handle it was given, if it is of this type.
    #[must_use]
    pub fn handle<T: Any>(&self) -> Option<&T> {
        self.shared.handle.as_ref()?.downcast_ref()
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (self.id(), self.name()) == (other.id(), other.name())
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id(), self.name()).hash(state);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name())
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}
