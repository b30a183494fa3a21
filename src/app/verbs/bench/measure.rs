//! One round against one system, and rounds of several systems in turn.
//!
//! Owns when a clock starts and stops, and what counts as complete. Must never report a round in
//! which something did not arrive.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use tokio::task::JoinSet;

use super::event;
use super::process::{Daemon, RoleProcess};
use super::receiver::address;
use super::report::{Figure, median};
use super::{BenchError, Context};
use crate::dialect::object::Object;

/// Without an arrival for so long, a round has failed; in milliseconds. Longer than an attempt may
/// take: what waited for one that hung is late, and not lost.
const IDLE_MS_MAX: u64 = 90_000;
/// Webhooks that are made at once.
const MAKERS: usize = 32;
/// A warm-up is this part of a round.
const WARM_UP_PART: u64 = 5;
const WARM_UP_EVENTS_MIN: u64 = 100;

/// What is published in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub publishers: u32,
    pub events: u64,
    /// Events a second; 0: as fast as answers come.
    pub rate: u64,
    /// Event names that take turns, and the first of them.
    pub names: u64,
    pub first_name: u64,
    pub batch: u64,
    /// Deliveries of an event; 0: nothing is delivered.
    pub fan_out: u64,
    /// Deliveries that arrive in the end: all, or those of targets that live.
    pub arrive: u64,
    /// What is pending before and after.
    pub pending: u64,
}

impl Load {
    /// So many events by so many publishers, all of which arrive.
    pub(super) fn new(publishers: u32, events: u64, fan_out: u64) -> Load {
        Load {
            publishers,
            events,
            rate: 0,
            names: 1,
            first_name: 0,
            batch: 1,
            fan_out,
            arrive: events * fan_out,
            pending: 0,
        }
    }

    /// A part of it, for what happens once: connections, the first pages.
    pub(super) fn warm_up(self) -> Load {
        let events = (self.events / WARM_UP_PART).max(WARM_UP_EVENTS_MIN);
        Load { events, arrive: events * self.fan_out, ..self }
    }
}

/// What takes events.
pub(super) enum System {
    Daemon(Box<Daemon>),
    Ceiling(&'static str, Box<RoleProcess>, SocketAddr),
}

impl System {
    pub(super) fn name(&self) -> &'static str {
        match self {
            System::Daemon(_) => "daemon",
            System::Ceiling(name, ..) => name,
        }
    }

    fn at(&self) -> SocketAddr {
        match self {
            System::Daemon(daemon) => daemon.at,
            System::Ceiling(_, _, at) => *at,
        }
    }

    fn cpu_us(&self) -> Result<u64, BenchError> {
        match self {
            System::Daemon(daemon) => daemon.cpu_us(),
            System::Ceiling(_, role, _) => role.cpu_us(),
        }
    }

    fn rss_peak_bytes(&self) -> Result<u64, BenchError> {
        match self {
            System::Daemon(daemon) => daemon.rss_peak_bytes(),
            System::Ceiling(_, role, _) => role.rss_peak_bytes(),
        }
    }

    async fn written_bytes(&self) -> Result<Option<u64>, BenchError> {
        match self {
            System::Daemon(daemon) => daemon.stats("written_bytes").await.map(Some),
            System::Ceiling(..) => Ok(None),
        }
    }

    async fn quiet(&self, load: &Load) -> Result<(), BenchError> {
        match self {
            System::Daemon(daemon) => {
                daemon.quiet(load.pending + load.events * load.fan_out - load.arrive).await
            }
            // Nothing is left to be done once all has arrived.
            System::Ceiling(..) => Ok(()),
        }
    }
}

/// What a round gave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    pub events_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub cpu_us_per_event: f64,
    pub bytes_per_event: Option<f64>,
    pub arrived: u64,
    pub repeats: u64,
    pub body_bytes: u64,
}

/// One round.
pub(super) async fn round(
    receiver: &mut RoleProcess,
    system: &System,
    load: &Load,
) -> Result<Round, BenchError> {
    if load.fan_out > 0 {
        let (arrive, fan_out) = (load.arrive, load.fan_out);
        let keys = load.events * fan_out;
        receiver.ask(&format!("round deliveries={arrive} keys={keys} per_event={fan_out}")).await?;
    }
    let (cpu_us, written) = (system.cpu_us()?, system.written_bytes().await?);
    let published = publish(system.at(), load).await?;
    let start_us = published.get("start_us")?;
    let mut round = Round::default();
    let mut told = published;
    let mut end_us = told.get("end_us")?;
    if load.fan_out > 0 {
        told = receiver.ask(&format!("wait idle_ms={IDLE_MS_MAX}")).await?;
        end_us = told.get("last_us")?;
        round.arrived = told.get("arrived")?;
        round.repeats = told.get("repeats")?;
        round.body_bytes = told.get("body_bytes")?;
        if round.arrived != load.arrive || told.get("strange")? != 0 {
            return Err(BenchError::Lost { arrived: round.arrived, expected: load.arrive });
        }
    }
    system.quiet(load).await?;
    let events = load.events as f64;
    round.events_per_s = events * 1e6 / end_us.saturating_sub(start_us).max(1) as f64;
    round.p50_ms = told.get("p50_us")? as f64 / 1e3;
    round.p99_ms = told.get("p99_us")? as f64 / 1e3;
    round.cpu_us_per_event = system.cpu_us()?.saturating_sub(cpu_us) as f64 / events;
    let written = written.zip(system.written_bytes().await?);
    round.bytes_per_event = written.map(|(before, after)| (after - before) as f64 / events);
    Ok(round)
}

