//! The command line: verbs and their flags.
//!
//! Owns the grammar and the help texts. Must never act, read a file or end the process: what was
//! asked for is returned, a usage error or a help text as well.

mod bench;
mod look;
mod operator;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::bench::{Bench, BenchRole, Loader, Relay, Role, Scenario};
pub use self::look::{
    Act, Deliveries, Delivery, DeliveryVerb, Event, EventVerb, Job, JobVerb, Only, Recover, Tail,
    Times,
};
pub use self::operator::{
    KeyVerb, OneWebhook, OperatorTokenVerb, Rotate, Target, TargetSet, TargetVerb, Token,
};
use super::config::units::{UnitError, duration_ms};
use super::config::{FlagValue, LogFormat};
use crate::model::webhook::Version;

/// Where the help lists flags that have the same meaning everywhere.
const GLOBAL: &str = "Global options";

/// A webhook delivery daemon: one binary, one data directory, no database to run.
#[derive(Debug, PartialEq, Parser)]
#[command(
    name = "postrider",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  postrider dev                                    try it: daemon, receiver and one delivery
  postrider serve --config postrider.toml          run the daemon
  postrider webhook add https://example.com/hook   subscribe a URL to file.uploaded
  postrider send file.uploaded --name cat.jpg      publish an event

Exit codes: 0 done, 1 failed, 2 usage, 69 no daemon, 73 can't create, 75 busy or temporary,
77 not allowed, 78 configuration."
)]
pub struct Arguments {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Global {
    /// Configuration file [env: POSTRIDER_CONFIG] [default: postrider.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    pub config: Option<PathBuf>,
    /// Control socket of the daemon, instead of server.control_socket
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL)]
    pub control: Option<String>,
    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

/// The data directory. It is no global flag because `send --data` is an event's data.
#[derive(Debug, Default, PartialEq, Args)]
pub struct DataDirectory {
    /// Data directory, instead of store.path of the configuration
    #[arg(long, alias = "data-dir", global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub data: Option<String>,
}

/// The verbs.
#[derive(Debug, PartialEq, Subcommand)]
pub enum Verb {
    /// Run the daemon
    Serve(Serve),
    /// Try it: daemon, receiver, one webhook and one delivery, gone when it ends
    Dev(Dev),
    /// Receive events of a running daemon here, and check their signatures
    Listen(Listen),
    /// Publish an event
    Send(SendEvent),
    /// Projects: who owns webhooks and events
    #[command(visible_alias = "projects")]
    Project(Project),
    /// Webhooks: who gets which events
    #[command(visible_alias = "webhooks")]
    Webhook(Webhook),
    /// Events that were accepted
    #[command(visible_alias = "events")]
    Event(Event),
    /// Deliveries: what became of each, and why
    #[command(visible_alias = "deliveries")]
    Delivery(Delivery),
    /// Jobs: resends, cancellations and recoveries of many
    #[command(visible_alias = "jobs")]
    Job(Job),
    /// Targets: what protects the receivers
    #[command(visible_alias = "targets")]
    Target(Target),
    /// Operator tokens: they let you do everything over HTTP
    #[command(visible_alias = "tokens")]
    Token(Token),
    /// The configuration: check it, show it, or print one to start from
    Config(Config),
    /// Check the signatures of a request whose body is on stdin
    Verify(Verify),
    /// Measure this machine: each figure beside what the same HTTP does without a queue
    Bench(Bench),
    /// A process of `bench`: what it talks to, and what it compares with
    #[command(hide = true)]
    BenchRole(BenchRole),
    /// Print the version
    Version,
}

/// `serve`.
#[derive(Debug, Default, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider serve
  postrider serve --config /etc/postrider/postrider.toml
  postrider serve --listen 0.0.0.0:8080 --data /var/lib/postrider")]
pub struct Serve {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// Address and port of the API, instead of server.listen
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Form of the log, instead of log.format: auto, pretty, json or journald
    #[arg(long, value_name = "FORMAT", value_parser = log_format_name)]
    pub log_format: Option<String>,
}

/// `dev`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Keys while it runs: f makes the receiver fail the next 3, r retries now, q ends.")]
pub struct Dev {
    /// Address and port of the API
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Address and port of the receiver
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub receiver_listen: String,
    /// End after the first delivery; 0 if it was verified
    #[arg(long)]
    pub once: bool,
}

/// `listen`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider listen
  postrider listen --forward-to http://localhost:3000/hook
  postrider listen --events 'file.*' --fail 3
  postrider listen --status 503 --delay 5s")]
