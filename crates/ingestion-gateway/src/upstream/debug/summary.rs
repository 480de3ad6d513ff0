//! The line with the counts of the discarded items.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use otlp_auth::Identity;

use crate::item::Item;

/// The largest number of keys that a line names.
const MAX_NAMED_KEYS: usize = 5;

/// The counts of items that were discarded since the last line. `Display` writes the line.
#[derive(Debug, Default)]
pub(super) struct Summary {
    by_item: [u64; Item::ALL.len()],
    by_key: HashMap<Identity, u64>,
}

impl Summary {
    pub(super) fn add(&mut self, identity: &Identity, item: Item, count: u64) {
        self.by_item[item as usize] += count;
        *self.by_key.entry(identity.clone()).or_default() += count;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("discarded")?;
        for item in Item::ALL {
            match self.by_item[item as usize] {
                0 => {}
                count => write!(f, " {}={count}", item.as_str())?,
            }
        }
        f.write_str(" from")?;
        let mut keys: Vec<_> = self.by_key.iter().collect();
        keys.sort_by_key(|(identity, count)| (Reverse(**count), identity.id()));
        for (identity, count) in keys.iter().take(MAX_NAMED_KEYS) {
            // The name of a key may have any characters, so it is escaped.
            write!(f, " {:?}", identity.name())?;
            if let Some(id) = identity.id() {
                write!(f, "({id})")?;
            }
            write!(f, "={count}")?;
        }
        match keys.len().saturating_sub(MAX_NAMED_KEYS) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: seven keys sent items of two kinds since the last line.
    // Guarantee: the line has a sum for each kind of item. Then it gives the escaped names of the
    // busiest keys, and the number of the other keys.
    #[test]
    fn a_line_sums_up_what_was_discarded() {
        let mut summary = Summary { by_item: [30, 0, 1, 0], by_key: HashMap::new() };
        for (id, count) in (1..=7).zip([1, 9, 8, 7, 6, 5, 4]) {
            summary.by_key.insert(Identity::new(format!("k\n{id}")).with_id(id), count);
        }
        assert_eq!(
            summary.to_string(),
            concat!(
                r#"discarded spans=30 log_records=1 from "k\n2"(2)=9 "k\n3"(3)=8 "k\n4"(4)=7"#,
                r#" "k\n5"(5)=6 "k\n6"(6)=5 and 2 more"#,
            )
        );
    }
}