/// Publishes, in a process of its own.
pub(super) async fn publish(
    at: SocketAddr,
    load: &Load,
) -> Result<super::wire::Numbers, BenchError> {
    let words = [
        "loader".to_owned(),
        format!("--at={at}"),
        format!("--publishers={}", load.publishers),
        format!("--events={}", load.events),
        format!("--batch={}", load.batch),
        format!("--rate={}", load.rate),
        format!("--names={}", load.names),
        format!("--first-name={}", load.first_name),
    ];
    RoleProcess::start(&words)?.hear().await
}

/// Rounds against a daemon and its ceilings in turn, and the median of each.
pub(super) async fn compare(
    context: &mut Context,
    (scenario, case): (&'static str, &str),
    load: Load,
) -> Result<Vec<Figure>, BenchError> {
    let daemon = context.daemon().await?;
    let targets: Vec<SocketAddr> =
        (0..load.fan_out).map(|index| address(index, context.receiver.port)).collect();
    let urls = targets.iter().enumerate().map(|(index, at)| (0, format!("http://{at}/{index}")));
    webhooks(&daemon, urls.collect()).await?;
    let warm_up = load.warm_up();
    let system = System::Daemon(Box::new(daemon));
    context.progress(0, &format!("{scenario}, {case}: warming up"));
    let warm = round(&mut context.receiver.role, &system, &warm_up).await?;
    let System::Daemon(daemon) = system else { return Err(BenchError::Ended) };
    let file = daemon.beside("ceiling");
    let systems = [
        System::Daemon(daemon),
        ceiling("memory", &targets, warm.body_bytes, None).await?,
        ceiling("fdatasync", &targets, warm.body_bytes, Some(&file)).await?,
    ];
    for system in &systems[1..] {
        round(&mut context.receiver.role, system, &warm_up).await?;
    }
    let mut rounds: [Vec<Round>; 3] = Default::default();
    for number in 0..context.rounds {
        for (system, rounds) in systems.iter().zip(&mut rounds) {
            let label = format!("{scenario}, {case}: {}", system.name());
            context.progress(number, &label);
            rounds.push(round(&mut context.receiver.role, system, &load).await?);
        }
    }
    let mut figures = Vec::new();
    for (system, rounds) in systems.iter().zip(&rounds) {
        let mut figure = summary((scenario, case), system, &load, rounds)?;
        if let Some(written) = system.written_bytes().await? {
            let events = warm_up.events + load.events * rounds.len() as u64;
            figure.bytes_per_event = Some(written as f64 / events as f64);
        }
        figures.push(figure);
    }
    Ok(figures)
}

/// The medians of rounds.
pub(super) fn summary(
    (scenario, case): (&'static str, &str),
    system: &System,
    load: &Load,
    rounds: &[Round],
) -> Result<Figure, BenchError> {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    let bytes: Vec<f64> = rounds.iter().filter_map(|round| round.bytes_per_event).collect();
    Ok(Figure {
        scenario,
        case: case.to_owned(),
        system: system.name(),
        rounds: rounds.len(),
        events: load.events,
        fan_out: load.fan_out,
        arrived: rounds.iter().map(|round| round.arrived).sum(),
        repeats: rounds.iter().map(|round| round.repeats).sum(),
        events_per_s: of(|round| round.events_per_s),
        p50_ms: of(|round| round.p50_ms),
        p99_ms: of(|round| round.p99_ms),
        cpu_us_per_event: of(|round| round.cpu_us_per_event),
        bytes_per_event: None,
        bytes_per_event_of_round: (!bytes.is_empty()).then(|| median(bytes)),
        rss_peak_bytes: system.rss_peak_bytes()?,
    })
}

async fn ceiling(
    name: &'static str,
    targets: &[SocketAddr],
    body_bytes: u64,
    file: Option<&std::path::Path>,
) -> Result<System, BenchError> {
    let mut words = vec!["relay".to_owned(), format!("--body-bytes={body_bytes}")];
    words.extend(targets.iter().map(|target| format!("--to={target}")));
    words.extend(file.map(|file| format!("--file={}", file.display())));
    let mut role = RoleProcess::start(&words)?;
    let port = u16::try_from(role.hear().await?.get("port")?).map_err(|_| BenchError::Ended)?;
    Ok(System::Ceiling(name, Box::new(role), address(0, port)))
}

/// Makes webhooks: the number of an event's name, and a URL.
pub(super) async fn webhooks(
    daemon: &Daemon,
    wanted: Vec<(u64, String)>,
) -> Result<(), BenchError> {
    let wanted = Arc::new(Mutex::new(wanted.into_iter()));
    let mut makers: JoinSet<Result<(), BenchError>> = JoinSet::new();
    for _ in 0..MAKERS {
        let (control, wanted) = (Arc::clone(&daemon.control), Arc::clone(&wanted));
        makers.spawn(async move {
            loop {
                let next = wanted.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, url)) = next else { return Ok(()) };
                let body = Object::new()
                    .text("target_url", &url)
                    .text("event", &event::name(name))
                    .text("version", "0.7")
                    .text("signing_secret", event::SECRET_KEY);
                let path = Daemon::project_path("/webhooks/");
                let made = control.call(Method::POST, &path, Some(body.end())).await;
                made.and_then(|reply| reply.json()).map_err(BenchError::Daemon)?;
            }
        });
    }
    while let Some(ended) = makers.join_next().await {
        ended.map_err(|_| BenchError::Ended)??;
    }
    Ok(())
}
