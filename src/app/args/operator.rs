//! The command line's part about targets, keys, tokens and secrets.
//!
//! Owns the grammar and the help texts of these verbs. Must never act.

use clap::{Args, Subcommand};

use super::{DataDirectory, SecretArguments, delay};

/// A webhook of a project.
#[derive(Debug, PartialEq, Args)]
pub struct OneWebhook {
    /// Its id
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub id: u32,
    /// Project, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// `webhook rotate`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider webhook rotate 7                make the next secret: both sign webhook-signature
  postrider webhook rotate 7 --promote      now the other headers are signed with it as well
  postrider webhook rotate 7 --finish       the old secret signs no more

X-Uc-Signature and x-signature can hold one signature alone: they change with --promote. So let
receivers accept both secrets before that.")]
pub struct Rotate {
    /// Which webhook.
    #[command(flatten)]
    pub one: OneWebhook,
    /// The next secret [default: a random one, printed once].
    #[command(flatten)]
    pub secret: SecretArguments,
    /// Promote it by itself after this time, for example 24h [default: when told to]
    #[arg(long = "promote-after", value_name = "DURATION", value_parser = delay)]
    pub promote_after_ms: Option<u64>,
    /// How long the old secret signs beside it then [default: 24h]
    #[arg(long = "overlap", value_name = "DURATION", value_parser = delay)]
    pub overlap_ms: Option<u64>,
    /// Make the next secret the webhook's own
    #[arg(long, conflicts_with_all = ["finish", "abort", "secret", "secret_file", "promote_after_ms", "overlap_ms"])]
    pub promote: bool,
    /// Drop the old secret
    #[arg(long, conflicts_with_all = ["abort", "secret", "secret_file", "promote_after_ms", "overlap_ms"])]
    pub finish: bool,
    /// Go back to the secret that was there before
    #[arg(long, conflicts_with_all = ["secret", "secret_file", "promote_after_ms", "overlap_ms"])]
    pub abort: bool,
}

/// `project key …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum KeyVerb {
    /// List the ids of a project's secret keys
    #[command(visible_alias = "ls")]
    List {
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Make one more and print it
    Add {
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Revoke one: it proves nothing from now on
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its id
        #[arg(value_name = "KEY")]
        id: String,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Print a key that was lost; works on the daemon's own machine alone
    Recover {
        /// Its id [default: the first one]
        #[arg(value_name = "KEY")]
        id: Option<String>,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
}

/// `token`.
#[derive(Debug, PartialEq, Args)]
pub struct Token {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with them.
    #[command(subcommand)]
    pub verb: OperatorTokenVerb,
}

/// `token …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum OperatorTokenVerb {
    /// Make a token and print it once
    Create {
        /// What people call it
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// List tokens; the tokens themselves are not kept
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token: it opens nothing from now on
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its id
        #[arg(value_name = "ID")]
        id: u32,
    },
}

/// `target`.
#[derive(Debug, PartialEq, Args)]
pub struct Target {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: TargetVerb,
}

/// `target …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum TargetVerb {
    /// List the targets that webhooks point to, or that have settings
    #[command(visible_alias = "ls")]
    List,
    /// Show a target: its limits and what is under way
    Show {
        /// Its scheme, host and port, as a URL without a path
        #[arg(value_name = "TARGET")]
        target: String,
    },
    /// Set a target's limits; they hold at once, and before those of the configuration
    Set(TargetSet),
    /// Send nothing to a target; events are kept and their clocks stand still
    Pause {
        /// Its scheme, host and port, as a URL without a path
        #[arg(value_name = "TARGET")]
        target: String,
    },
    /// Send to a target again, first what was kept
    Resume {
        /// Its scheme, host and port, as a URL without a path
        #[arg(value_name = "TARGET")]
        target: String,
    },
}

/// `target set`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider target set https://example.com --rate 50 --burst 100
  postrider target set https://example.com --in-flight 4
  postrider target set https://example.com --reset")]
pub struct TargetSet {
    /// Its scheme, host and port, as a URL without a path
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Attempts a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Attempts at once after a quiet time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub burst: Option<u32>,
    /// Attempts under way at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,
    /// Let the configuration's limits hold again
    #[arg(long, conflicts_with_all = ["rate", "burst", "in_flight"])]
    pub reset: bool,
}
