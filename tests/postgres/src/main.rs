//! Starts a PostgreSQL server, prints its URL and its directory, and removes the server when stdin
//! is closed or this program ends.

#![expect(clippy::print_stdout, reason = "the URL is printed")]

use test_postgres::Postgres;

fn main() -> std::io::Result<()> {
    let server = Postgres::start();
    println!("url: {}", server.url("postgres"));
    println!("directory: {}", server.directory().display());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
