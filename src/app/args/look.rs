//! The command line's part about events, deliveries and jobs.
//!
//! Owns the grammar and the help texts of these verbs. Must never act.

use clap::{Args, Subcommand, ValueEnum};

use super::{DataDirectory, OneWebhook};
use crate::model::attempt::LastCode;
use crate::model::delivery::Status;

/// Rows that a list shows unless told otherwise.
const ROWS_DEFAULT: u32 = 50;

/// `event`.
#[derive(Debug, PartialEq, Args)]
pub struct Event {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: EventVerb,
}

/// `event …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum EventVerb {
    /// List events, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only events of this name
        #[arg(long, value_name = "EVENT")]
        event: Option<String>,
        /// Only these.
        #[command(flatten)]
        times: Times,
    },
    /// Show an event, its data and its deliveries
    Show {
        /// Its id, evt_…
        #[arg(value_name = "EVENT")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Show what happens to deliveries as it happens, until interrupted
    Tail(Tail),
    /// Deliver an event again to all who subscribe now
    Replay {
        /// Its id, evt_…
        #[arg(value_name = "EVENT")]
        id: String,
        /// To this webhook alone
        #[arg(long, value_name = "ID")]
        webhook: Option<u32>,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Erase an event's payload; that it happened stays, what waits of it is cancelled
    Erase {
        /// Its id, evt_…
        #[arg(value_name = "EVENT")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
}

/// Between when, of which project, and how many.
#[derive(Debug, PartialEq, Args)]
pub struct Times {
    /// Accepted at this time or later: 2026-01-31T12:00:00Z, or 24h for a day ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = ROWS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Project, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// `… tail`.
#[derive(Debug, PartialEq, Args)]
pub struct Tail {
    /// Only deliveries of this webhook
    #[arg(long, value_name = "ID")]
    pub webhook: Option<u32>,
    /// Only changes to this status: pending, delivered, failed or cancelled
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub status: Option<Status>,
    /// Only deliveries of events of this name
    #[arg(long, value_name = "EVENT")]
    pub event: Option<String>,
    /// Project, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// End after N changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `delivery`.
#[derive(Debug, PartialEq, Args)]
pub struct Delivery {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: DeliveryVerb,
}

/// `delivery …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum DeliveryVerb {
    /// List deliveries, the newest first
    #[command(
        visible_alias = "ls",
        after_help = "\
Examples:
  postrider delivery list --status failed --since 24h
  postrider delivery list --webhook 7 --code 5xx --json"
    )]
    List {
        /// Which.
        #[command(flatten)]
        which: Deliveries,
        /// Between when, and how many.
        #[command(flatten)]
        times: Times,
    },
    /// Show a delivery with its attempts
    Show {
        /// Its id, dlv_…
        #[arg(value_name = "DELIVERY")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Say why a delivery is where it is, and what happens next
    Explain {
        /// Its id, dlv_…
        #[arg(value_name = "DELIVERY")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Deliver again: one, or all that are named
    #[command(after_help = "\
Examples:
  postrider delivery resend dlv_01jd3v1q3hfz8vq2n7m0c4k9xw
  postrider delivery resend --status failed --webhook 7 --since 24h")]
    Resend(Act),
    /// Cancel what waits: one, or all that are named
    Cancel(Act),
    /// Show what happens to deliveries as it happens, until interrupted
    Tail(Tail),
}

/// One delivery, or those that are named.
#[derive(Debug, PartialEq, Args)]
#[command(group = clap::ArgGroup::new("named").required(true).multiple(true)
    .args(["id", "status", "webhook", "event", "target", "code", "since", "until", "all"]))]
pub struct Act {
    /// Its id, dlv_…
    #[arg(value_name = "DELIVERY", conflicts_with_all =
        ["status", "webhook", "event", "target", "code", "since", "until", "all"])]
    pub id: Option<String>,
    /// Which.
    #[command(flatten)]
    pub which: Deliveries,
    /// Accepted at this time or later: 2026-01-31T12:00:00Z, or 24h for a day ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Accepted before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// All of the project, where nothing else is named
    #[arg(long)]
    pub all: bool,
    /// Do not wait for the job's end
    #[arg(long)]
    pub no_wait: bool,
    /// Project, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Deliveries {
    /// Only these: pending, delivered, failed or cancelled
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub status: Option<Status>,
    /// Only those of this webhook
    #[arg(long, value_name = "ID")]
    pub webhook: Option<u32>,
    /// Only those of events of this name, or of the event with this id
    #[arg(long, value_name = "EVENT")]
    pub event: Option<String>,
    /// Only those to this target: scheme, host and port, as a URL without a path
    #[arg(long, value_name = "TARGET")]
    pub target: Option<String>,
    /// Only those whose last answer was this: a status such as 503, a class such as 5xx, or none
    #[arg(long, value_name = "CODE", value_parser = last_code)]
    pub code: Option<LastCode>,
}

fn last_code(text: &str) -> Result<LastCode, String> {
    LastCode::parse(text).ok_or_else(|| format!("it is not {}", LastCode::FORMS))
}

/// `webhook recover`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider webhook recover 7 --since 24h --dry-run
  postrider webhook recover 7 --since 2026-01-31T12:00:00Z --only missing")]
pub struct Recover {
    /// Which webhook.
    #[command(flatten)]
    pub one: OneWebhook,
    /// Accepted at this time or later: 2026-01-31T12:00:00Z, or 24h for a day ago
    #[arg(long, value_name = "TIME")]
    pub since: String,
    /// Accepted before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// What is sent again
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Only::Failed)]
    pub only: Only,
    /// Count, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not wait for the job's end
    #[arg(long)]
    pub no_wait: bool,
}

/// What `webhook recover` sends again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// What failed or was cancelled.
    Failed,
    /// Events that the webhook subscribes to and never got.
    Missing,
    /// Both, and what was delivered.
    All,
}

impl Only {
    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Only::Failed => "failed",
            Only::Missing => "missing",
            Only::All => "all",
        }
    }
}

/// `job`.
#[derive(Debug, PartialEq, Args)]
pub struct Job {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: JobVerb,
}

/// `job …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum JobVerb {
    /// List jobs, the newest first
    #[command(visible_alias = "ls")]
    List {
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Show a job and how far it has come
    Show {
        /// Its id, job_…
        #[arg(value_name = "JOB")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Wait for a job's end; 0 if it was done
    Wait {
        /// Its id, job_…
        #[arg(value_name = "JOB")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Stop a job; what it has done stays done
    Cancel {
        /// Its id, job_…
        #[arg(value_name = "JOB")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
}

fn status(word: &str) -> Result<Status, &'static str> {
    Status::parse(word).ok_or("not pending, delivered, failed or cancelled")
}
