//! The quick start, which `cargo xtask quickstart` runs. It sends telemetry of this host with the
//! YAML of a Collector to a receiver that checks the key.
//!
//! | module | part |
//! |---|---|
//! | `keys` | telemetry to the gateway with a key of `sts` |
//! | `rotation` | telemetry to a receiver that uses the library, with tokens in files |
//! | `output` | how steps, commands and files are printed |
//!
//! Each step prints its commands and their output. A step that does not do what its heading says
//! ends the program with an error.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a failed step ends the quick start")]

mod keys;
mod output;
mod rotation;

fn main() {
    keys::run();
    rotation::run();
    println!(
        "\nEverything that was sent was received. A deleted key and a wrong one were refused, and a \
         rotation lost no telemetry."
    );
}
