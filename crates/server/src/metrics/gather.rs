//! What is looked up when somebody asks: the state of the parts of a server. Nothing here waits for a box or a write.

use std::fmt;

use longshore_engine::{Engine, Runs, bash::BashService};
use longshore_sandbox::{Census, Sandboxes};
use longshore_store::{LATENCY_BOUNDS, Vitals};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
        NoLabelSet,
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tokio_util::task::TaskTracker;

/// The parts of a server that are asked.
#[derive(Debug)]
pub(crate) struct Gatherer {
    pub(crate) engine: Engine,
    pub(crate) bash: BashService,
    pub(crate) sandboxes: Option<Sandboxes>,
    pub(crate) sockets: TaskTracker,
    /// The commit that the server was built from.
    pub(crate) commit: String,
}

impl Collector for Gatherer {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        page.gauges(
            "longshore_build_info",
            "Always 1; the labels tell which program this is",
            [([("version", env!("CARGO_PKG_VERSION")), ("commit", &*self.commit)], 1_i64)],
        )?;
        page.gauge("longshore_sockets_open", "WebSocket connections that are open", whole(self.sockets.len()))?;
        self.work(&mut page)?;
        if let Some(sandboxes) = &self.sandboxes {
            boxes(&mut page, &sandboxes.census())?;
        }
        self.store(&mut page)
    }
}

impl Gatherer {
    fn work(&self, page: &mut Page<'_>) -> fmt::Result {
        let Runs { working, most, waiting } = self.engine.runs();
        page.gauge("longshore_runs_active", "Runs of agents that are under way", whole(working))?;
        page.gauge("longshore_runs_limit", "Runs of agents that may be under way", whole(most))?;
        page.gauge("longshore_run_queue_length", "Runs that wait for their turn", whole(waiting))?;
        let loaded = whole(self.engine.in_memory_count());
        page.gauge("longshore_conversations_loaded", "Conversations that are in memory", loaded)?;
        page.gauge("longshore_commands_running", "Commands that clients run", whole(self.bash.running()))
    }

    fn store(&self, page: &mut Page<'_>) -> fmt::Result {
        let store = self.engine.store();
        let Vitals { writes, latency, waiting, errors } = store.vitals();
        page.counter("longshore_store_writes", "Writes to the store that ended", writes)?;
        page.counter("longshore_store_errors", "Reads and writes that failed because of the store", errors)?;
        page.gauge("longshore_store_writes_waiting", "Writes that wait for the one under way", whole(waiting))?;
        let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
        let classes: Vec<_> = bounds.zip(latency.classes).collect();
        let count = latency.classes.iter().sum();
        let name = "longshore_store_write_duration_seconds";
        let help = "Time until a write is on disk, waiting included";
        let mut histogram = page.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        histogram.encode_histogram::<NoLabelSet>(latency.total.as_secs_f64(), count, &classes, None)?;
        // Without the file system's answer the figures are left out, which an alert notices.
        let Ok(space) = store.space() else { return Ok(()) };
        page.gauge("longshore_store_database_bytes", "Size of the database", long(space.database))?;
        page.gauge("longshore_store_wal_bytes", "Size of the write-ahead log", long(space.log))?;
        page.gauge("longshore_disk_free_bytes", "Room that is left on the disk of the data folder", long(space.free))?;
        page.gauge("longshore_disk_size_bytes", "Size of the disk of the data folder", long(space.disk))
    }
}

fn boxes(page: &mut Page<'_>, census: &Census) -> fmt::Result {
    let states = census.states.iter().map(|(state, count, _)| ([("state", state.as_str())], whole(*count)));
    page.gauges("longshore_boxes", "Boxes by what they do", states)?;
    let changes = census.states.iter().map(|(state, _, changes)| ([("state", state.as_str())], *changes));
    page.counters("longshore_box_changes", "How often a box came to be in a state", changes)?;
    page.gauge("longshore_boxes_limit", "Boxes that there may be", whole(census.most))?;
    page.gauge("longshore_boxes_waiting", "Boxes that wait in pools to be given out", whole(census.waiting))?;
    page.gauge(
        "longshore_boxes_measured",
        "Awake boxes with a limit, which the others are about",
        whole(census.measured),
    )?;
    page.gauge("longshore_boxes_cpu_cores", "Processors that all boxes use", census.sum.processors)?;
    page.gauge("longshore_boxes_memory_bytes", "Memory that all boxes use", long(census.sum.memory))?;
    page.gauge("longshore_boxes_disk_bytes", "Disk that all boxes use", long(census.sum.disk))?;
    page.gauge("longshore_box_cpu_cores_max", "Processors that one box uses at most", census.max.processors)?;
    page.gauge("longshore_box_memory_bytes_max", "Memory that one box uses at most", long(census.max.memory))?;
    page.gauge("longshore_box_disk_bytes_max", "Disk that one box uses at most", long(census.max.disk))?;
    page.gauge("longshore_box_memory_ratio_max", "Share of its memory that one box uses at most", census.memory_share)?;
    page.gauge("longshore_box_disk_ratio_max", "Share of its disk that one box uses at most", census.disk_share)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The text that is being written.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub(super) fn gauge<N: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    pub(super) fn counter<N: EncodeCounterValue>(&mut self, name: &str, help: &str, value: N) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn gauges<'l, L: AsRef<[(&'l str, &'l str)]>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&Labels(labels.as_ref()))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<'l, L: AsRef<[(&'l str, &'l str)]>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&Labels(labels.as_ref()))?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }
}

/// Labels with their values.
#[derive(Debug)]
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}
