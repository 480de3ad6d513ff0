//! The tokens of administrators, and what is recorded about allowed and denied keys.

pub(crate) mod admin_tokens;
pub(crate) mod denial_log;
pub(crate) mod log_throttle;
pub(crate) mod usage;
