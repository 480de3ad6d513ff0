//! The admin token file, and what is recorded about allowed and denied requests.

pub(crate) mod admin_tokens;
pub(crate) mod denial_log;
pub(crate) mod usage;
