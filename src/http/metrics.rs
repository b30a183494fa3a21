//! `/metrics`: figures for Prometheus, as text.
//!
//! Owns the names, the labels and the text, and what intake counts. Must never hold a label whose
//! values grow with webhooks, targets, projects or events, and never do work that grows with the
//! queue.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Response, StatusCode};

use super::api::Api;
use super::body::Body;
use super::respond;
use crate::clock;
use crate::dialect::names;
use crate::engine::counters::{
    ATTEMPT_BOUNDS_MS, COMMIT_BOUNDS_MS, Counters, Histogram, LATENCY_BOUNDS_MS,
};
use crate::logic::dispatcher::Figures;
use crate::model::event::{Kind, Source};
use crate::model::time::{Now, SECOND_MS};
use crate::source;

/// Prometheus' text format.
pub(super) const TEXT: &str = "text/plain; version=0.0.4";
/// Where events come in.
pub(super) const SOURCES: [Source; 9] = [
    Source::Native,
    Source::Test,
    Source::Send,
    Source::Uploadcare,
    Source::Tusd,
    Source::S3,
    Source::CloudEvents,
    Source::SeaweedFs,
    Source::Nextcloud,
];
pub(super) const KINDS: [Kind; 14] = [
    Kind::FileUploaded,
    Kind::FileInfected,
    Kind::FileStored,
    Kind::FileInfoUpdated,
    Kind::FileDeleted,
    Kind::GroupCreated,
    Kind::GroupUpdated,
    Kind::GroupDeleted,
    Kind::ActionCreated,
    Kind::ActionUpdated,
    Kind::SessionCreated,
    Kind::SessionCancelled,
    Kind::SessionCompleted,
    Kind::Custom,
];
/// Why requests with events are refused.
const REASONS: [&str; 6] =
    ["invalid", "unauthorized", "conflict", "too_large", "throttled", "unavailable"];

/// What is counted of events that come in.
#[derive(Debug, Default)]
pub(super) struct IntakeCounters {
    accepted: [[AtomicU64; KINDS.len()]; SOURCES.len()],
    rejected: [[AtomicU64; REASONS.len()]; SOURCES.len()],
}

