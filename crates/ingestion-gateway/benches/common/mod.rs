//! What the benchmarks `keys` and `replicas` share.

pub(crate) mod gateway;
pub(crate) mod keys;

/// Prints the result of a case for `cargo xtask bench`.
pub(crate) fn report(case: &str, value: f64) {
    println!(r#"{{"case":"{case}","value":{value:.3},"allocations":null}}"#);
}
