//! What `bench` says: figures, bars, the machine; for people and for programs.
//!
//! Owns units, rounding and the words for a bar that is missed. Must never leave one out.

use crate::app::terminal::{say, table};
use crate::dialect::object::Object;

/// What was measured of one system.
#[derive(Clone, Debug, Default)]
pub(super) struct Figure {
    pub scenario: &'static str,
    pub case: String,
    /// `daemon`, or the ceiling: `memory`, `fdatasync`.
    pub system: &'static str,
    pub rounds: usize,
    /// Events of a round.
    pub events: u64,
    /// Deliveries of an event.
    pub fan_out: u64,
    /// Deliveries that arrived, in all rounds.
    pub arrived: u64,
    /// Those that came more than once.
    pub repeats: u64,
    pub events_per_s: f64,
    /// From the start of the publish to the arrival, or the 202 where nothing is delivered.
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_us_per_event: f64,
    /// From the start of the daemon on, with all that is filled and made once.
    pub bytes_per_event: Option<f64>,
    /// The median round's.
    pub bytes_per_event_of_round: Option<f64>,
    pub rss_peak_bytes: u64,
}

/// What has to be reached.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub name: String,
    pub value: f64,
    pub limit: f64,
    pub unit: &'static str,
    /// The limit is a floor, not a ceiling.
    pub at_least: bool,
}

/// Where and how it was measured.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub cpus: u64,
    pub cpu: String,
    pub memory_bytes: u64,
    pub kernel: String,
    pub directory: String,
    pub file_system: String,
    pub is_durable: bool,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub figures: Vec<Figure>,
    pub bars: Vec<Bar>,
}

impl Bar {
    pub(super) fn at_most(
        name: impl Into<String>,
        value: f64,
        limit: f64,
        unit: &'static str,
    ) -> Bar {
        Bar { name: name.into(), value, limit, unit, at_least: false }
    }

    pub(super) fn at_least(
        name: impl Into<String>,
        value: f64,
        limit: f64,
        unit: &'static str,
    ) -> Bar {
        Bar { name: name.into(), value, limit, unit, at_least: true }
    }

    pub(super) fn is_reached(&self) -> bool {
        if self.at_least { self.value >= self.limit } else { self.value <= self.limit }
    }
}

impl Findings {
    /// What one scenario found.
    pub(super) fn add(&mut self, other: Findings) {
        self.figures.extend(other.figures);
        self.bars.extend(other.bars);
    }

    /// The bars that were missed.
    pub(super) fn missed(&self) -> usize {
        self.bars.iter().filter(|bar| !bar.is_reached()).count()
    }

    /// Prints what was found: an object a line.
    pub(super) fn print_json(&self) {
        for figure in &self.figures {
            print(figure.object());
        }
        for bar in &self.bars {
            print(bar.object());
        }
    }

    /// Prints what was found: a table of figures and one of bars.
    pub(super) fn print_tables(&self) {
        if !self.figures.is_empty() {
            let rows: Vec<Vec<String>> = self.figures.iter().map(Figure::row).collect();
            say(&format!("\n{}", table(&FIGURE_HEAD, &rows)));
        }
        if !self.bars.is_empty() {
            let rows: Vec<Vec<String>> = self.bars.iter().map(Bar::row).collect();
            say(&format!("\n{}", table(&BAR_HEAD, &rows)));
        }
    }
}

const FIGURE_HEAD: [&str; 11] = [
    "SCENARIO",
    "CASE",
    "SYSTEM",
    "EVENTS/S",
    "P50 MS",
    "P99 MS",
    "CPU µS/EVENT",
    "BYTES/EVENT",
    "OF A ROUND",
    "PEAK RSS",
    "REPEATS",
];
const BAR_HEAD: [&str; 4] = ["", "BAR", "MEASURED", "WANTED"];

impl Figure {
    fn object(&self) -> Object {
        let object = Object::new()
            .text("figure", self.scenario)
            .text("case", &self.case)
            .text("system", self.system)
            .number("rounds", self.rounds as u64)
            .number("events", self.events)
            .number("fan_out", self.fan_out)
            .number("arrived", self.arrived)
            .number("repeats", self.repeats);
        let object = real(object, "events_per_s", Some(self.events_per_s));
        let deliveries = self.events_per_s * self.fan_out as f64;
        let object = real(object, "deliveries_per_s", Some(deliveries));
        let object = real(object, "p50_ms", Some(self.p50_ms));
        let object = real(object, "p99_ms", Some(self.p99_ms));
        let object = real(object, "cpu_us_per_event", Some(self.cpu_us_per_event));
        let object = real(object, "bytes_per_event", self.bytes_per_event);
        let object = real(object, "bytes_per_event_of_round", self.bytes_per_event_of_round);
        object.number("rss_peak_bytes", self.rss_peak_bytes)
    }

