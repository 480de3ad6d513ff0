//! `sts ingestion-api-key`: one module for each command.

pub(super) mod check;
pub(super) mod create;
pub(super) mod delete;
pub(super) mod describe;
pub(super) mod list;
pub(super) mod rotate;
mod time;
pub(super) mod update;

use super::Session;
