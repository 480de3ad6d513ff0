//! Metrics of this host, with the names of the semantic conventions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use sysinfo::{Disks, Networks, System};

/// The state of the host at the last refresh. The instruments report it whenever metrics are
/// collected, and report nothing after [`clear`](Self::clear).
pub(crate) struct Host {
    system: System,
    observed: Observed,
}

#[derive(Clone, Default)]
struct Observed(Arc<Mutex<Option<Sample>>>);

struct Sample {
    /// The utilization of each CPU, from 0 to 1.
    cpus: Vec<f64>,
    load: f64,
    memory_used: u64,
    memory_free: u64,
    disks: Disks,
    networks: Networks,
}

impl Host {
    /// Creates the instruments that report the state of this host.
    pub(crate) fn observed_by(meter: &Meter) -> Self {
        let observed = Observed::default();
        observed.instruments(meter);
        let mut system = System::new();
        // The utilization is measured between two refreshes, so there must be time between them.
        system.refresh_cpu_usage();
        std::thread::sleep(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL);
        Self { system, observed }
    }

    pub(crate) fn refresh(&mut self) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        *self.observed.lock() = Some(Sample {
            cpus: self.system.cpus().iter().map(|cpu| f64::from(cpu.cpu_usage()) / 100.0).collect(),
            load: System::load_average().one,
            memory_used: self.system.used_memory(),
            memory_free: self.system.free_memory(),
            disks: Disks::new_with_refreshed_list(),
            networks: Networks::new_with_refreshed_list(),
        });
    }

    pub(crate) fn clear(&self) {
        *self.observed.lock() = None;
    }
}

impl Observed {
    fn instruments(&self, meter: &Meter) {
        let utilization = meter.f64_observable_gauge("system.cpu.utilization").with_unit("1");
        utilization.with_callback(self.callback(Sample::cpu_utilization)).build();
        let load = meter.f64_observable_gauge("system.cpu.load_average.1m").with_unit("{thread}");
        load.with_callback(self.callback(|sample, to| to.observe(sample.load, &[]))).build();
        let memory = meter.u64_observable_gauge("system.memory.usage").with_unit("By");
        memory.with_callback(self.callback(Sample::memory_usage)).build();
        let filesystem = meter.u64_observable_gauge("system.filesystem.usage").with_unit("By");
        filesystem.with_callback(self.callback(Sample::filesystem_usage)).build();
        let disk = meter.u64_observable_counter("system.disk.io").with_unit("By");
        disk.with_callback(self.callback(Sample::disk_io)).build();
        let network = meter.u64_observable_counter("system.network.io").with_unit("By");
        network.with_callback(self.callback(Sample::network_io)).build();
    }

    fn callback<T>(
        &self,
        observe: impl Fn(&Sample, &dyn AsyncInstrument<T>) + Send + Sync + 'static,
    ) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
        let observed = self.clone();
        move |to| {
            if let Some(sample) = &*observed.lock() {
                observe(sample, to);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn cpu_utilization(&self, to: &dyn AsyncInstrument<f64>) {
        for (number, utilization) in (0_i64..).zip(&self.cpus) {
            to.observe(*utilization, &[KeyValue::new("cpu.logical_number", number)]);
        }
    }

    fn memory_usage(&self, to: &dyn AsyncInstrument<u64>) {
        to.observe(self.memory_used, &[KeyValue::new("system.memory.state", "used")]);
        to.observe(self.memory_free, &[KeyValue::new("system.memory.state", "free")]);
    }

    fn filesystem_usage(&self, to: &dyn AsyncInstrument<u64>) {
        for disk in &self.disks {
            let attributes = |state| {
                [
                    KeyValue::new("system.device", disk.name().to_string_lossy().into_owned()),
                    KeyValue::new(
                        "system.filesystem.mountpoint",
                        disk.mount_point().to_string_lossy().into_owned(),
                    ),
                    KeyValue::new("system.filesystem.state", state),
                ]
            };
            to.observe(
                disk.total_space().saturating_sub(disk.available_space()),
                &attributes("used"),
            );
            to.observe(disk.available_space(), &attributes("free"));
        }
    }

    fn disk_io(&self, to: &dyn AsyncInstrument<u64>) {
        for disk in &self.disks {
            let device = KeyValue::new("system.device", disk.name().to_string_lossy().into_owned());
            let usage = disk.usage();
            to.observe(
                usage.total_read_bytes,
                &[device.clone(), KeyValue::new("disk.io.direction", "read")],
            );
            to.observe(
                usage.total_written_bytes,
                &[device, KeyValue::new("disk.io.direction", "write")],
            );
        }
    }

    fn network_io(&self, to: &dyn AsyncInstrument<u64>) {
        for (name, network) in &self.networks {
            let device = KeyValue::new("network.interface.name", name.clone());
            to.observe(
                network.total_received(),
                &[device.clone(), KeyValue::new("network.io.direction", "receive")],
            );
            to.observe(
                network.total_transmitted(),
                &[device, KeyValue::new("network.io.direction", "transmit")],
            );
        }
    }
}