impl IntakeCounters {
    /// Events were accepted; those that had been before are not counted again.
    pub(super) fn accepted(&self, source: Source, kinds: &[Kind], duplicate: bool) {
        if duplicate {
            return;
        }
        for kind in kinds {
            let kind = KINDS.iter().position(|known| known == kind).unwrap_or(KINDS.len() - 1);
            self.accepted[source_index(source)][kind].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request with events was answered so.
    pub(super) fn answered(&self, source: Source, status: StatusCode) {
        let reason = match status.as_u16() {
            status if status < 400 => return,
            401 | 403 => "unauthorized",
            409 => "conflict",
            413 => "too_large",
            429 => "throttled",
            500.. => "unavailable",
            _ => "invalid",
        };
        let reason = REASONS.iter().position(|known| *known == reason).unwrap_or(0);
        self.rejected[source_index(source)][reason].fetch_add(1, Ordering::Relaxed);
    }
}

fn source_index(source: Source) -> usize {
    SOURCES.iter().position(|known| *known == source).unwrap_or(0)
}

/// All figures.
pub(super) async fn show(api: &Api) -> Response<Body> {
    let figures = api.handle.figures().await.unwrap_or_default();
    let mut text = Text::default();
    text.family("postrider_build_info", "gauge", "The version that runs.");
    text.sample("postrider_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    intake(api, &mut text);
    queue(api, figures, &mut text);
    deliveries(api.handle.counters(), &mut text);
    webhooks(api, &mut text);
    store(api, &mut text);
    process(api, &mut text);
    respond::bytes(StatusCode::OK, TEXT, text.0.into_bytes())
}

fn intake(api: &Api, text: &mut Text) {
    let name = "postrider_events_accepted_total";
    text.family(name, "counter", "Events accepted, by source and canonical type.");
    for (source, kinds) in SOURCES.iter().zip(&api.intake.accepted) {
        for (kind, count) in KINDS.iter().zip(kinds) {
            let labels = [("source", source::name(*source)), ("type", names::canonical(*kind))];
            text.counted(name, &labels, count.load(Ordering::Relaxed));
        }
    }
    let name = "postrider_events_rejected_total";
    text.family(name, "counter", "Requests with events that were refused, by source and reason.");
    for (source, reasons) in SOURCES.iter().zip(&api.intake.rejected) {
        for (reason, count) in REASONS.iter().zip(reasons) {
            let labels = [("source", source::name(*source)), ("reason", *reason)];
            text.counted(name, &labels, count.load(Ordering::Relaxed));
        }
    }
}

fn queue(api: &Api, figures: Figures, text: &mut Text) {
    let stats = api.handle.stats().unwrap_or_default();
    let name = "postrider_queue_deliveries";
    let help = "Deliveries that wait: ready were never attempted, scheduled were; those in_flight are \
                counted among both.";
    text.family(name, "gauge", help);
    let ready = stats.pending.saturating_sub(stats.pending_retry);
    text.sample(name, &[("state", "ready")], ready);
    text.sample(name, &[("state", "scheduled")], stats.pending_retry);
    text.sample(name, &[("state", "in_flight")], figures.in_flight);
    let name = "postrider_queue_oldest_ready_age_seconds";
    text.family(name, "gauge", "How long the oldest delivery that could be attempted has waited.");
    let now = clock::now();
    let age_ms = figures.oldest_ready.map_or(0, |due| now.wall.since(due));
    text.sample(name, &[], Seconds(age_ms));
    let name = "postrider_targets";
    text.family(name, "gauge", "Targets that webhooks point to.");
    text.sample(name, &[], figures.targets);
}

fn deliveries(counters: &Counters, text: &mut Text) {
    let name = "postrider_delivery_attempts_total";
    text.family(name, "counter", "Attempts, by what came of them and the class of the status.");
    for (outcome, class, count) in counters.attempts() {
        text.sample(name, &[("outcome", outcome), ("code_class", class)], count);
    }
    let help = "How long attempts took, from the look-up of the name to the last byte.";
    let name = "postrider_delivery_attempt_duration_seconds";
    text.histogram(name, help, &ATTEMPT_BOUNDS_MS, &counters.attempt_ms);
    let help = "From an event's acceptance to its delivery.";
    let name = "postrider_delivery_latency_seconds";
    text.histogram(name, help, &LATENCY_BOUNDS_MS, &counters.latency_ms);
    let name = "postrider_deliveries_finished_total";
    let help = "Deliveries that ended by an attempt or by themselves, by how; those of a webhook \
                that was closed are not among them.";
    text.family(name, "counter", help);
    for (result, count) in counters.results() {
        text.sample(name, &[("result", result)], count);
    }
}

fn webhooks(api: &Api, text: &mut Text) {
    let states = ["active", "inactive", "paused", "disabled"];
    let mut counts = [0_u64; 4];
    {
        let catalog = api.handle.catalog();
        for webhook in catalog.webhooks().filter(|webhook| !webhook.hidden) {
            if let Some(at) = states.iter().position(|state| *state == webhook.state.as_str()) {
                counts[at] += 1;
            }
        }
    }
    let name = "postrider_webhooks";
    text.family(name, "gauge", "Webhooks, by state.");
    for (state, count) in states.iter().zip(counts) {
        text.sample(name, &[("state", *state)], count);
    }
}

fn store(api: &Api, text: &mut Text) {
    let stats = api.handle.stats().unwrap_or_default();
    text.family("postrider_store_bytes", "gauge", "Bytes of the store on disk.");
    text.sample("postrider_store_bytes", &[], stats.bytes);
    if let Some(free_bytes) = stats.free_bytes {
        text.family("postrider_store_free_bytes", "gauge", "Bytes that are free on its disk.");
        text.sample("postrider_store_free_bytes", &[], free_bytes);
    }
    let name = "postrider_store_quarantined_records";
    text.family(name, "gauge", "Records that were found damaged and set aside.");
    text.sample(name, &[], stats.quarantined);
    let name = "postrider_store_commit_duration_seconds";
    let help = "How long commits took that somebody waited for, the wait for others included.";
    text.histogram(name, help, &COMMIT_BOUNDS_MS, &api.handle.counters().commit_ms);
}

fn process(api: &Api, text: &mut Text) {
    let Now { wall, mono } = clock::now();
    let ticked_ms = wall.0.saturating_sub(mono.since(api.handle.ticked()));
    let name = "postrider_watchdog_last_tick_timestamp_seconds";
    text.family(name, "gauge", "When the loop turned last.");
    text.sample(name, &[], Seconds(ticked_ms));
    let name = "process_start_time_seconds";
    text.family(name, "gauge", "When the process started.");
    text.sample(name, &[], Seconds(api.started.0));
    let own = Own::read();
    if let Some(cpu_ms) = own.cpu_ms {
        text.family("process_cpu_seconds_total", "counter", "CPU time, user and system.");
        text.sample("process_cpu_seconds_total", &[], Seconds(cpu_ms));
    }
    if let Some(bytes) = own.resident_bytes {
        text.family("process_resident_memory_bytes", "gauge", "Memory in RAM.");
        text.sample("process_resident_memory_bytes", &[], bytes);
    }
    if let Some(fds) = own.open_fds {
        text.family("process_open_fds", "gauge", "Open file descriptors.");
        text.sample("process_open_fds", &[], fds);
    }
}

/// What Linux says of this process.
#[derive(Default)]
struct Own {
    cpu_ms: Option<u64>,
    resident_bytes: Option<u64>,
    open_fds: Option<u64>,
}

/// Milliseconds of one tick in `/proc`: Linux shows 100 a second to programs, whatever its own.
const TICK_MS: u64 = 10;
/// The first field of `/proc/self/stat` after the name is the third; utime is the 14th.
const UTIME_AFTER_NAME: usize = 11;
const KIB: u64 = 1_024;

impl Own {
    fn read() -> Own {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Own {
            cpu_ms: cpu_ms(&stat),
            resident_bytes: resident_bytes(&status),
            open_fds: std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as u64),
        }
    }
}

fn cpu_ms(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(UTIME_AFTER_NAME);
    let (user, system): (u64, u64) = (times.next()?.parse().ok()?, times.next()?.parse().ok()?);
    Some((user + system) * TICK_MS)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * KIB)
}

/// Milliseconds, shown as seconds.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / SECOND_MS, self.0 % SECOND_MS)
    }
}

