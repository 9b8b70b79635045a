//! `--metrics FILE`: the text format of Prometheus, for the textfile collector of node_exporter. Written under another name
//! and renamed, so that nobody reads half of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prometheus::{
    Counter, Encoder, Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::super::files::Files;
use super::watch::Lost;
use crate::host::facts::Cost;
use crate::model::Losses;

/// What is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// Packets lost so far.
    pub(super) lost: Lost,
    /// Packets and flows followed so far.
    pub(super) followed: (u64, u64),
    /// Saves, refused and failed ones.
    pub(super) saves: u64,
    pub(super) suppressed: u64,
    pub(super) failed: u64,
    /// What is kept in memory: bytes and seconds.
    pub(super) kept: (usize, f64),
    /// What the kernel programs could not tell.
    pub(super) losses: Losses,
    /// What tracer itself costs, as it was told last.
    pub(super) cost: Option<Cost>,
}

/// All series.
struct Series {
    registry: Registry,
    lost: IntCounterVec,
    packets: IntCounter,
    flows: IntCounter,
    saves: IntCounter,
    suppressed: IntCounter,
    failed: IntCounter,
    events_lost: IntCounter,
    events_thinned: IntCounter,
    kept_bytes: IntGauge,
    kept_seconds: Gauge,
    memory: IntGauge,
    cpu: Counter,
    programs: Gauge,
}

impl Series {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let one = IntCounter::new(format!("tracer_hold_{name}"), help)?;
            registry.register(Box::new(one.clone())).map(|()| one)
        };
        let number = |name: &str, help: &str| {
            let one = IntGauge::new(format!("tracer_hold_{name}"), help)?;
            registry.register(Box::new(one.clone())).map(|()| one)
        };
        let gauge = |name: &str, help: &str| {
            let one = Gauge::new(format!("tracer_hold_{name}"), help)?;
            registry.register(Box::new(one.clone())).map(|()| one)
        };
        let lost = IntCounterVec::new(
            Opts::new(
                "tracer_hold_lost_packets_total",
                "Packets lost or not answered, by cause and place",
            ),
            &["cause", "namespace", "interface", "hook"],
        )?;
        registry.register(Box::new(lost.clone()))?;
        let cpu = Counter::new(
            "tracer_hold_cpu_seconds_total",
            "CPU time of this process, without the programs in the kernel",
        )?;
        registry.register(Box::new(cpu.clone()))?;
        Ok(Self {
            lost,
            packets: counter("packets_total", "Packets followed")?,
            flows: counter("flows_total", "Flows followed")?,
            saves: counter("saves_total", "Incidents saved")?,
            suppressed: counter(
                "saves_suppressed_total",
                "Incidents not saved because there were too many in an hour",
            )?,
            failed: counter("saves_failed_total", "Incidents that could not be saved")?,
            events_lost: counter(
                "events_lost_total",
                "Events lost because the ring buffer of the kernel was full",
            )?,
            events_thinned: counter(
                "events_thinned_total",
                "Events left out because there were more than --budget allows",
            )?,
            kept_bytes: number("kept_bytes", "Memory taken by the minutes that are kept")?,
            kept_seconds: gauge("kept_seconds", "How much of the past is kept")?,
            memory: number("resident_memory_bytes", "Memory of this process in RAM")?,
            cpu,
            programs: gauge(
                "programs_cpu_ratio",
                "Share of one processor that the programs in the kernel take, where it was measured",
            )?,
            registry,
        })
    }

    fn set(&self, figures: &Figures) {
        for (at, packets) in &figures.lost {
            let labels = [&at.cause, &at.namespace, &at.interface, &at.hook];
            rise(&self.lost.with_label_values(&labels), *packets);
        }
        let (packets, flows) = figures.followed;
        let sum = |by_hook: &[(String, u64)]| by_hook.iter().map(|(_, n)| n).sum();
        for (series, value) in [
            (&self.packets, packets),
            (&self.flows, flows),
            (&self.saves, figures.saves),
            (&self.suppressed, figures.suppressed),
            (&self.failed, figures.failed),
            (&self.events_lost, sum(&figures.losses.lost)),
            (&self.events_thinned, sum(&figures.losses.thinned)),
        ] {
            rise(series, value);
        }
        let (bytes, seconds) = figures.kept;
        self.kept_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.kept_seconds.set(seconds);
        if let Some(cost) = &figures.cost {
            self.memory
                .set(i64::try_from(cost.memory).unwrap_or(i64::MAX));
            let more = seconds_of(cost.threads_ns) - self.cpu.get();
            self.cpu.inc_by(more.max(0.0));
            if let Some(ns) = cost.programs_per_s() {
                self.programs.set(seconds_of(ns));
            }
        }
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let all = self.registry.gather();
        TextEncoder::new()
            .encode(&all, &mut text)
            .map_err(io::Error::other)?;
        Ok(text)
    }
}

/// A counter never falls: a loss for which another cause was found is counted there from then on.
fn rise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

#[expect(clippy::cast_precision_loss, reason = "microseconds are enough")]
fn seconds_of(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The file and what is told in it.
pub(super) struct Metrics {
    series: Series,
    path: PathBuf,
    part: PathBuf,
    files: Files,
}

impl Metrics {
    /// Nothing is written yet.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub(super) fn new(path: &Path, files: &Files) -> io::Result<Self> {
        let mut part = path.as_os_str().to_owned();
        // The collector reads files that end in .prom.
        part.push(".part");
        Ok(Self {
            series: Series::new().map_err(io::Error::other)?,
            path: path.to_owned(),
            part: part.into(),
            files: files.clone(),
        })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, figures: &Figures) -> io::Result<()> {
        self.series.set(figures);
        let text = self.series.text()?;
        let mut file = self.files.create(&self.part)?;
        file.set_len(0)?;
        file.write_all(&text)?;
        drop(file);
        self.files.rename(&self.part, &self.path)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends where it fails")]
mod tests {
    use super::super::watch::LostAt;
    use super::*;

    fn at(cause: &str, interface: &str) -> LostAt {
        LostAt {
            cause: cause.to_owned(),
            namespace: "pod shop/\"cart\"".to_owned(),
            interface: interface.to_owned(),
            hook: "route".to_owned(),
        }
    }

    fn text(series: &Series, figures: &Figures) -> String {
        series.set(figures);
        String::from_utf8(series.text().unwrap()).unwrap()
    }

    #[test]
    fn each_series_has_its_help_and_labels_are_escaped() {
        let figures = Figures {
            lost: [(at("route.none", "a\\b\n"), 7)].into(),
            followed: (20, 2),
            saves: 1,
            kept: (1000, 2.5),
            ..Figures::default()
        };
        insta::assert_snapshot!(text(&Series::new().unwrap(), &figures));
    }

    #[test]
    fn counters_never_fall() {
        let series = Series::new().unwrap();
        let mut figures = Figures {
            lost: [(at("kernel.other", "eth0"), 7)].into(),
            ..Figures::default()
        };
        text(&series, &figures);
        figures.lost = [
            (at("kernel.other", "eth0"), 3),
            (at("route.none", "eth0"), 4),
        ]
        .into();
        let told = text(&series, &figures);
        let values: Vec<&str> = told
            .lines()
            .filter(|line| line.starts_with("tracer_hold_lost_packets_total{"))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        assert_eq!(values, ["7", "4"]);
    }
}
