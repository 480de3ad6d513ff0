//! `google.rpc.Status`, the body of every OTLP/HTTP response that is not a success.

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use crate::encoding::Encoding;

/// Encodes a status. `encoding` must be the encoding of the request, because the OTLP specification
/// demands the same encoding for the response.
pub(crate) fn encode(code: Code, message: &str, encoding: Encoding) -> Bytes {
    let code = i32::from(code);
    match encoding {
        Encoding::Protobuf => {
            let status =
                tonic_types::Status { code, message: message.to_owned(), details: Vec::new() };
            status.encode_to_vec().into()
        }
        Encoding::Json => serde_json::json!({"code": code, "message": message}).to_string().into(),
    }
}
