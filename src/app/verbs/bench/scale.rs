//! The scenarios of scale: many targets, many pending deliveries, many webhooks.
//!
//! Owns their sizes and their bars. Must never let a dead target be one that could answer.
//!
//! The targets of `dead` are addresses of 127.0.0.0/8, all of which the receiver's two ports answer
//! at. Each gets one event while all are healthy; then the second port dies, which every other
//! target is at. What is measured is one more event for each, in every round; the three cases take
//! turns, each with a daemon and a receiver of its own. So do the sizes of `growth`, each with a
//! daemon of its own.

use http::Method;
use tokio::net::TcpSocket;

use super::measure::{Load, Round, System, publish, round, summary, webhooks};
use super::process::{Daemon, Receiver};
use super::receiver::address;
use super::report::{Bar, Figure, Findings, mebibytes};
use super::{BenchError, Context, failed};
use crate::app::args::Scenario;
use crate::model::json::Json;

/// Targets of `dead`.
const TARGETS: u64 = 10_000;
/// How long it takes to publish an event for each, so 500 a second.
const DEAD_SECONDS: u64 = 20;
const PUBLISHERS: u32 = 64;
/// Deliveries of `million`.
const MILLION: u64 = 1_000_000;
/// Those that are published right before the kill.
const LAST: u64 = 5_000;
/// Events of a round of `growth`.
const GROWTH_EVENTS: u64 = 20_000;
const GROWTH_WEBHOOKS: [u64; 3] = [10, 1_000, 100_000];
const GROWTH_PENDING: [u64; 3] = [1_000, 100_000, 1_000_000];
/// How what is only to be pending is published.
const FILL_PUBLISHERS: u32 = 4;
const FILL_BATCH: u64 = 500;

/// Measures a scenario of scale.
pub(super) async fn run(context: &mut Context, scenario: Scenario) -> Result<Findings, BenchError> {
    match scenario {
        Scenario::Dead => dead(context).await,
        Scenario::Million => million(context).await,
        _ => growth(context).await,
    }
}

/// How half of the targets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Healthy,
    Refusing,
    Hanging,
}

async fn dead(context: &mut Context) -> Result<Findings, BenchError> {
    let mut all = Vec::new();
    for half in [Half::Healthy, Half::Refusing, Half::Hanging] {
        all.push(Targets::warmed_up(context, half).await?);
    }
    // In turn, so that what else the machine does meets them all alike.
    for number in 0..context.rounds {
        for targets in &mut all {
            targets.round(context, number).await?;
        }
    }
    let mut findings = Findings::default();
    let mut healthy_p99 = f64::NAN;
    for targets in &all {
        let figure = targets.figure()?;
        if targets.half == Half::Healthy {
            healthy_p99 = figure.p99_ms;
        } else {
            let name = format!("{TARGETS} targets, {}: p99 of the healthy half", figure.case);
            let p99 = figure.p99_ms / healthy_p99;
            findings.bars.push(Bar::at_most(name, p99, 1.2, "x all healthy"));
        }
        findings.figures.push(figure);
    }
    Ok(findings)
}

/// One webhook for each target, each with its own event; every second target is of the half.
struct Targets {
    half: Half,
    receiver: Receiver,
    system: System,
    load: Load,
    rounds: Vec<Round>,
}

