//! Checks `rust-version`, the oldest Rust that the workspace promises to build with.
//!
//! The check needs no other toolchain. Clippy's `incompatible_msrv` finds functions of the standard
//! library that are newer than `rust-version`. This check finds dependencies that declare a newer
//! Rust. Neither Clippy nor this check finds newer syntax, or a dependency that needs a newer Rust
//! than it declares. Only a build with the oldest Rust would find these.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::{cargo, output};

/// The part of the output of `cargo metadata` that this check reads.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    rust_version: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// The kind of the dependency, or `None` for a normal dependency.
    kind: Option<String>,
}

/// Fails if the crates of the workspace declare different values of `rust-version`, or if a
/// published crate needs a crate that declares a newer Rust.
pub(super) fn check(published: &[&str]) -> Result<()> {
    println!("$ cargo metadata: rust-version");
    let metadata = cargo(["metadata", "--locked", "--format-version", "1", "--all-features"]);
    let metadata: Metadata = serde_json::from_str(&output(&mut { metadata })?)
        .context("cargo metadata printed something else than was expected")?;
    let problems = problems(&metadata, published)?;
    ensure!(problems.is_empty(), "rust-version:\n{}", problems.join("\n"));
    Ok(())
}

fn problems(metadata: &Metadata, published: &[&str]) -> Result<Vec<String>> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<_, _> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let members =
        || packages.values().filter(|package| metadata.workspace_members.contains(&package.id));

    let declared: BTreeSet<_> = members().map(|package| package.rust_version.as_deref()).collect();
    let mut problems = Vec::new();
    if declared.len() > 1 {
        problems.extend(members().map(|package| {
            let version = package.rust_version.as_deref().unwrap_or("none");
            format!("{} declares {version}, and not all crates the same", package.name)
        }));
    }
    for name in published {
        let package = members()
            .find(|package| package.name == *name)
            .with_context(|| format!("no crate {name} in the workspace"))?;
        let ours = package.rust_version.as_deref();
        let ours = numbers(ours.with_context(|| format!("{name} declares no rust-version"))?)?;
        for id in needed(&package.id, &nodes) {
            let package = packages.get(id).context("a dependency that is not a package")?;
            let Some(theirs) = &package.rust_version else { continue };
            if numbers(theirs)? > ours {
                let Package { name: other, version, .. } = package;
                problems.push(format!("{name} needs {other} {version}, which needs Rust {theirs}"));
            }
        }
    }
    Ok(problems)
}

/// Returns the package and all packages that are built when another program uses the package as a
/// library.
fn needed<'a>(package: &'a str, nodes: &BTreeMap<&'a str, &'a Node>) -> BTreeSet<&'a str> {
    let mut needed = BTreeSet::new();
    let mut open = vec![package];
    while let Some(id) = open.pop() {
        if needed.insert(id)
            && let Some(node) = nodes.get(id)
        {
            let built = |kind: &DependencyKind| kind.kind.as_deref() != Some("dev");
            let dependencies = node.deps.iter().filter(|needed| needed.dep_kinds.iter().any(built));
            open.extend(dependencies.map(|needed| needed.pkg.as_str()));
        }
    }
    needed
}

/// Parses a version into an array of its numbers. Such arrays compare in the order of the versions.
fn numbers(version: &str) -> Result<[u64; 3]> {
    let mut numbers = [0; 3];
    for (number, text) in numbers.iter_mut().zip(version.split('.')) {
        *number = text.parse().with_context(|| format!("not a Rust version: {version}"))?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Scenario: a published crate has four dependencies. The first needs a newer Rust. The second
    // is a build dependency that needs a newer Rust. The third needs a newer Rust and is used by
    // tests only. The fourth declares no Rust version. Another crate of the workspace declares a
    // different Rust version.
    // Guarantee: the first two dependencies and the other crate are reported.
    #[test]
    fn what_needs_a_newer_rust_is_found() {
        let package = |name: &str, rust: Option<&str>| json!({ "id": name, "name": name, "version": "1.0.0", "rust_version": rust });
        let dependency = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "workspace_members": ["ours", "tool"],
            "packages": [
                package("ours", Some("1.88")), package("tool", Some("1.90")),
                package("old", Some("1.9.1")), package("new", Some("1.88.1")),
                package("build", Some("1.100")), package("test", Some("1.99")), package("any", None),
            ],
            "resolve": { "nodes": [
                { "id": "ours", "deps": [dependency("old", None), dependency("test", Some("dev"))] },
                { "id": "old", "deps": [dependency("new", None), dependency("build", Some("build")),
                    dependency("any", None)] },
            ] },
        });
        let metadata = serde_json::from_value(metadata).unwrap();
        let expected = [
            "ours declares 1.88, and not all crates the same",
            "tool declares 1.90, and not all crates the same",
            "ours needs build 1.0.0, which needs Rust 1.100",
            "ours needs new 1.0.0, which needs Rust 1.88.1",
        ];
        assert_eq!(problems(&metadata, &["ours"]).unwrap(), expected);
    }
}
