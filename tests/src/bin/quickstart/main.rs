//! The quickstart: this host's telemetry, from a Collector's YAML to a receiver that checks its
//! key. Run by `cargo xtask quickstart`.
//!
//! | module | part |
//! |---|---|
//! | `keys` | keys from `sts`, telemetry to the gateway |
//! | `rotation` | tokens from a file, telemetry to a receiver with the library in front |
//! | `shown` | how steps, commands and files are shown |
//!
//! Every step is shown with what it prints, and ends the program with an error if it does not do
//! what it says.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a step that fails ends the quickstart"
)]

mod keys;
mod rotation;
mod shown;

fn main() {
    keys::run();
    rotation::run();
    println!(
        "\nEverything that was sent was received; a deleted key and a wrong one were refused; a rotation cost nothing."
    );
}