pub struct Listen {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// Pass each request on to this URL, and its answer back
    #[arg(long, value_name = "URL", conflicts_with = "status")]
    pub forward_to: Option<String>,
    /// Events to receive, with `*` for any ending; repeat it or use commas
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', default_values_t = default_events())]
    pub events: Vec<String>,
    /// Project to listen to, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Fail the first N requests with status 500
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fail: u32,
    /// Answer with this status
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// Wait before answering, for example 5s
    #[arg(long = "delay", value_name = "DURATION", value_parser = delay, default_value = "0s")]
    pub delay_ms: u64,
    /// Write each body to a file in this directory
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Print the signing secret of the temporary webhook
    #[arg(long)]
    pub print_secret: bool,
    /// Address and port to receive at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Version of the payload: 0.5, 0.6 or 0.7
    #[arg(long, value_name = "VERSION", value_parser = version, default_value = "0.7")]
    pub version: Version,
    /// End after N requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `send`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider send file.uploaded --name cat.jpg
  postrider send order.paid --data '{\"order\": 7}'
  postrider send order.paid --data @order.json --idempotency-key order-7")]
pub struct SendEvent {
    /// The event's name
    #[arg(value_name = "EVENT")]
    pub event: String,
    /// Project to publish in, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Make up a file with this name
    #[arg(long, value_name = "FILE NAME", conflicts_with = "data")]
    pub name: Option<String>,
    /// The event's data as JSON, or @ and a file (@- is stdin)
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// Data directory, instead of store.path of the configuration
    #[arg(long, value_name = "DIR", help_heading = GLOBAL)]
    pub data_dir: Option<String>,
    /// Publish it once, however often this is repeated within 72 hours
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `project`.
#[derive(Debug, PartialEq, Args)]
pub struct Project {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: ProjectVerb,
}

/// `project …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum ProjectVerb {
    /// Make a project and print its keys
    Create(ProjectCreate),
    /// List projects
    #[command(visible_alias = "ls")]
    List,
    /// Show a project; its secret keys stay hidden
    Show {
        /// Id or public key [default: the only one]
        #[arg(value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Give a project another name
    Rename {
        /// Id or public key
        #[arg(value_name = "PROJECT")]
        project: String,
        /// What people call it from now on
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Remove a project with its webhooks; what waits for them is cancelled
    #[command(visible_alias = "remove")]
    Rm {
        /// Id or public key
        #[arg(value_name = "PROJECT")]
        project: String,
    },
    /// Secret keys: they prove that a request is the project's
    #[command(visible_alias = "keys")]
    Key {
        /// What to do with them.
        #[command(subcommand)]
        verb: KeyVerb,
    },
    /// Intake tokens: they let other systems bring events in, and nothing else
    #[command(visible_alias = "tokens")]
    Token {
        /// What to do with them.
        #[command(subcommand)]
        verb: TokenVerb,
    },
}

/// `project token …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum TokenVerb {
    /// Make a token and print it once
    #[command(after_help = "\
Examples:
  postrider project token create tusd
  postrider project token create relay --secret-file secret.txt")]
    Create {
        /// What people call it
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// What Uploadcare signs with, where it brings the events
        #[command(flatten)]
        secret: SecretArguments,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// List tokens; the tokens themselves are not kept
    #[command(visible_alias = "ls")]
    List {
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Revoke a token: it lets nobody in from now on
    #[command(visible_alias = "rm")]
    Revoke {
        /// Its id
        #[arg(value_name = "ID")]
        id: u32,
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
}

/// `project create`.
#[derive(Debug, Default, PartialEq, Args)]
pub struct ProjectCreate {
    /// What people call it
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Its id [default: the next free one]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    pub id: Option<u32>,
}

/// `webhook`.
#[derive(Debug, PartialEq, Args)]
pub struct Webhook {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: WebhookVerb,
}

/// `webhook …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum WebhookVerb {
    /// Subscribe a URL
    Add(WebhookAdd),
    /// List webhooks
    #[command(visible_alias = "ls")]
    List {
        /// Project, by id or public key [default: the only one]
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
    },
    /// Remove a webhook; what waits for it is cancelled
    #[command(visible_alias = "remove")]
    Rm {
        /// Which webhook.
        #[command(flatten)]
        one: OneWebhook,
    },
    /// Send a test event and show its attempt; 0 if it was delivered
    Test {
        /// Which webhook.
        #[command(flatten)]
        one: OneWebhook,
    },
    /// Keep events without sending any
    Pause {
        /// Which webhook.
        #[command(flatten)]
        one: OneWebhook,
    },
    /// Send again, first what was kept
    Resume {
        /// Which webhook.
        #[command(flatten)]
        one: OneWebhook,
    },
    /// Send what a webhook missed: after an outage, or from before it was made
    Recover(Recover),
    /// Change the signing secret in two phases, so that no receiver misses a delivery
    Rotate(Rotate),
}

/// `webhook add`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postrider webhook add https://example.com/hook
  postrider webhook add https://example.com/hook --event file.deleted --secret-file secret.txt")]
pub struct WebhookAdd {
    /// Where to deliver
    #[arg(value_name = "URL")]
    pub url: String,
    /// The event to subscribe to
    #[arg(long, value_name = "EVENT", default_value = "file.uploaded")]
    pub event: String,
    /// Version of the payload: 0.5, 0.6 or 0.7
    #[arg(long, value_name = "VERSION", value_parser = version, default_value = "0.7")]
    pub version: Version,
    /// The secret that signs deliveries, up to 32 characters
    #[command(flatten)]
    pub secret: SecretArguments,
    /// Make it, but deliver nothing yet
    #[arg(long)]
    pub inactive: bool,
    /// Project, by id or public key [default: the only one]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// A secret in one of its two forms.
#[derive(Clone, Default, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub struct SecretArguments {
    /// Signing secret; other users of this machine can see it, --secret-file is safer
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
    /// File that holds the signing secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

impl std::fmt::Debug for SecretArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = self.secret.as_ref().map(|_| "…");
        f.debug_struct("SecretArguments")
            .field("secret", &secret)
            .field("secret_file", &self.secret_file)
            .finish()
    }
}

/// `config`.
#[derive(Debug, PartialEq, Args)]
pub struct Config {
    /// The data directory.
    #[command(flatten)]
    pub place: DataDirectory,
    /// What to do with it.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// `config …`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum ConfigVerb {
    /// Check the configuration; exit code 78 if it is wrong
    Check {
        /// The file to check, instead of --config
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show the values in force and where each came from; secrets are masked
    Show,
    /// Print a configuration file with every setting, its default and a sentence
    Default,
}

/// `verify`.
#[derive(Debug, PartialEq, Args)]
#[command(after_help = "\
Example:
  postrider verify --secret-file secret.txt --headers headers.txt < body.json")]
pub struct Verify {
    /// The signing secret.
    #[command(flatten)]
    pub secret: SecretArguments,
    /// File with the request's headers, one `Name: value` a line
    #[arg(long, value_name = "FILE")]
    pub headers: PathBuf,
    /// How far the request's time may be off
    #[arg(long = "tolerance", value_name = "DURATION", value_parser = delay, default_value = "5m")]
    pub tolerance_ms: u64,
}

/// The events that `listen` receives unless told otherwise.
pub const LISTEN_EVENTS_DEFAULT: [&str; 5] =
    ["file.uploaded", "file.infected", "file.stored", "file.info_updated", "file.deleted"];

impl Arguments {
    /// Reads a command line, the program's name first. The error is also a request for help or
    /// the version: print it, and end with its `exit_code()` (2 for a usage error).
    pub fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(words)
    }

    /// The settings that were given as flags.
    #[must_use]
    pub fn settings(&self) -> Vec<FlagValue> {
        let mut flags = Vec::new();
        flags.extend(self.verb.data_directory().cloned().map(FlagValue::data));
        flags.extend(self.global.control.clone().map(FlagValue::control));
        if let Verb::Serve(serve) = &self.verb {
            flags.extend(serve.listen.clone().map(FlagValue::listen));
            flags.extend(serve.log_format.clone().map(FlagValue::log_format));
        }
        flags
    }

    /// The configuration file that was named.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        match &self.verb {
            Verb::Config(Config { verb: ConfigVerb::Check { file: Some(file) }, .. }) => {
                Some(file.clone())
            }
            _ => self.global.config.clone(),
        }
    }
}

impl Verb {
    fn data_directory(&self) -> Option<&String> {
        match self {
            Verb::Serve(serve) => serve.place.data.as_ref(),
            Verb::Listen(listen) => listen.place.data.as_ref(),
            Verb::Send(send) => send.data_dir.as_ref(),
            Verb::Project(project) => project.place.data.as_ref(),
            Verb::Webhook(webhook) => webhook.place.data.as_ref(),
            Verb::Event(event) => event.place.data.as_ref(),
            Verb::Delivery(delivery) => delivery.place.data.as_ref(),
            Verb::Job(job) => job.place.data.as_ref(),
            Verb::Target(target) => target.place.data.as_ref(),
            Verb::Token(token) => token.place.data.as_ref(),
            Verb::Config(config) => config.place.data.as_ref(),
            Verb::Dev(_)
            | Verb::Verify(_)
            | Verb::Bench(_)
            | Verb::BenchRole(_)
            | Verb::Version => None,
        }
    }
}

fn default_events() -> Vec<String> {
    LISTEN_EVENTS_DEFAULT.map(str::to_owned).to_vec()
}

fn delay(text: &str) -> Result<u64, UnitError> {
    duration_ms(text)
}

fn version(text: &str) -> Result<Version, &'static str> {
    Version::parse(text).ok_or("not 0.5, 0.6 or 0.7")
}