    fn row(&self) -> Vec<String> {
        let bytes = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), shown);
        vec![
            self.scenario.to_owned(),
            self.case.clone(),
            self.system.to_owned(),
            format!("{:.0}", self.events_per_s),
            shown(self.p50_ms),
            shown(self.p99_ms),
            shown(self.cpu_us_per_event),
            bytes(self.bytes_per_event),
            bytes(self.bytes_per_event_of_round),
            format!("{} MiB", shown(mebibytes(self.rss_peak_bytes))),
            self.repeats.to_string(),
        ]
    }
}

impl Bar {
    fn object(&self) -> Object {
        let object = Object::new().text("bar", &self.name);
        let object = real(object, "value", Some(self.value));
        let object = real(object, "limit", Some(self.limit));
        object
            .text("unit", self.unit)
            .text("wanted", if self.at_least { "at least" } else { "at most" })
            .flag("reached", self.is_reached())
    }

    fn row(&self) -> Vec<String> {
        let sign = if self.at_least { "≥" } else { "≤" };
        vec![
            if self.is_reached() { "ok" } else { "MISSED" }.to_owned(),
            self.name.clone(),
            format!("{} {}", shown(self.value), self.unit),
            format!("{sign} {} {}", shown(self.limit), self.unit),
        ]
    }
}

impl Machine {
    /// Prints it, with what an acknowledgement is worth here.
    pub(super) fn print(&self, json: bool) {
        if json {
            let object = Object::new()
                .text("postrider", env!("CARGO_PKG_VERSION"))
                .flag("release", !cfg!(debug_assertions))
                .number("cpus", self.cpus)
                .text("cpu", &self.cpu)
                .number("memory_bytes", self.memory_bytes)
                .text("kernel", &self.kernel)
                .text("directory", &self.directory)
                .text("file_system", &self.file_system)
                .flag("durable", self.is_durable);
            return print(object);
        }
        say(&format!(
            "postrider {}{}, {} x {}, {:.0} GiB, Linux {}",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) { " (not a release build)" } else { "" },
            self.cpus,
            self.cpu,
            mebibytes(self.memory_bytes) / 1_024.0,
            self.kernel
        ));
        say(&format!("{} is {}: {}", self.directory, self.file_system, self.durability()));
        say("events of 1,200 bytes; every role is its own process; medians of the rounds");
    }

    fn durability(&self) -> &'static str {
        if self.is_durable {
            "each 202 of the daemon and of `fdatasync` comes after an fdatasync"
        } else {
            "nothing is durable in memory, and an fdatasync costs nothing; choose a disk with --dir"
        }
    }
}

fn print(object: Object) {
    say(&String::from_utf8_lossy(&object.end()));
}

fn real(object: Object, key: &str, value: Option<f64>) -> Object {
    match value {
        Some(value) if value.is_finite() => object.raw(key, format!("{value:.3}").as_bytes()),
        _ => object.raw(key, b"null"),
    }
}

/// Three digits that count.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1_024.0 * 1_024.0)
}

/// The median; of an even number, the lower one of the two.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_missed_on_their_own_side() {
        assert!(Bar::at_most("a", 2.5, 2.5, "x").is_reached());
        assert!(!Bar::at_most("a", 2.6, 2.5, "x").is_reached());
        assert!(!Bar::at_most("a", f64::NAN, 2.5, "x").is_reached());
        assert!(!Bar::at_least("a", 0.5, 0.6, "x").is_reached());
        let bars = vec![Bar::at_least("a", 0.7, 0.6, "x"), Bar::at_most("b", 3.0, 1.0, "x")];
        let findings = Findings { bars, ..Findings::default() };
        assert_eq!(findings.missed(), 1);
    }

    #[test]
    fn medians_and_digits() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
        assert_eq!([0.126, 12.34, 1234.5].map(shown), ["0.13", "12.3", "1234"]);
    }
}
