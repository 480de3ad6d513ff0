//! A hash table that finds an entry in one cache line.

use subtle::ConstantTimeEq;

use crate::identity::Identity;

/// Maps the digest of each token to the identity of that token.
///
/// A bucket is one cache line of two slots, and at most half of all slots are used. So a look-up
/// reads one cache line, unless more than two digests belong to one bucket: the digests that do not
/// fit are in the buckets that follow. The table takes 64 to 128 bytes for each token.
///
/// A `HashSet` of the same entries also reads a line of control bytes in another page, and the
/// bench case `fixed_100k_hit` took 7 to 9 % longer with it.
#[derive(Default)]
pub(super) struct DigestTable {
    /// The number of buckets is 0 or a power of two.
    buckets: Box<[Bucket]>,
    len: usize,
}

/// The keyed hash of a token: 128 random bits. Digests are compared in constant time.
#[derive(Clone, Copy)]
pub(super) struct Digest(pub(super) u128);

/// The used slots of a bucket come before its free slots. Entries are never removed.
#[derive(Default)]
#[repr(align(64))]
struct Bucket([Option<Entry>; 2]);

struct Entry {
    digest: Digest,
    identity: Identity,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl DigestTable {
    /// Returns the number of digests.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the identity that was inserted with this digest, if there is one.
    #[inline]
    pub(super) fn get(&self, digest: Digest) -> Option<&Identity> {
        for slot in self.slots_from(digest) {
            let entry = slot.as_ref()?;
            if entry.digest.0.ct_eq(&digest.0).into() {
                return Some(&entry.identity);
            }
        }
        None
    }

    /// Adds a digest that is not in the table.
    pub(super) fn insert(&mut self, digest: Digest, identity: Identity) {
        if self.len == self.buckets.len() {
            let buckets = (2 * self.len).max(1);
            let buckets = (0..buckets).map(|_| Bucket::default()).collect();
            for bucket in std::mem::replace(&mut self.buckets, buckets) {
                bucket.0.into_iter().flatten().for_each(|entry| self.put(entry));
            }
        }
        self.put(Entry { digest, identity });
        self.len += 1;
    }

    /// Puts an entry into the first free slot, beginning with the bucket to which its digest
    /// belongs.
    fn put(&mut self, entry: Entry) {
        let (before, from) = self.buckets.split_at_mut(self.home(entry.digest));
        let mut slots = from.iter_mut().chain(before).flat_map(|bucket| &mut bucket.0);
        let Some(slot) = slots.find(|slot| slot.is_none()) else {
            unreachable!("half of the slots are free")
        };
        *slot = Some(entry);
    }

    /// Returns all slots, beginning with the bucket to which this digest belongs.
    #[inline]
    fn slots_from(&self, digest: Digest) -> impl Iterator<Item = &Option<Entry>> {
        let (before, from) = self.buckets.split_at(self.home(digest));
        from.iter().chain(before).flat_map(|bucket| &bucket.0)
    }

    /// Returns the index of the bucket to which this digest belongs.
    #[inline]
    fn home(&self, digest: Digest) -> usize {
        digest.0 as usize & self.buckets.len().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Scenario: any digests are inserted. Many of them belong to the same bucket, which may be
        // the last bucket. After each insertion, these and other digests are looked up.
        // Guarantee: for each digest, the table finds what a map with the same entries finds.
        #[test]
        fn a_table_finds_what_a_map_finds(digests in prop::collection::vec((0..6_u128, 0..4_u128), 0..60)) {
            let digest = |(high, low): (u128, u128)| high << 64 | low.wrapping_sub(2) as u64 as u128;
            let (mut table, mut map) = (DigestTable::default(), HashMap::new());
            for pair in digests {
                let name = map.len().to_string();
                map.entry(digest(pair)).or_insert_with_key(|digest| {
                    table.insert(Digest(*digest), Identity::new(name.as_str()));
                    name
                });
                prop_assert_eq!(table.len(), map.len());
                for any in (0..7).flat_map(|high| (0..5).map(move |low| digest((high, low)))) {
                    let found = table.get(Digest(any)).map(Identity::name);
                    prop_assert_eq!(found, map.get(&any).map(String::as_str));
                }
            }
        }
    }
}
