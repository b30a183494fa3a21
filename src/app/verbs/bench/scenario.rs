//! The scenarios of throughput and latency, and of a daemon that has nothing to do.
//!
//! Owns their sizes and their bars. Must never compare figures of different runs.

use super::measure::{Load, compare};
use super::report::{Bar, Figure, Findings, mebibytes, median};
use super::{BenchError, Context};
use crate::app::args::Scenario;
use crate::clock;

/// Publishers, unless told otherwise.
const PUBLISHERS: u32 = 64;
/// Events of a round, where as many as possible are published.
const EVENTS: u64 = 20_000;
const EVENTS_OF_ONE_PUBLISHER: u64 = 3_000;
const EVENTS_OF_FAN_OUT: u64 = 4_000;
const FAN_OUT: u64 = 10;
const GENTLE_PER_S: u64 = 200;
const GENTLE_PUBLISHERS: u32 = 8;
const GENTLE_SECONDS: u64 = 4;
/// How long an idle daemon is left alone before its memory is looked at, in milliseconds.
const IDLE_MS: u64 = 3_000;

/// Measures a scenario that is not about scale.
pub(super) async fn run(context: &mut Context, scenario: Scenario) -> Result<Findings, BenchError> {
    match scenario {
        Scenario::Accept => accept(context).await,
        Scenario::EndToEnd => end_to_end(context).await,
        Scenario::FanOut => fan_out(context).await,
        Scenario::Gentle => gentle(context).await,
        _ => start(context).await,
    }
}

async fn accept(context: &mut Context) -> Result<Findings, BenchError> {
    let publishers = context.publishers.unwrap_or(PUBLISHERS);
    let load = Load::new(publishers, context.events.unwrap_or(EVENTS), 0);
    let case = format!("{publishers} publishers");
    let figures = compare(context, ("accept", &case), load).await?;
    Ok(Findings { figures, bars: Vec::new() })
}

async fn end_to_end(context: &mut Context) -> Result<Findings, BenchError> {
    let mut findings = Findings::default();
    let many = context.publishers.unwrap_or(PUBLISHERS);
    for publishers in [many, 1] {
        let events = if publishers == 1 { EVENTS_OF_ONE_PUBLISHER } else { EVENTS };
        let load = Load::new(publishers, context.events.unwrap_or(events), 1);
        let case = match publishers {
            1 => "1 publisher".to_owned(),
            many => format!("{many} publishers"),
        };
        let figures = compare(context, ("end-to-end", &case), load).await?;
        let mut bars = Vec::new();
        if let [daemon, memory, fdatasync] = &figures[..] {
            if publishers != 1 {
                let cpu = daemon.cpu_us_per_event / memory.cpu_us_per_event;
                bars.push(Bar::at_most("end to end 1:1, CPU per event", cpu, 2.5, "x memory"));
                let speed = daemon.events_per_s / fdatasync.events_per_s;
                bars.push(Bar::at_least("end to end 1:1, events/s", speed, 0.6, "x fdatasync"));
            }
            bars.push(bytes(daemon, &case, if publishers == 1 { 2.2 } else { 1.6 }));
        }
        findings.add(Findings { figures, bars });
    }
    Ok(findings)
}

fn bytes(daemon: &Figure, case: &str, limit: f64) -> Bar {
    let name = format!("written for an event of 1.2 KB, {case}");
    Bar::at_most(name, daemon.bytes_per_event.unwrap_or(f64::NAN) / 1e3, limit, "KB")
}

async fn fan_out(context: &mut Context) -> Result<Findings, BenchError> {
    let publishers = context.publishers.unwrap_or(PUBLISHERS);
    let load = Load::new(publishers, context.events.unwrap_or(EVENTS_OF_FAN_OUT), FAN_OUT);
    let figures = compare(context, ("fan-out", "1:10"), load).await?;
    let mut bars = Vec::new();
    if let [daemon, memory, _] = &figures[..] {
        let speed = daemon.events_per_s / memory.events_per_s;
        bars.push(Bar::at_least("fan-out 1:10, deliveries/s", speed, 0.6, "x memory"));
    }
    Ok(Findings { figures, bars })
}

async fn gentle(context: &mut Context) -> Result<Findings, BenchError> {
    let publishers = context.publishers.unwrap_or(GENTLE_PUBLISHERS);
    let events = GENTLE_PER_S * context.seconds.unwrap_or(GENTLE_SECONDS);
    let load = Load { rate: GENTLE_PER_S, ..Load::new(publishers, events, 1) };
    let figures = compare(context, ("gentle", "200 events/s"), load).await?;
    let mut bars = Vec::new();
    if let [daemon, _, fdatasync] = &figures[..] {
        let p50 = daemon.p50_ms / fdatasync.p50_ms;
        bars.push(Bar::at_most("gentle 200/s, p50 to arrival", p50, 2.0, "x fdatasync"));
    }
    Ok(Findings { figures, bars })
}

async fn start(context: &mut Context) -> Result<Findings, BenchError> {
    let (mut ready_ms, mut rss) = (Vec::new(), Vec::new());
    for number in 0..context.rounds {
        context.progress(number, "start: an empty directory");
        let daemon = context.daemon().await?;
        ready_ms.push(daemon.ready_us as f64 / 1e3);
        clock::sleep(IDLE_MS).await;
        rss.push(mebibytes(daemon.rss_bytes()?));
    }
    let binary = std::env::current_exe().and_then(|path| path.metadata());
    let binary_bytes = binary.map_err(super::failed("looking at this binary"))?.len();
    Ok(Findings {
        figures: Vec::new(),
        bars: vec![
            Bar::at_most("idle RSS", median(rss), 16.0, "MiB"),
            Bar::at_most("cold start to ready, empty directory", median(ready_ms), 50.0, "ms"),
            Bar::at_most("binary", binary_bytes as f64 / 1e6, 12.0, "MB"),
        ],
    })
}
