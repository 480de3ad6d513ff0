//! The memory of a process.

use std::fs;

/// Returns the resident memory of a process in megabytes (10^6 bytes), or 0 if there is no such
/// process.
pub(crate) fn resident_megabytes(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    // The kernel writes `kB` and means units of 1024 bytes.
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() * 1024.0 / 1e6
}
