//! A server that follows another one.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::installation::{Installation, run};
use crate::{Postgres, wait_until};

impl Postgres {
    /// Starts a hot standby of this server with the same options, and waits until it streams. It
    /// has a replication slot, so it catches up however long it was stopped.
    ///
    /// If it is synchronous, every commit on this server waits from now on until this standby has
    /// it. Each later call replaces the synchronous standby.
    #[must_use]
    pub fn standby(&self, synchronous: bool) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("standby_{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let standby = Self::without_data(self.options.clone());
        let mut backup = Installation::get().server("pg_basebackup");
        let primary =
            format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port());
        backup.arg("-D").arg(standby.data()).arg("-d").arg(primary);
        backup.args(["--checkpoint=fast", "--no-sync", "--no-password", "--write-recovery-conf"]);
        self.options.authenticate(backup.args(["--create-slot", "--slot"]).arg(&name));
        run(&mut backup, Stdio::null());
        // The copy must not wait for the standby that this server waits for.
        let mut settings = File::options()
            .append(true)
            .open(standby.data().join("postgresql.auto.conf"))
            .expect("the settings of the copy");
        settings.write_all(b"synchronous_standby_names = ''\n").expect("a setting");
        standby.start_again();
        if synchronous {
            let wait = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
            self.psql("postgres", &wait);
            self.psql("postgres", "SELECT pg_reload_conf()");
        }
        let state = "SELECT state, sync_state FROM pg_stat_replication WHERE application_name";
        let state = format!("{state} = '{name}'");
        let expected = if synchronous { "streaming|sync" } else { "streaming|" };
        wait_until("the standby streams", || self.psql("postgres", &state).starts_with(expected));
        standby
    }

    /// Makes this standby a primary, and waits until it accepts writes.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote(wait => true)"), "t", "promotion");
    }
}
