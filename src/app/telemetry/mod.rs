//! Logs: `tracing` events as lines on stderr, pretty, JSON or in journald's form.
//!
//! Owns the forms, the escaping, the longest line and the choice of a form. Must never fail or
//! block the program over a log line that nobody reads, and never write a raw control character.
//! That no secret is logged is up to the types that hold secrets: their `Debug` shows nothing.

mod line;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::config::{LogFormat, LogLevel};
use crate::clock;
use crate::model::time::Wall;

pub use line::LINE_BYTES_MAX;
use line::{Fields, Line, Value};

/// The crate whose events the configured level is for.
const CRATE: &str = env!("CARGO_CRATE_NAME");
/// The level of everything else.
const DEPENDENCIES: LevelFilter = LevelFilter::WARN;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Pretty {
        /// With colours.
        colour: bool,
    },
    /// One JSON object.
    Json,
    /// A priority prefix, and no time.
    Journald,
}

/// What the form depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Stderr is a terminal.
    pub terminal: bool,
    /// Stderr goes to systemd's journal.
    pub journal: bool,
    /// `NO_COLOR` is set, or the terminal can't show colours.
    pub no_colour: bool,
}

/// Logs are already being written in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("logging was already started")]
pub struct AlreadyStarted;

/// Starts logging to stderr, for the whole process.
pub fn start(format: LogFormat, level: LogLevel) -> Result<(), AlreadyStarted> {
    let form = Form::choose(format, Surroundings::of_process());
    let subscriber = subscriber(form, level, || clock::now().wall, stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyStarted)
}

/// What [`start`] starts, with a clock and a sink of the caller's choice. The sink gets whole
/// lines, each with its line end.
pub fn subscriber<C, S>(
    form: Form,
    level: LogLevel,
    now: C,
    sink: S,
) -> impl Subscriber + Send + Sync
where
    C: Fn() -> Wall + Send + Sync + 'static,
    S: Fn(&[u8]) + Send + Sync + 'static,
{
    let own = LevelFilter::from(level);
    let filter = Targets::new().with_default(own.min(DEPENDENCIES)).with_target(CRATE, own);
    tracing_subscriber::registry().with(Lines { form, now, sink }.with_filter(filter))
}

impl Form {
    /// The form that `format` asks for.
    #[must_use]
    pub fn choose(format: LogFormat, surroundings: Surroundings) -> Form {
        let colour = surroundings.terminal && !surroundings.no_colour;
        match format {
            LogFormat::Pretty => Form::Pretty { colour },
            LogFormat::Json => Form::Json,
            LogFormat::Journald => Form::Journald,
            LogFormat::Auto if surroundings.terminal => Form::Pretty { colour },
            LogFormat::Auto if surroundings.journal => Form::Journald,
            LogFormat::Auto => Form::Json,
        }
    }
}

