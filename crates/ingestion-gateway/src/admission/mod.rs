//! Who may send and who may manage, and what is recorded about it.

pub(crate) mod admin_tokens;
pub(crate) mod denial_log;
pub(crate) mod usage;
