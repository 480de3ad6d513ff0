//! Limits on what one text may use up. A small text can ask for a very large tree, by aliases and
//! by substitutions that refer to each other.

use crate::value::Size;

/// The longest text or file, in bytes.
pub(crate) const MAX_TEXT_LEN: usize = 1 << 20;

/// How deep maps and lists may be nested, in levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// How many nodes a tree may have.
pub(crate) const MAX_NODES: usize = 100_000;

/// How many bytes aliases and substitutions may copy.
const MAX_COPIED: usize = 8 << 20;

/// How many nodes a tree may still have, and how many bytes may still be copied.
pub(crate) struct Budget {
    nodes: usize,
    copied: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: MAX_NODES, copied: MAX_COPIED }
    }
}

impl Budget {
    /// Returns the budget that is left for a tree that already has this many nodes.
    pub(crate) fn after(nodes: usize) -> Self {
        Self { nodes: MAX_NODES.saturating_sub(nodes), ..Self::default() }
    }

    pub(crate) fn charge(&mut self, size: &Size) -> Result<(), String> {
        self.charge_nodes(size.nodes)?;
        self.charge_copied(size.bytes)
    }

    pub(crate) fn charge_nodes(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes =
            self.nodes.checked_sub(nodes).ok_or_else(|| format!("more than {MAX_NODES} nodes"))?;
        Ok(())
    }

    pub(crate) fn charge_copied(&mut self, bytes: usize) -> Result<(), String> {
        self.copied = self.copied.checked_sub(bytes).ok_or_else(|| {
            format!("aliases and substitutions copy more than {MAX_COPIED} bytes")
        })?;
        Ok(())
    }
}
