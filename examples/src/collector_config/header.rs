//! The `headers` of an exporter.

use http::{HeaderMap, HeaderName, HeaderValue};
use otel_confmap::Node;
use otlp_auth::config::header_name;

use super::unsupported::is_credential_name;

/// The headers of an exporter. Their values are marked sensitive.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers {
    pub(super) map: HeaderMap,
    /// The first header that looks like a credential.
    pub(super) credential: Option<HeaderName>,
}

/// Reads `headers`: a map, or a list of `name` and `value`.
pub(super) fn map(node: &Node<'_>) -> Headers {
    let mut headers = Headers::default();
    let mut add = |name_node: &Node<'_>, text: &str, value_node: &Node<'_>| {
        let name = header_name(name_node, text);
        let Some((name, value)) = name.zip(header_value(value_node)) else { return };
        if is_credential_name(name.as_str()) || begins_with_scheme(&value) {
            if value.is_empty() {
                value_node.report_empty("requests would go out without this credential");
            }
            headers.credential.get_or_insert_with(|| name.clone());
        }
        if headers.map.insert(name, value).is_some() {
            name_node.problem("the header is set twice");
        }
    };
    if node.is_list() {
        for mut item in node.list().into_iter().flatten().filter_map(|item| item.map()) {
            let (name, value) = (item.required("name"), item.required("value"));
            if let (Some(name), Some(value)) = (name, value)
                && let Some(text) = name.string()
            {
                add(&name, text, &value);
            }
            item.warn_unknown();
        }
    } else if let Some(mut map) = node.map() {
        for (name, value) in map.entries() {
            add(&value, name, &value);
        }
    }
    headers
}

/// Reads the value of a header. Blanks and line ends at both ends are left out: blanks are not part
/// of the value (RFC 9110 section 5.5), and many tools append a line end to a secret.
fn header_value(node: &Node<'_>) -> Option<HeaderValue> {
    let text = node.string();
    if text.is_none() && node.is_null() {
        node.problem("expected a string, found nothing");
    }
    match HeaderValue::from_str(text?.trim()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(_) => {
            node.problem("the value has a character that no header may have, such as a line end");
            None
        }
    }
}

/// Whether the value begins with the scheme of a credential, as in `Bearer <token>`.
fn begins_with_scheme(value: &HeaderValue) -> bool {
    const SCHEMES: [&[u8]; 4] = [b"bearer", b"basic", b"stackstate", b"apikey"];
    let mut words = value.as_bytes().splitn(2, |&byte| byte == b' ');
    let scheme = words.next().unwrap_or_default();
    words.next().is_some() && SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))
}
