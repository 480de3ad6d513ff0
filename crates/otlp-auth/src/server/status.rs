//! The four protobuf messages that a rejection needs. They are written here to avoid a dependency
//! on all of googleapis.

use prost::Message;

/// Encodes a `google.rpc.Status` in protobuf. If there is a `retry_after`, the status carries it as
/// a `google.rpc.RetryInfo`.
pub(super) fn encode(
    code: i32,
    message: &str,
    retry_after: Option<std::time::Duration>,
) -> Vec<u8> {
    let details = retry_after.map(|wait| {
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
        let retry_info = RetryInfo { retry_delay: Some(Duration { seconds }) };
        Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: retry_info.encode_to_vec(),
        }
    });
    Status { code, message: message.to_owned(), details: details.into_iter().collect() }
        .encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}
