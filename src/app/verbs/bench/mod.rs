//! `bench`: what this machine's daemon can do, beside what the same HTTP does without a queue.
//!
//! Owns which scenarios run and in which order, and how a measurement fails. Must never touch a
//! data directory that is there, and never call a figure noise: a bar is reached or missed.
//!
//! * Every part is a process of its own: the daemon (`serve`, its limits lifted), the `receiver`,
//!   the `loader`, and the ceilings that a `relay` is. So processor time and memory are the
//!   daemon's alone.
//! * `measure` has the rounds, daemon and ceilings in turn; `scenario` and `scale` have what is
//!   measured and its bars; `report` says it.

mod client;
mod event;
mod loader;
mod measure;
mod process;
mod receiver;
mod relay;
mod report;
mod scale;
mod scenario;
mod wire;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::serve::{Signals, raise_descriptor_limit};
use crate::app::args::{Bench, Role, Scenario};
use crate::app::exit::Exit;
use crate::app::terminal::{Progress, say};
use crate::app::{Stop, runtime};
use process::{Daemon, Receiver};
use report::{Findings, Machine};

/// Those that take about a minute at most, each.
const DEFAULT: [Scenario; 5] =
    [Scenario::Accept, Scenario::EndToEnd, Scenario::FanOut, Scenario::Gentle, Scenario::Start];
const ALL: [Scenario; 8] = [
    Scenario::Accept,
    Scenario::EndToEnd,
    Scenario::FanOut,
    Scenario::Gentle,
    Scenario::Start,
    Scenario::Dead,
    Scenario::Million,
    Scenario::Growth,
];

/// Why nothing could be measured.
#[derive(Debug, Error)]
enum BenchError {
    /// The system would not do something.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// A process ended, or said something else than it should.
    #[error("a process of the measurement ended early or said nonsense")]
    Ended,
    /// The daemon did not start.
    #[error("the daemon does not get ready:\n{0}")]
    NotReady(String),
    /// The daemon never finished.
    #[error("the daemon does not finish what is pending")]
    NeverQuiet,
    /// The daemon refused what was asked of it.
    #[error("the daemon: {}", .0.text)]
    Daemon(Stop),
    /// Not everything arrived.
    #[error("{arrived} of {expected} deliveries are there")]
    Lost {
        /// Those that are.
        arrived: u64,
        /// Those that should be.
        expected: u64,
    },
}

impl From<Stop> for BenchError {
    fn from(stop: Stop) -> BenchError {
        BenchError::Daemon(stop)
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> BenchError {
        BenchError::System("hearing a role", error)
    }
}

/// An error with what was being done.
fn failed(what: &'static str) -> impl Fn(io::Error) -> BenchError {
    move |error| BenchError::System(what, error)
}

/// What all scenarios share.
struct Context {
    rounds: usize,
    publishers: Option<u32>,
    events: Option<u64>,
    seconds: Option<u64>,
    place: PathBuf,
    receiver: Receiver,
    progress: Progress,
}

impl Context {
    /// A fresh daemon.
    async fn daemon(&self) -> Result<Daemon, BenchError> {
        Daemon::start(&self.place).await
    }

    fn progress(&self, round: usize, label: &str) {
        let label = format!("{label}, round {} of {}", round + 1, self.rounds);
        self.progress.show(round, self.rounds, &label);
    }
}

/// Measures.
pub(crate) fn run(bench: &Bench, json: bool) -> Result<Exit, Stop> {
    raise_descriptor_limit();
    let place = bench.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let place = place.canonicalize().map_err(|error| {
        Stop::new(Exit::CantCreate, format!("--dir {}: {error}", place.display()))
    })?;
    machine(&place).print(json);
    let findings = runtime()?.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            findings = measured(bench, place, json) => {
                findings.map_err(|error| Stop::new(Exit::Failure, error))
            }
            name = signals.next() => Err(Stop::new(Exit::Failure, format!("ended by {name}"))),
        }
    })?;
    verdict(findings.missed(), bench.check, json)
}

