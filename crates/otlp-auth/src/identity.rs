//! Whose credential a request carried.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whose credential a request carried. The layer puts it into the extensions of the request.
///
/// A clone increments a reference count and copies nothing. Two identities are equal if their names
/// and ids are.
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

/// An identity whose requests are counted, kept by the authenticator that made it.
///
/// Clones share the count. Requests get an [`Identity`], through which it can be neither read nor
/// changed.
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

// In this order, so that the number of uses stands right behind the reference counts, which every
// allowed request writes to: in the same cache line of 64 bytes wherever the allocation begins in a
// line, except for its last 16 bytes.
#[repr(C)]
struct Shared {
    uses: AtomicU64,
    name: String,
    id: Option<u64>,
    handle: Option<Arc<dyn Any + Send + Sync>>,
}

const _: () = assert!(std::mem::offset_of!(Shared, uses) == 0);

impl Identity {
    /// An identity of this name, which is not a secret: the name of a token, of a key.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (uses, name) = (AtomicU64::new(0), name.into());
        Self { shared: Arc::new(Shared { uses, name, id: None, handle: None }) }
    }

    /// Adds a number that identifies it where names are not unique.
    #[must_use]
    pub fn with_id(mut self, id: u64) -> Self {
        Arc::make_mut(&mut self.shared).id = Some(id);
        self
    }

    /// Adds a handle: a way back to the authenticator for what is learnt about the request after
    /// the decision, such as its size.
    #[must_use]
    pub fn with_handle(mut self, handle: impl Any + Send + Sync) -> Self {
        Arc::make_mut(&mut self.shared).handle = Some(Arc::new(handle));
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The id, if one was added.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        self.shared.id
    }

    /// The handle, if one of this type was added.
    #[must_use]
    pub fn handle<T: Any>(&self) -> Option<&T> {
        self.shared.handle.as_ref()?.downcast_ref()
    }
}

impl CountedIdentity {
    /// Counts the requests of `identity`, beginning at 0.
    #[must_use]
    pub fn new(mut identity: Identity) -> Self {
        // The only reference to it, or a copy with a count of its own: a handler that makes one of
        // the identity of its request does not get at the count of the authenticator.
        Arc::make_mut(&mut identity.shared);
        Self(identity)
    }

    /// The identity for a request that is let in, which is counted.
    #[inline]
    #[must_use]
    pub fn for_request(&self) -> Identity {
        self.0.shared.uses.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }

    /// The identity, without counting a request.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0
    }

    /// The number of requests since the last [`take_uses`](Self::take_uses).
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.0.shared.uses.load(Ordering::Relaxed)
    }

    /// The number of requests since the last call, which begins at 0 again.
    #[must_use]
    pub fn take_uses(&self) -> u64 {
        match self.uses() {
            // Not written to, so that the cache line of an identity that is not used stays shared.
            0 => 0,
            _ => self.0.shared.uses.swap(0, Ordering::Relaxed),
        }
    }
}

impl Clone for Shared {
    /// A copy of its own, which was not used yet.
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

    // Scenario: a handler changes the identity of its request, and counts with it.
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
}
