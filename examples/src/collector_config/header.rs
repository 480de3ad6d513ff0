//! The `headers` of an exporter.

use http::{HeaderMap, HeaderValue};
use otel_confmap::Node;
use otlp_auth::config::header_name;

/// Reads `headers`: a map, or a list of `name` and `value`.
pub(super) fn map(node: &Node<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name_node: &Node<'_>, text: &str, value: &Node<'_>| {
        let name = header_name(name_node, text);
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
