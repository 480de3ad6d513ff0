//! Sizes in bytes, which the configuration writes with or without a unit.

use std::fmt;

use otel_confmap::{Node, ScalarKind};
use serde::{Serialize, Serializer};

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, written as in `20MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    pub(in crate::config) const fn mib(count: usize) -> Self {
        Self(count << 20)
    }

    pub(in crate::config) const fn kib(count: usize) -> Self {
        Self(count << 10)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }

    /// Reads a size, which must be from `least` to `most`. The size may have a unit, as in `20MiB`,
    /// `512KiB` or `100B`. A size without a unit is a number of bytes, as in the Collector.
    pub(in crate::config) fn read(node: &Node<'_>, least: Self, most: Self) -> Option<Self> {
        let size = match node.scalar_kind() {
            Some(ScalarKind::Int(bytes)) => usize::try_from(bytes).ok().map(Self),
            _ => Self::parse(node.string()?),
        };
        let size = size.filter(|size| (least..=most).contains(size));
        if size.is_none() {
            node.problem(format!(
                "expected a size as in 512KiB, 20MiB or 1GiB, from {least} to {most}"
            ));
        }
        size
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, bytes)| Some((text.strip_suffix(name)?, bytes)))
            .unwrap_or((text, &1));
        let number = number.trim_end();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        number.parse::<usize>().ok()?.checked_mul(*unit).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = self;
        let (name, unit) = UNITS
            .iter()
            .find(|(_, unit)| *bytes > 0 && bytes.is_multiple_of(*unit))
            .unwrap_or(&("B", 1));
        write!(f, "{}{name}", bytes / unit)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