impl Surroundings {
    /// Those of this process and its stderr.
    #[must_use]
    pub fn of_process() -> Surroundings {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Surroundings {
            terminal: io::stderr().is_terminal(),
            journal: stderr_is(&variable("JOURNAL_STREAM")),
            no_colour: !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb",
        }
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> LevelFilter {
        match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Whether stderr is the stream `device:inode`: the variable outlives a redirection, so that its
/// presence alone proves nothing.
fn stderr_is(stream: &str) -> bool {
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Writes to stderr. What can't be written is lost: a closed pipe must not end the daemon.
fn stderr(line: &[u8]) {
    let _ = io::stderr().lock().write_all(line);
}

/// The layer that makes lines of events.
struct Lines<C, S> {
    form: Form,
    now: C,
    sink: S,
}

impl<B, C, S> Layer<B> for Lines<C, S>
where
    B: Subscriber + for<'a> LookupSpan<'a>,
    C: Fn() -> Wall + 'static,
    S: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, B>) {
        let mut fields = Fields::default();
        attributes.record(&mut Visitor(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, B>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(&mut Visitor(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, B>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.extend(outer);
            }
        }
        event.record(&mut Visitor(&mut fields));
        let metadata = event.metadata();
        let line = Line { now: (self.now)(), level: *metadata.level(), target: metadata.target() };
        (self.sink)(line.write(self.form, &fields).as_bytes());
    }
}

/// Copies the fields of an event or a span.
struct Visitor<'f>(&'f mut Fields);

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.set(field.name(), Value::Text(value.to_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.set(field.name(), Value::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.set(field.name(), Value::Bare(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.set(field.name(), Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinities.
        let bare = value.is_finite();
        let text = value.to_string();
        self.0.set(field.name(), if bare { Value::Bare(text) } else { Value::Text(text) });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        self.0.set(field.name(), Value::Text(text));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.set(field.name(), Value::Text(format!("{value:?}")));
    }
}

/// The syslog priority that journald reads in front of a line.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn captured(form: Form, level: LogLevel, log: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let lines = Arc::clone(&lines);
            move |line: &[u8]| {
                let line = String::from_utf8(line.to_vec()).expect("UTF-8");
                lines.lock().expect("not poisoned").push(line);
            }
        };
        let subscriber = subscriber(form, level, || Wall(1_543_236_550_477), sink);
        tracing::subscriber::with_default(subscriber, log);
        lines.lock().expect("not poisoned").clone()
    }

    fn sample() {
        let span = tracing::info_span!("attempt", delivery = "dlv_1", status = 200);
        let _inside = span.enter();
        tracing::warn!(status = 503, after_ms = 12u64, reason = "a \"b\"\n\u{1b}[2J", "slow {}", 7);
    }

    #[test]
    fn json_lines() {
        let lines = captured(Form::Json, LogLevel::Info, sample);
        assert_eq!(lines.len(), 1);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        let expected = serde_json::json!({
            "timestamp": "2018-11-26T12:49:10.477000Z",
            "level": "warn",
            "target": "postrider::app::telemetry::tests",
            "message": "slow 7",
            "delivery": "dlv_1",
            "status": 503,
            "after_ms": 12,
            "reason": "a \"b\"\n\u{1b}[2J",
        });
        assert_eq!(line, expected);
        assert_eq!(lines[0].matches('\n').count(), 1);
    }

    #[test]
    fn pretty_lines() {
        let lines = captured(Form::Pretty { colour: false }, LogLevel::Info, sample);
        let expected = "12:49:10.477  WARN slow 7 delivery=dlv_1 status=503 after_ms=12 \
                        reason=\"a \\\"b\\\"\\n\\u{1b}[2J\"\n";
        assert_eq!(lines, [expected]);
        let coloured = captured(Form::Pretty { colour: true }, LogLevel::Info, sample);
        assert!(coloured[0].contains("\u{1b}[33m WARN\u{1b}[0m"), "{:?}", coloured[0]);
        assert!(!coloured[0].contains("\u{1b}[2J"));
    }

    #[test]
    fn journald_lines() {
        let lines = captured(Form::Journald, LogLevel::Trace, || {
            tracing::error!("one\ntwo");
            tracing::info!(n = 1, "three");
            tracing::debug!("four");
        });
        assert_eq!(lines, ["<3>one\\ntwo\n", "<6>three n=1\n", "<7>four\n"]);
    }

    #[test]
    fn levels_are_ours_and_dependencies_warn() {
        let log = || {
            tracing::debug!("ours");
            tracing::info!(target: "hyper::proto", "theirs");
            tracing::warn!(target: "hyper::proto", "their warning");
        };
        assert_eq!(captured(Form::Journald, LogLevel::Debug, log).len(), 2);
        assert_eq!(captured(Form::Journald, LogLevel::Info, log), ["<4>their warning\n"]);
        assert!(captured(Form::Journald, LogLevel::Error, log).is_empty());
    }

    #[test]
    fn fields_of_a_span_can_come_later_and_errors_show_their_sources() {
        #[derive(Debug, Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let lines = captured(Form::Journald, LogLevel::Info, || {
            let span = tracing::info_span!("s", id = tracing::field::Empty);
            span.record("id", 4);
            let _inside = span.enter();
            let error = Outer(io::Error::other("inner"));
            tracing::info!(error = &error as &dyn std::error::Error, "x");
        });
        assert_eq!(lines, ["<6>x id=4 error=\"outer: inner\"\n"]);
    }

    #[test]
    fn the_form_follows_the_surroundings() {
        let nothing = Surroundings::default();
        let terminal = Surroundings { terminal: true, ..nothing };
        let journal = Surroundings { journal: true, ..nothing };
        let plain = Surroundings { no_colour: true, ..terminal };
        for (format, surroundings, form) in [
            (LogFormat::Auto, nothing, Form::Json),
            (LogFormat::Auto, terminal, Form::Pretty { colour: true }),
            (LogFormat::Auto, plain, Form::Pretty { colour: false }),
            (LogFormat::Auto, journal, Form::Journald),
            (LogFormat::Pretty, journal, Form::Pretty { colour: false }),
            (LogFormat::Json, terminal, Form::Json),
            (LogFormat::Journald, nothing, Form::Journald),
        ] {
            assert_eq!(Form::choose(format, surroundings), form, "{format:?} {surroundings:?}");
        }
        assert!(!stderr_is("") && !stderr_is("0:0"));
    }
}
