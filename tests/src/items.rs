//! Counts of telemetry items, read from the lines that receivers, exporters and the gateway print.

use std::collections::BTreeMap;
use std::ops::Index;

/// The number of items that a receiver has accepted, by signal and transport, such as
/// `traces/grpc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    counts: BTreeMap<String, usize>,
    pub identities: Vec<String>,
}

impl Items {
    /// Adds the items that a line of a receiver reports. Returns whether the line reports any.
    pub fn add_line(&mut self, line: &str) -> bool {
        let Some(fields) = line.strip_prefix("accepted ") else { return false };
        self.add(field(fields, "signal"), field(fields, "transport"), number(fields, "items"));
        let identity = field(fields, "identity");
        if !self.identities.iter().any(|known| known == identity) {
            self.identities.push(identity.to_owned());
        }
        true
    }

    pub fn add(&mut self, signal: &str, transport: &str, count: usize) {
        *self.counts.entry(format!("{signal}/{transport}")).or_default() += count;
    }

    /// Counts all items that these lines report.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a String>) -> Self {
        let mut items = Self::default();
        for line in lines {
            items.add_line(line);
        }
        items
    }

    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    /// Returns whether at least `count` items of every signal have arrived over this transport.
    pub fn reach(&self, transport: &str, count: usize) -> bool {
        ["traces", "metrics", "logs"]
            .iter()
            .all(|signal| self[&format!("{signal}/{transport}")] >= count)
    }
}

impl Index<&str> for Items {
    type Output = usize;

    fn index(&self, key: &str) -> &usize {
        self.counts.get(key).unwrap_or(&0)
    }
}

/// The numbers of items that the exporter has sent and has failed to send, from its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub sent: usize,
    pub failed: usize,
}

impl Totals {
    pub fn of(lines: &[String]) -> Self {
        let mut totals = Self::default();
        for fields in lines.iter().filter_map(|line| line.strip_prefix("total ")) {
            totals.sent += number(fields, "sent");
            totals.failed += number(fields, "failed");
        }
        totals
    }
}

/// The items that the gateway has received, counted and discarded, according to the lines that it
/// prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    pub items: usize,
    /// The names and ids of the keys with which the items were sent, such as `"name"(17)`.
    pub keys: Vec<String>,
}

impl Discarded {
    /// Counts everything that these lines report.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a String>) -> Self {
        let mut discarded = Self::default();
        for line in lines {
            discarded.add_line(line);
        }
        discarded
    }

    /// Adds the items that a line of the gateway reports, if it reports any.
    pub fn add_line(&mut self, line: &str) {
        let Some((counts, keys)) =
            line.strip_prefix("discarded ").and_then(|line| line.split_once(" from "))
        else {
            return;
        };
        for signal in ["spans", "data_points", "log_records"] {
            if counts.split(' ').any(|count| count.starts_with(&format!("{signal}="))) {
                self.items += number(counts, signal);
            }
        }
        for key in keys.split(' ').map(|key| key.rsplit_once('=').map_or(key, |(key, _)| key)) {
            if !self.keys.iter().any(|known| known == key) {
                self.keys.push(key.to_owned());
            }
        }
    }
}

/// Returns the value of the field `name=value`.
fn field<'a>(fields: &'a str, name: &str) -> &'a str {
    let value = fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in: {fields}"))
}

fn number(fields: &str, name: &str) -> usize {
    field(fields, name).parse().unwrap_or_else(|_| panic!("{name} is not a number in: {fields}"))
}