/// The text under construction. Writing to a string does not fail.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A value. Labels are words of ours: nothing in them needs an escape.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, of)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{of}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A counter, once it has counted something.
    fn counted(&mut self, name: &str, labels: &[(&str, &str)], count: u64) {
        if count > 0 {
            self.sample(name, labels, count);
        }
    }

    fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        bounds_ms: &[u64; N],
        histogram: &Histogram<N>,
    ) {
        self.family(name, "histogram", help);
        let (cumulated, all, sum_ms) = histogram.read();
        let bucket = format!("{name}_bucket");
        for (bound_ms, count) in bounds_ms.iter().zip(cumulated) {
            let bound = (*bound_ms as f64 / SECOND_MS as f64).to_string();
            self.sample(&bucket, &[("le", bound.as_str())], count);
        }
        self.sample(&bucket, &[("le", "+Inf")], all);
        self.sample(&format!("{name}_sum"), &[], Seconds(sum_ms));
        self.sample(&format!("{name}_count"), &[], all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.family("a_total", "counter", "Some.");
        text.sample("a_total", &[("b", "c"), ("d", "e")], 3);
        text.counted("a_total", &[], 0);
        text.sample("f", &[], Seconds(61_005));
        let want =
            "# HELP a_total Some.\n# TYPE a_total counter\na_total{b=\"c\",d=\"e\"} 3\nf 61.005\n";
        assert_eq!(text.0, want);
    }

    #[test]
    fn what_proc_says() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20";
        assert_eq!(cpu_ms(stat), Some(3_000));
        assert_eq!(cpu_ms(""), None);
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t     12 kB\n"), Some(12 * 1024));
        let own = Own::read();
        assert!(own.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert!(own.open_fds.is_some_and(|fds| fds > 0));
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| names::canonical(*kind)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn refusals_are_told_apart() {
        let counters = IntakeCounters::default();
        for (status, reason) in [
            (400, "invalid"),
            (401, "unauthorized"),
            (409, "conflict"),
            (413, "too_large"),
            (422, "invalid"),
            (429, "throttled"),
            (503, "unavailable"),
        ] {
            counters.answered(Source::S3, StatusCode::from_u16(status).expect("a status"));
            let at = REASONS.iter().position(|known| *known == reason).expect("known");
            let count = counters.rejected[source_index(Source::S3)][at].swap(0, Ordering::Relaxed);
            assert_eq!(count, 1, "{status}");
        }
        counters.answered(Source::S3, StatusCode::ACCEPTED);
        assert!(counters.rejected.iter().flatten().all(|one| one.load(Ordering::Relaxed) == 0));
    }
}