impl Targets {
    /// All are healthy, and each got one event.
    async fn warmed_up(context: &mut Context, half: Half) -> Result<Targets, BenchError> {
        let case = half.case();
        context.progress(0, &format!("dead, {case}: making webhooks"));
        let mut receiver = Receiver::start().await?;
        let daemon = context.daemon().await?;
        let urls = (0..TARGETS).map(|index| {
            let port = if index % 2 == 1 { receiver.mortal_port } else { receiver.port };
            (index, format!("http://{}/0", address(index, port)))
        });
        webhooks(&daemon, urls.collect()).await?;
        context.progress(0, &format!("dead, {case}: warming up"));
        let publishers = context.publishers.unwrap_or(PUBLISHERS);
        let seconds = context.seconds.unwrap_or(DEAD_SECONDS);
        let load = Load {
            rate: (TARGETS / seconds).max(1),
            names: TARGETS,
            ..Load::new(publishers, TARGETS, 1)
        };
        let system = System::Daemon(Box::new(daemon));
        round(&mut receiver.role, &system, &load).await?;
        let load = match half {
            Half::Healthy => load,
            Half::Refusing | Half::Hanging => {
                let hanging = u8::from(half == Half::Hanging);
                receiver.role.ask(&format!("die hanging={hanging}")).await?;
                Load { arrive: TARGETS / 2, ..load }
            }
        };
        Ok(Targets { half, receiver, system, load, rounds: Vec::new() })
    }

    async fn round(&mut self, context: &mut Context, number: usize) -> Result<(), BenchError> {
        context.progress(number, &format!("dead, {}: publishing", self.half.case()));
        self.rounds.push(round(&mut self.receiver.role, &self.system, &self.load).await?);
        self.load.pending += TARGETS - self.load.arrive;
        Ok(())
    }

    fn figure(&self) -> Result<Figure, BenchError> {
        summary(("dead", self.half.case()), &self.system, &self.load, &self.rounds)
    }
}

impl Half {
    fn case(self) -> &'static str {
        match self {
            Half::Healthy => "all healthy",
            Half::Refusing => "half refusing",
            Half::Hanging => "half hanging",
        }
    }
}

async fn million(context: &mut Context) -> Result<Findings, BenchError> {
    let refusing = Refusing::bind()?;
    let pending = context.events.unwrap_or(MILLION);
    let daemon = context.daemon().await?;
    webhooks(&daemon, vec![(0, format!("http://{}/0", address(0, refusing.port)))]).await?;
    context.progress(0, "million: publishing for a dead webhook");
    fill(&daemon, pending).await?;
    let rss = mebibytes(daemon.rss_bytes()?);
    let peak = mebibytes(daemon.rss_peak_bytes()?);
    context.progress(0, "million: kill -9, and again");
    // Just accepted: it is in the journal alone, and the start has to read it there.
    publish(daemon.at, &Load::new(PUBLISHERS, LAST, 0)).await?;
    let daemon = daemon.kill_and_start().await?;
    let kept = daemon.stats("pending").await?;
    if kept != pending + LAST {
        return Err(BenchError::Lost { arrived: kept, expected: pending + LAST });
    }
    let again = mebibytes(daemon.rss_bytes()?);
    let ready_s = daemon.ready_us as f64 / 1e6;
    Ok(Findings {
        figures: Vec::new(),
        bars: vec![
            Bar::at_most(format!("{pending} pending for a dead webhook, RSS"), rss, 64.0, "MiB"),
            Bar::at_most("the same, peak RSS", peak, 64.0, "MiB"),
            Bar::at_most("the same, kill -9 and restart to ready", ready_s, 1.0, "s"),
            Bar::at_most("the same, RSS after the restart", again, 64.0, "MiB"),
        ],
    })
}

async fn growth(context: &mut Context) -> Result<Findings, BenchError> {
    let events = context.events.unwrap_or(GROWTH_EVENTS);
    let load = Load::new(context.publishers.unwrap_or(PUBLISHERS), events, 1);
    let mut sizes = Vec::new();
    for count in GROWTH_WEBHOOKS {
        let case = format!("{count} webhooks");
        context.progress(0, &format!("growth, {case}: making them"));
        let daemon = context.daemon().await?;
        let at = address(0, context.receiver.port);
        let urls = (0..count).map(|index| (index, format!("http://{at}/{index}")));
        webhooks(&daemon, urls.collect()).await?;
        sizes.push(Size::new(case, daemon, Load { names: count, ..load }));
    }
    let mut findings = grow(context, sizes).await?;
    let mut sizes = Vec::new();
    for pending in GROWTH_PENDING {
        let case = format!("{pending} pending");
        context.progress(0, &format!("growth, {case}: publishing"));
        let daemon = context.daemon().await?;
        let at = address(0, context.receiver.port);
        webhooks(&daemon, vec![(0, format!("http://{at}/0"))]).await?;
        pause(&daemon).await?;
        webhooks(&daemon, vec![(1, format!("http://{at}/1"))]).await?;
        fill(&daemon, pending).await?;
        sizes.push(Size::new(case, daemon, Load { first_name: 1, pending, ..load }));
    }
    findings.add(grow(context, sizes).await?);
    Ok(findings)
}