fn log_format_name(text: &str) -> Result<String, &'static str> {
    let known = LogFormat::NAMES.iter().any(|(name, _)| *name == text);
    known.then(|| text.to_owned()).ok_or("not auto, pretty, json or journald")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn read(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::read(std::iter::once("postrider").chain(line.split_whitespace()))
    }

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_flags_become_settings() {
        let read = read("serve --config p.toml --listen 127.0.0.1:1 --data d --log-format json");
        let arguments = read.expect("sound");
        assert_eq!(arguments.config_file(), Some("p.toml".into()));
        let expected = [
            FlagValue::data("d".to_owned()),
            FlagValue::listen("127.0.0.1:1".to_owned()),
            FlagValue::log_format("json".to_owned()),
        ];
        assert_eq!(arguments.settings(), expected);
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["--json --control s project list", "project list --control s --json"] {
            let arguments = read(line).expect(line);
            assert!(arguments.global.json, "{line}");
            assert_eq!(arguments.settings(), [FlagValue::control("s".to_owned())], "{line}");
        }
        let nested = read("webhook rm 7 --data d").expect("sound");
        assert_eq!(nested.settings(), [FlagValue::data("d".to_owned())]);
    }

    #[test]
    fn send_has_data_of_its_own() {
        let arguments = read("send order.paid --data {} --data-dir d").expect("sound");
        assert_eq!(arguments.settings(), [FlagValue::data("d".to_owned())]);
        let Verb::Send(send) = arguments.verb else { panic!("send") };
        assert_eq!((send.event.as_str(), send.data.as_deref()), ("order.paid", Some("{}")));
    }

    #[test]
    fn listen_has_defaults_and_lists() {
        let Verb::Listen(listen) = read("listen").expect("sound").verb else { panic!("listen") };
        assert_eq!(listen.events, LISTEN_EVENTS_DEFAULT);
        assert_eq!((listen.listen.as_str(), listen.version), ("127.0.0.1:0", Version::V07));
        let line = "listen --events file.*,a --events b --delay 5s --status 503 --count 2";
        let Verb::Listen(listen) = read(line).expect("sound").verb else { panic!("listen") };
        assert_eq!(listen.events, ["file.*", "a", "b"]);
        assert_eq!((listen.delay_ms, listen.status, listen.count), (5_000, Some(503), Some(2)));
    }

    #[test]
    fn usage_errors_are_2_and_help_is_0() {
        for line in [
            "serv",
            "serve --port 1",
            "listen --delay 5",
            "listen --status 99",
            "webhook rm 0",
            "webhook rotate 7 --promote --abort",
            "webhook rotate 7 --finish --secret a",
            "target set https://a.example --rate 0",
            "target set https://a.example --burst 5 --reset",
            "target pause",
            "delivery list --status lost",
            "delivery resend",
            "delivery resend dlv_a --status failed",
            "delivery cancel --all --since 1h dlv_a",
            "webhook recover 7",
            "webhook recover 7 --since 1h --only some",
            "event show",
            "job show",
            "token revoke",
            "webhook add",
            "webhook add u --secret a --secret-file b",
            "send",
            "send e --name a --data {}",
            "serve --log-format xml",
        ] {
            assert_eq!(read(line).expect_err(line).exit_code(), 2, "{line}");
        }
        for line in ["--help", "webhook add --help", "--version"] {
            assert_eq!(read(line).expect_err(line).exit_code(), 0, "{line}");
        }
        assert_eq!(read("bench frob").expect_err("no such scenario").exit_code(), 2);
        let error = read("serv").expect_err("no such verb");
        assert_eq!(error.kind(), ErrorKind::InvalidSubcommand);
        assert!(error.to_string().contains("'serve'"), "{error}");
    }

    #[test]
    fn bench_has_defaults_and_names() {
        let Verb::Bench(bench) = read("bench").expect("sound").verb else { panic!("bench") };
        assert_eq!((bench.scenarios, bench.rounds, bench.check), (Vec::new(), 5, false));
        let line = "bench end-to-end all --rounds 1 --events 2000 --check";
        let Verb::Bench(bench) = read(line).expect("sound").verb else { panic!("bench") };
        assert_eq!(bench.scenarios, [Scenario::EndToEnd, Scenario::All]);
        assert_eq!((bench.rounds, bench.events, bench.check), (1, Some(2_000), true));
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let arguments = read("webhook add u --secret canary").expect("sound");
        assert!(!format!("{arguments:?}").contains("canary"));
    }
}
