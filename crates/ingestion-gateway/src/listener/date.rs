//! The header `date` of responses.

use std::cell::RefCell;
use std::time::SystemTime;

use http::HeaderValue;

thread_local! {
    /// The last second of this thread for which the header was written, and the header.
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// Returns the header for a response that is made now. It is written once a second.
pub(super) fn now() -> HeaderValue {
    #[expect(clippy::disallowed_methods, reason = "nothing is decided by what a response says")]
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|last| match last {
        Some((of, header)) if *of == second => header.clone(),
        _ => {
            // A date has only visible characters.
            let header = HeaderValue::try_from(httpdate::fmt_http_date(now));
            let header = header.unwrap_or_else(|_| HeaderValue::from_static(""));
            last.insert((second, header)).1.clone()
        }
    })
}
