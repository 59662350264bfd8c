//! What the system says of this process, under the names that all Prometheus clients use.

use std::fmt;

use procfs::process::{LimitValue, Process as Procfs};
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::gather::Page;

/// Asks the system when somebody asks. Where it does not answer, the figures are left out.
#[derive(Debug)]
pub(super) struct Process;

#[expect(clippy::cast_precision_loss, reason = "measures for people")]
impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        let Ok(process) = Procfs::myself() else { return Ok(()) };
        let ticks = procfs::ticks_per_second() as f64;
        if let Ok(stat) = process.stat() {
            let seconds = (stat.utime + stat.stime) as f64 / ticks;
            page.counter("process_cpu_seconds", "Processor time that this process used", seconds)?;
            let resident = stat.rss.saturating_mul(procfs::page_size());
            page.gauge("process_resident_memory_bytes", "Memory that this process has", resident as f64)?;
            page.gauge("process_virtual_memory_bytes", "Addresses that this process has", stat.vsize as f64)?;
            page.gauge("process_threads", "Threads of this process", stat.num_threads)?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let started = boot as f64 + stat.starttime as f64 / ticks;
                page.gauge("process_start_time_seconds", "When this process started, since the epoch", started)?;
            }
        }
        if let Ok(open) = process.fd_count() {
            page.gauge(
                "process_open_fds",
                "Files and connections that are open",
                i64::try_from(open).unwrap_or(i64::MAX),
            )?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            page.gauge("process_max_fds", "Files and connections that may be open", most as f64)?;
        }
        Ok(())
    }
}
