//! Types of settings.

pub(in crate::config) mod byte_size;
pub(in crate::config) mod endpoint;
pub(in crate::config) mod origin;
pub(in crate::config) mod upstream_url;
