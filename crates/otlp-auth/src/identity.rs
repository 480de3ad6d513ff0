//! The identity: whose credential a request carried.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Whose credential a request carried. The layer puts it into the extensions of the request.
///
/// A clone increments a reference count and copies nothing. Two identities are equal if their names
/// and ids are equal.
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
/// let identity = Identity::new("edge").with_id(17).with_handle(Received::default());
/// if let Some(Received(bytes)) = identity.handle() {
///     bytes.fetch_add(4096, Ordering::Relaxed);
/// }
/// assert_eq!((identity.name(), identity.id()), ("edge", Some(17)));
/// ```
#[derive(Clone)]
pub struct Identity {
    // One word, so that a verdict of two words has room for a tag beside it.
    shared: Arc<Shared>,
}

/// Counts the requests of an identity. The authenticator that made the identity keeps this value.
///
/// Clones share the count. A request gets only an [`Identity`], which can neither read nor change
/// the count.
///
/// # Examples
///
/// ```
/// use otlp_auth::{CountedIdentity, Identity};
///
/// let counted = CountedIdentity::new(Identity::new("edge"));
/// let identity = counted.for_request();
/// assert_eq!((identity.name(), counted.uses()), ("edge", 1));
/// assert_eq!((counted.take_uses(), counted.uses()), (1, 0));
/// ```
#[derive(Clone, Debug)]
pub struct CountedIdentity(Identity);

// The order of the fields puts the number of uses directly after the reference counts. Every
// allowed request writes to both. So both are in one cache line of 64 bytes, unless the allocation
// begins in the last 16 bytes of a line.
#[repr(C)]
struct Shared {
    uses: AtomicU64,
    name: String,
    id: Option<u64>,
    handle: Option<Arc<dyn Any + Send + Sync>>,
}

const _: () = assert!(std::mem::offset_of!(Shared, uses) == 0);

impl Identity {
    /// Makes an identity with this name, for example the name of a token or a key. The name is not
    /// a secret.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (uses, name) = (AtomicU64::new(0), name.into());
        Self { shared: Arc::new(Shared { uses, name, id: None, handle: None }) }
    }

    /// Adds a number that distinguishes identities if names are not unique.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        Arc::make_mut(&mut self.shared).id = Some(id);
        self
    }

    /// Adds a handle, which is a value of the authenticator's own type. Through the handle, a
    /// service can report to the authenticator what is known only after the decision, such as the
    /// size of the request.
    #[must_use]
    pub fn with_handle(mut self, handle: impl Any + Send + Sync) -> Self {
        Arc::make_mut(&mut self.shared).handle = Some(Arc::new(handle));
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the id, if an id was added.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.shared.id
    }

    /// Returns the handle, if a handle of this type was added.
    #[must_use]
    pub fn handle<T: Any>(&self) -> Option<&T> {
        self.shared.handle.as_ref()?.downcast_ref()
    }
}

impl CountedIdentity {
    /// Makes a counter for the requests of `identity` that begins at 0.
    #[must_use]
    pub fn new(mut identity: Identity) -> Self {
        // If other references to the identity exist, this makes a copy with its own count. So a
        // handler that calls this with the identity of its request cannot reach the count of the
        // authenticator. If no other references exist, nothing is copied, so an earlier count is
        // still there.
        *Arc::make_mut(&mut identity.shared).uses.get_mut() = 0;
        Self(identity)
    }

    /// Counts a request that is allowed, and returns the identity for it.
    #[inline]
    #[must_use]
    pub fn for_request(&self) -> Identity {
        self.0.shared.uses.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }

    /// Returns the identity without counting a request.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    /// Returns whether anybody else holds the identity: a request that has not ended, or a clone of
    /// this value. If this returns `false`, everything that the requests did with the handle of the
    /// identity can be read from now on.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let is_held = Arc::strong_count(&self.0.shared) > 1;
        // The count is read without an order. The fence orders it after the last drop of a clone.
        fence(Ordering::Acquire);
        is_held
    }

    /// Returns the number of requests since the last [`take_uses`](Self::take_uses).
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.0.shared.uses.load(Ordering::Relaxed)
    }

    /// Returns the number of requests since the last call, and sets the number to 0.
    #[must_use]
    pub fn take_uses(&self) -> u64 {
        match self.uses() {
            // Nothing is written, so that the cache line of an unused identity stays shared between
            // cores.
            0 => 0,
            _ => self.0.shared.uses.swap(0, Ordering::Relaxed),
        }
    }
}

impl Clone for Shared {
    /// Returns a copy with the number of uses 0.
    fn clone(&self) -> Self {
        Self {
            uses: AtomicU64::new(0),
            name: self.name.clone(),
            id: self.id,
            handle: self.handle.clone(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a handler changes the identity of its request, and makes a counter from it.
    // Guarantee: the identity of the authenticator keeps its id, its handle and its count.
    #[test]
    fn a_request_cannot_change_its_identity() {
        let counted = CountedIdentity::new(Identity::new("edge").with_id(1).with_handle("handle"));
        let request = counted.for_request();
        let changed = request.clone().with_id(2).with_handle(7_u8);
        assert_eq!(
            (changed.id(), changed.handle(), changed.name()),
            (Some(2), Some(&7_u8), "edge")
        );
        let mine = CountedIdentity::new(request.clone());
        assert_eq!(mine.take_uses(), 0);
        drop((mine.for_request(), mine.take_uses()));
        let identity = counted.identity();
        assert_eq!((identity.id(), identity.handle()), (Some(1), Some(&"handle")));
        assert_eq!((mine.identity().handle(), counted.uses()), (Some(&"handle"), 1));
    }

    // Scenario: the only reference to an identity is left, and its counter has counted a request.
    // Then a new counter is made from this reference.
    // Guarantee: the new counter begins at 0.
    #[test]
    fn a_new_counter_begins_at_0() {
        let counted = CountedIdentity::new(Identity::new("edge"));
        let only = counted.for_request();
        drop(counted);
        assert_eq!(CountedIdentity::new(only).uses(), 0);
    }
}