/// A bar that is missed is told; it is an error for whoever asked for that.
fn verdict(missed: usize, check: bool, json: bool) -> Result<Exit, Stop> {
    let text = match missed {
        0 => return Ok(Exit::Ok),
        1 => "1 bar is missed".to_owned(),
        many => format!("{many} bars are missed"),
    };
    if check {
        return Err(Stop::new(Exit::Failure, text));
    }
    if !json {
        say(&format!("\n{text}"));
    }
    Ok(Exit::Ok)
}

async fn measured(bench: &Bench, place: PathBuf, json: bool) -> Result<Findings, BenchError> {
    let mut context = Context {
        rounds: bench.rounds as usize,
        publishers: bench.publishers,
        events: bench.events,
        seconds: bench.seconds,
        place,
        receiver: Receiver::start().await?,
        progress: Progress::new(),
    };
    let mut all = Findings::default();
    let result = scenarios(&mut context, &bench.scenarios, json, &mut all).await;
    context.progress.clear();
    if !json {
        // Also what was found before something failed.
        all.print_tables();
    }
    result.map(|()| all)
}

async fn scenarios(
    context: &mut Context,
    named: &[Scenario],
    json: bool,
    all: &mut Findings,
) -> Result<(), BenchError> {
    for scenario in chosen(named) {
        let findings = match scenario {
            Scenario::Dead | Scenario::Million | Scenario::Growth => {
                scale::run(context, scenario).await?
            }
            scenario => scenario::run(context, scenario).await?,
        };
        context.progress.clear();
        if json {
            findings.print_json();
        }
        all.add(findings);
    }
    Ok(())
}

fn chosen(named: &[Scenario]) -> Vec<Scenario> {
    if named.contains(&Scenario::All) {
        return ALL.to_vec();
    }
    if named.is_empty() { DEFAULT.to_vec() } else { named.to_vec() }
}

/// Plays one of the other parts.
pub(crate) fn role(role: &Role) -> Result<Exit, Stop> {
    raise_descriptor_limit();
    let stop = |error: &dyn std::fmt::Display| Stop::new(Exit::Failure, error);
    runtime()?.block_on(async {
        match role {
            Role::Receiver => receiver::run().await.map_err(|error| stop(&error))?,
            Role::Relay(relay) => relay::run(relay).await.map_err(|error| stop(&error))?,
            Role::Loader(loader) => {
                say(&loader::run(loader).await.map_err(|error| stop(&error))?);
            }
        }
        Ok(Exit::Ok)
    })
}

/// File systems by the number that the system gives them.
const FILE_SYSTEMS: [(i64, &str); 7] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlayfs"),
    (TMPFS, "tmpfs"),
    (RAMFS, "ramfs"),
];
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

fn machine(place: &Path) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let kind = rustix::fs::statfs(place).ok().map(|stat| stat.f_type);
    let name = FILE_SYSTEMS.iter().find(|(number, _)| Some(*number) == kind);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let memory_kib = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    Machine {
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
        memory_bytes: memory_kib.unwrap_or(0) * 1_024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        directory: place.display().to_string(),
        file_system: name.map_or_else(|| "another file system", |(_, name)| name).to_owned(),
        is_durable: kind != Some(TMPFS) && kind != Some(RAMFS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_all_and_nothing_is_the_short_ones() {
        assert_eq!(chosen(&[]), DEFAULT);
        assert_eq!(chosen(&[Scenario::Dead, Scenario::All]), ALL);
        assert_eq!(chosen(&[Scenario::Gentle]), [Scenario::Gentle]);
    }

    #[test]
    fn a_missed_bar_is_an_error_only_on_request() {
        let exit = |missed, check| verdict(missed, check, true).unwrap_or_else(|stop| stop.exit);
        assert_eq!(
            [exit(0, true), exit(2, false), exit(1, true)],
            [Exit::Ok, Exit::Ok, Exit::Failure]
        );
    }
}
