//! Headers of a configuration.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::confmap::Node;
use crate::credential::is_protocol_header;

/// Reads the name of a header that a client may set.
pub(super) fn name(node: &Node<'_>, text: &str) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        node.problem("expected the name of an HTTP header: letters, digits and !#$%&'*+-.^_`|~");
        return None;
    };
    if is_protocol_header(&name) {
        node.problem("this header belongs to the protocol and cannot be set");
        return None;
    }
    Some(name)
}

/// Reads `headers`: a map, or a list of `name` and `value`.
pub(super) fn map(node: &Node<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name_node: &Node<'_>, text: &str, value: &Node<'_>| {
        let name = name(name_node, text);
        if let (Some(name), Some(value)) = (name, header_value(value))
            && headers.insert(name, value).is_some()
        {
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

fn header_value(node: &Node<'_>) -> Option<HeaderValue> {
    let text = node.string();
    if text.is_none() && node.is_null() {
        node.problem("expected a string, found nothing");
    }
    match HeaderValue::from_str(text?) {
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
