//! Refuses heads of requests that were accepted so far, but that two readers could read
//! differently, or that nobody could pass on.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, StatusCode, Version};

/// Returns the status with which the gateway refuses this request, if it does.
///
/// hyper removes only the chunks of a body. With any other transfer coding, the content would go on
/// encoded, without a header that says so. A request of HTTP/1.1 must have exactly one `host`
/// (RFC 9112, section 3.2). HTTP/2 has neither of these headers to be read differently.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<StatusCode> {
    if request.version() > Version::HTTP_11 {
        // It would ask for a tunnel through a stream.
        let is_tunnel = request.method() == Method::CONNECT;
        return is_tunnel.then_some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Some(StatusCode::NOT_IMPLEMENTED);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_one_host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    (!is_one_host).then_some(StatusCode::BAD_REQUEST)
}

/// Returns whether every byte may occur in a host with a port. An empty host is allowed.
fn is_host(value: &HeaderValue) -> bool {
    let is_delimiter = |byte| matches!(byte, b'/' | b'?' | b'#' | b'@' | b',' | b'\\' | b'"');
    value.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && !is_delimiter(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: requests of each version have different hosts and transfer codings. One of HTTP/2
    // asks for a tunnel.
    // Guarantee: a request of HTTP/1.1 needs one host, and `chunked` is the only coding. HTTP/1.0
    // needs no host, and HTTP/2 has its own rules. Nobody gets a tunnel.
    #[test]
    fn one_host_and_one_coding() {
        let refused = |version, headers: &[(&str, &str)]| {
            let mut request = Request::post("/").version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            refusal(&request.body(()).unwrap()).map(|status| status.as_u16())
        };
        let (host, other) = (("host", "g:4318"), ("host", "other"));
        let coding = |value| ("transfer-encoding", value);
        for (version, headers, expected) in [
            (Version::HTTP_11, &[host][..], None),
            (Version::HTTP_11, &[("host", "[::1]:80"), coding("Chunked")], None),
            (Version::HTTP_11, &[("host", "")], None),
            (Version::HTTP_11, &[], Some(400)),
            (Version::HTTP_11, &[host, other], Some(400)),
            (Version::HTTP_11, &[("host", "a b")], Some(400)),
            (Version::HTTP_11, &[("host", "user@g")], Some(400)),
            (Version::HTTP_11, &[host, coding("gzip, chunked")], Some(501)),
            (Version::HTTP_11, &[host, coding("chunked"), coding("chunked")], Some(501)),
            (Version::HTTP_10, &[], None),
            (Version::HTTP_10, &[host, other], Some(400)),
            (Version::HTTP_2, &[], None),
        ] {
            assert_eq!(refused(version, headers), expected, "{version:?} {headers:?}");
        }
        let tunnel = Request::connect("g:1").version(Version::HTTP_2).body(()).unwrap();
        assert_eq!(refusal(&tunnel), Some(StatusCode::METHOD_NOT_ALLOWED));
    }
}
