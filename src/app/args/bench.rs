//! The command line's part about `bench`.
//!
//! Owns the grammar and the help texts of this verb and its processes. Must never act.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `bench`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Scenarios:
  accept       events into the store, no webhook
  end-to-end   one webhook; 64 publishers, then 1
  fan-out      ten webhooks on ten targets
  gentle       200 events a second: the time from publishing to arrival
  start        idle memory, cold start, size of the binary
  dead         10,000 targets, in turn: all healthy, half of them refusing, half of them hanging
  million      a million deliveries pending for a dead webhook; kill -9; start again
  growth       CPU per event at 10 to 100,000 webhooks, and at 1,000 to 1,000,000 pending
Without a name: accept to start. `all` is all of them, about half an hour and 4 GB of disk.

Examples:
  postrider bench
  postrider bench end-to-end --rounds 1 --events 5000 --json
  postrider bench all --check --dir /var/tmp")]
pub struct Bench {
    /// What to measure; `all` for everything
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<Scenario>,
    /// Rounds of which the median is told
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Publishers at once, each waiting for its durable 202 [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub publishers: Option<u32>,
    /// Events of a round, or those that wait in `million` [default: as the scenario needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub events: Option<u64>,
    /// Seconds of a round at a steady rate: `gentle`, `dead` [default: 4, 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: Option<u64>,
    /// Where the data directories are made, and removed [default: the current directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Fail if a bar is missed
    #[arg(long)]
    pub check: bool,
}

/// What `bench` can measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scenario {
    /// Events into the store, no webhook.
    Accept,
    /// One webhook; 64 publishers, then 1.
    EndToEnd,
    /// Ten webhooks on ten targets.
    FanOut,
    /// 200 events a second.
    Gentle,
    /// Idle memory, cold start, size of the binary.
    Start,
    /// 10,000 targets, half of them dead.
    Dead,
    /// A million pending, and a restart with them.
    Million,
    /// CPU per event as webhooks and pending deliveries grow.
    Growth,
    /// All of them.
    All,
}

/// `bench-role`.
#[derive(Debug, PartialEq, Args)]
pub struct BenchRole {
    /// Which one.
    #[command(subcommand)]
    pub role: Role,
}

/// The processes of `bench` beside the daemon.
#[derive(Debug, PartialEq, Subcommand)]
pub enum Role {
    /// Takes deliveries, and counts them as told on stdin
    Receiver,
    /// Publishes, and ends
    Loader(Loader),
    /// Passes on what is published, with no queue between, until stdin ends
    Relay(Relay),
}

/// `bench-role loader`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Loader {
    /// Where to publish
    #[arg(long)]
    pub at: std::net::SocketAddr,
    /// Publishers at once
    #[arg(long)]
    pub publishers: u32,
    /// Events in all
    #[arg(long)]
    pub events: u64,
    /// Events of one request
    #[arg(long, default_value_t = 1)]
    pub batch: u64,
    /// Events a second; 0: as fast as answers come
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// Event names that take turns
    #[arg(long, default_value_t = 1)]
    pub names: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    pub first_name: u64,
}

/// `bench-role relay`.
#[derive(Debug, PartialEq, Args)]
pub struct Relay {
    /// Where to pass each event on to
    #[arg(long = "to")]
    pub targets: Vec<std::net::SocketAddr>,
    /// Bytes of what is passed on
    #[arg(long)]
    pub body_bytes: usize,
    /// Append each event here, and sync, before it is answered
    #[arg(long)]
    pub file: Option<PathBuf>,
}