/// A daemon that holds so much of something.
struct Size {
    case: String,
    system: System,
    load: Load,
    rounds: Vec<Round>,
}

impl Size {
    fn new(case: String, daemon: Daemon, load: Load) -> Size {
        Size { case, system: System::Daemon(Box::new(daemon)), load, rounds: Vec::new() }
    }
}

/// Measures the sizes, smallest first, in turn: what the machine does between two rounds may cost
/// more than what grows.
async fn grow(context: &mut Context, mut sizes: Vec<Size>) -> Result<Findings, BenchError> {
    for size in &sizes {
        context.progress(0, &format!("growth, {}: warming up", size.case));
        round(&mut context.receiver.role, &size.system, &size.load.warm_up()).await?;
    }
    for number in 0..context.rounds {
        for size in &mut sizes {
            context.progress(number, &format!("growth, {}", size.case));
            let round = round(&mut context.receiver.role, &size.system, &size.load).await?;
            size.rounds.push(round);
        }
    }
    let mut findings = Findings::default();
    let mut smallest = f64::NAN;
    for Size { case, system, load, rounds } in &sizes {
        let figure = summary(("growth", case), system, load, rounds)?;
        if smallest.is_nan() {
            smallest = figure.cpu_us_per_event;
        } else {
            let name = format!("CPU per event at {case}");
            let cpu = figure.cpu_us_per_event / smallest;
            findings.bars.push(Bar::at_most(name, cpu, 1.3, "x the smallest"));
        }
        findings.figures.push(figure);
    }
    Ok(findings)
}

/// Publishes what is to be pending, in large requests, and waits until that is all there is to do.
async fn fill(daemon: &Daemon, pending: u64) -> Result<(), BenchError> {
    let load = Load { batch: FILL_BATCH, ..Load::new(FILL_PUBLISHERS, pending, 0) };
    publish(daemon.at, &load).await?;
    daemon.quiet(pending).await
}

/// Pauses the only webhook that there is.
async fn pause(daemon: &Daemon) -> Result<(), BenchError> {
    let path = Daemon::project_path("/webhooks/");
    let listed = daemon.control.call(Method::GET, &path, None).await;
    let listed = listed.and_then(|reply| reply.json()).map_err(BenchError::Daemon)?;
    let id = match &listed {
        Json::Array(webhooks) => webhooks.first().and_then(|webhook| webhook.get("id")),
        _ => None,
    };
    let Some(Json::Number(id)) = id else { return Err(BenchError::Ended) };
    let path = Daemon::project_path(&format!("/webhooks/{id}/pause/"));
    let paused = daemon.control.call(Method::POST, &path, None).await;
    paused.and_then(|reply| reply.json()).map_err(BenchError::Daemon)?;
    Ok(())
}

/// A port of every address that is held, so that nobody else can listen on it.
struct Refusing {
    port: u16,
    _socket: TcpSocket,
}

impl Refusing {
    fn bind() -> Result<Refusing, BenchError> {
        let bound = TcpSocket::new_v4().and_then(|socket| {
            socket.bind(([0, 0, 0, 0], 0).into())?;
            Ok(Refusing { port: socket.local_addr()?.port(), _socket: socket })
        });
        bound.map_err(failed("holding a port"))
    }
}
