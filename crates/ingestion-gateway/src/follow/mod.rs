//! Lets other processes follow the keys of this gateway, and takes the usage that they report.
//!
//! | module | contains |
//! |---|---|
//! | [`hub`] | what all followers share: the latest changes |
//! | [`reading`] | what is read from the store, for all who do not have it |
//! | [`stream`] | what one follower gets |
//! | [`line`] | the lines of the stream |
//! | [`connections`] | which followers are connected, and how far behind each is |
//! | [`reports`] | the reports of usage, each of which counts once |

mod connections;
pub(crate) mod hub;
mod line;
mod reading;
mod reports;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use self::hub::Hub;
pub(crate) use self::reports::ReportError;
pub(crate) use self::stream::JoinError;
