//! Seeded worlds: random targets, traffic, operators, crashes and clocks, judged by the oracle.
//!
//! Owns the schedules, which seeds are run, and what every one of them must end in. Must never be
//! told the core's mind: a schedule sees what an operator and a publisher see.
//!
//! The seeds of a run derive from the commit (or `POSTRIDER_SEED`), `POSTRIDER_SIM_SEEDS` says how
//! many there are, `SIM_SEED=n` runs one alone, and those that failed once stand in `seeds.txt`.

#![expect(clippy::print_stdout, reason = "whoever repeats a world needs its seed")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command as Process;

use postrider::engine::command::act::Act;
use postrider::engine::command::{Command, CommandError};
use postrider::engine::core::Settings;
use postrider::logic::quota::Rate;
use postrider::model::draft::WebhookPatch;
use postrider::model::ids::{Seq, WebhookId, mix};
use postrider::model::job::{Asker, JobKind, Only, Selection};
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::{Limits, WebhookState};

use super::disk::{Kept, Medium};
use super::machine::Machine;
use super::memory;
use super::world::{Behaviour, World, default_settings};

/// Seeds of a run, unless it is told.
const SEEDS_DEFAULT: u64 = 12;
/// Fewer worlds need not reach every state.
const MARKS_SEEDS_MIN: usize = 60;
/// How long a schedule goes on at least.
const SCHEDULE_MS_MIN: u64 = 12 * HOUR_MS;
/// When all faults have stopped, everything is delivered within this time: a retry's hour and its
/// jitter, a `Retry-After`, a clock that is slewed, and the backlog at the targets' rate.
const DRAIN_MS_MAX: u64 = 4 * HOUR_MS;
/// How often something is tried, a minute apart, after a fault has stopped.
const CALM_TRIES_MAX: u32 = 10;
/// A clock that is wrong for less than this is never believed.
const WRONG_MS_MAX: u64 = 50 * MINUTE_MS;
/// The wall clock may jump for good by so much in all: a frozen machine.
const FROZEN_MS_MAX: u64 = 3 * HOUR_MS;

/// What has to be reached over the seeds of a run.
const MARKS: [&str; 37] = [
    "a batch was refused for want of room",
    "a checkpoint before its time",
    "a crash with attempts under way",
    "a process ended because its store could not write",
    "a removed segment came back",
    "a segment that found no room",
    "a segment was used again",
    "a settlement was held for want of room",
    "a start on a full disk",
    "a start that met an error",
    "a start that was cut off",
    "a sync of the journal that failed",
    "a target has all its slots in use",
    "a write that found no room",
    "a write to the journal was torn",
    "a job began",
    "days offline",
    "deleted",
    "delivered",
    "disabled",
    "expired",
    "frozen",
    "inactive",
    "paused",
    "slept",
    "slots that passed are made up for by one attempt",
    "started with a dead battery",
    "the backlog drains beside new events",
    "sent again",
    "redb was opened again when there was room",
    "the clock back and right again",
    "the clock back for good",
    "the clock forward and right again",
    "the journal was trimmed",
    "the power went while a checkpoint was under way",
    "what was under way is gone",
    "what was under way is there",
];

#[test]
fn every_world_keeps_its_promises() {
    let mut marks = BTreeSet::new();
    let (mut days, mut cuts) = (0.0, 0);
    let seeds = seeds();
    for seed in &seeds {
        let ended = run(*seed, Box::new(Machine::new(*seed)));
        marks.extend(ended.marks);
        days += ended.ms as f64 / DAY_MS as f64;
        cuts += ended.cuts;
    }
    println!("{} worlds, {days:.0} simulated days, {cuts} power cuts, 0 violations", seeds.len());
    if seeds.len() >= MARKS_SEEDS_MIN {
        let missing: Vec<&str> = MARKS.into_iter().filter(|mark| !marks.contains(mark)).collect();
        assert!(missing.is_empty(), "never reached: {missing:?}");
    }
}

#[test]
fn the_same_seed_twice_is_the_same_world() {
    let sound = |seed| run(seed, Box::new(Kept(memory()))).trace;
    let failing = |seed| run(seed, Box::new(Machine::new(seed))).trace;
    assert_eq!(sound(1), sound(1));
    assert_ne!(sound(1), sound(2));
    for seed in 1..=3 {
        assert_eq!(failing(seed), failing(seed));
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let caught = |seed| {
        let world = || run(seed, Box::new(Machine::lying(seed)));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(world)).is_err()
    };
    for seed in 1..=3 {
        assert!(caught(seed), "seed {seed}");
    }
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect(name));
    if let Some(seed) = number("SIM_SEED") {
        return vec![seed];
    }
    let base = number("POSTRIDER_SEED").unwrap_or_else(of_the_commit);
    let count = number("POSTRIDER_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    println!("{count} seeds from {base} on");
    let known = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let known = known.map(|line| line.split_whitespace().next().expect("a seed"));
    let known = known.map(|seed| seed.parse().expect("a number"));
    known.chain((0..count).map(|n| base.wrapping_mul(1_000_003).wrapping_add(n))).collect()
}

/// A number for the commit; 1 where there is none.
fn of_the_commit() -> u64 {
    let git = Process::new("git").args(["rev-parse", "--short=7", "HEAD"]).output();
    let commit = git.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    commit.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(1)
}

/// What came of a world.
pub struct Ended {
    pub trace: u64,
    pub marks: BTreeSet<&'static str>,
    pub ms: u64,
    pub cuts: u64,
}

/// Runs one world to its end.
pub fn run(seed: u64, medium: Box<dyn Medium>) -> Ended {
    println!("SIM_SEED={seed}");
    let mut schedule = Schedule::new(seed, medium);
    while schedule.world.now_ms() < SCHEDULE_MS_MIN {
        schedule.act();
    }
    schedule.calm();
    schedule.judge();
    let Schedule { mut world, .. } = schedule;
    let (trace, ms) = (world.oracle.trace(), world.now_ms());
    let mut marks = world.medium().marks();
    marks.extend(&world.oracle.marks);
    Ended { trace, marks, ms, cuts: world.medium().cuts() }
}

struct Schedule {
    world: World,
    chance: u64,
    /// Each webhook's place, so that it can be made again.
    webhooks: BTreeMap<WebhookId, (&'static str, String, Limits)>,
    /// Those whose deliveries were ended by somebody at some time.
    closed: BTreeSet<WebhookId>,
    paths: u32,
    frozen_ms: u64,
    /// How far the clock was behind when deliveries were accepted, where it was put right later.
    behind_ms: BTreeMap<Seq, u64>,
}

const HOSTS: [&str; 6] =
    ["a.example", "b.example", "c.example", "d.example", "e.example", "f.example"];

fn settings() -> Settings {
    let mut settings = default_settings();
    settings.dispatcher.in_flight_max = 20;
    settings.dispatcher.target_rate = Rate::new(20, 5);
    settings.dispatcher.target_in_flight_max = 4;
    settings.retention_ms = 90 * DAY_MS;
    settings
}

impl Schedule {
    fn new(seed: u64, medium: Box<dyn Medium>) -> Schedule {
        let world = World::on(medium, settings(), seed);
        let mut schedule = Schedule {
            world,
            chance: mix(seed),
            webhooks: BTreeMap::new(),
            closed: BTreeSet::new(),
            paths: 0,
            frozen_ms: 0,
            behind_ms: BTreeMap::new(),
        };
        for host in HOSTS {
            schedule.create(host, Limits::default());
        }
        schedule.create(HOSTS[0], Limits::default());
        let own = Limits { rate_per_second: Some(2), burst: Some(1), in_flight: Some(1) };
        schedule.create(HOSTS[1], own);
        schedule
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.chance) % below
    }

    fn create(&mut self, host: &'static str, limits: Limits) {
        self.paths += 1;
        let path = format!("{}", self.paths);
        let id = loop {
            match self.world.try_webhook(host, &path, limits) {
                Ok(id) => break id,
                Err(error) => self.may_fail(Err::<(), _>(error)),
            }
            self.world.run_for(MINUTE_MS);
        };
        self.webhooks.insert(id, (host, path, limits));
    }

    fn some_webhook(&mut self) -> WebhookId {
        let at = self.draw(self.webhooks.len() as u64) as usize;
        *self.webhooks.keys().nth(at).expect("there is one")
    }

    fn act(&mut self) {
        self.world.quick_reads = self.draw(2) == 0;
        match self.draw(40) {
            0..=13 => self.publish(),
            14..=21 => self.change_target(),
            22..=24 => self.pause_or_resume(),
            25 => self.switch(),
            26 => self.delete(),
            27..=30 => self.crash(),
            31..=32 => self.wrong_clock(),
            33 => self.shift_clock(),
            34 => self.sleep(),
            // A store without a number knows no better than the clock.
            35 if !self.world.oracle.acked.is_empty() => self.dead_battery(),
            36..=37 => self.again_or_no_more(),
            38 => self.begin_job(),
            _ => {}
        }
        let gap_ms = match self.draw(10) {
            0..=3 => self.draw(2 * SECOND_MS),
            4..=6 => self.draw(MINUTE_MS),
            7..=8 => self.draw(20 * MINUTE_MS),
            _ => self.draw(2 * HOUR_MS),
        };
        self.world.run_for(gap_ms);
    }

    fn publish(&mut self) {
        // Now and then more than the windows hold.
        let (requests, events) =
            if self.draw(80) == 0 { (30, 20) } else { (1, 1 + self.draw(12) as usize) };
        for _ in 0..requests {
            let accepted = self.world.publish_many(events);
            self.may_fail(accepted);
        }
    }

    /// Whether it went well; on a sound medium, it must.
    fn may_fail<T, E: std::fmt::Debug>(&mut self, result: Result<T, E>) {
        if let Err(error) = result {
            assert!(self.world.medium().is_bad(), "{error:?}");
        }
    }

    fn change_target(&mut self) {
        let host = HOSTS[self.draw(HOSTS.len() as u64) as usize];
        let behaviour = match self.draw(16) {
            0..=3 => Behaviour::Answer(200, 1 + self.draw(300), None),
            4..=6 => Behaviour::Moody,
            7..=8 => Behaviour::Answer(500, 20, None),
            9 => Behaviour::Answer(503, 20, Some("600")),
            10 => Behaviour::Answer(429, 20, Some("3000")),
            11..=12 => Behaviour::Refuse,
            13 => Behaviour::Hang,
            // The body takes its time.
            14 => Behaviour::Answer(200, 50_000, None),
            _ => Behaviour::Answer(if self.draw(3) == 0 { 410 } else { 404 }, 5, None),
        };
        self.world.behave(host, behaviour);
    }

    fn pause_or_resume(&mut self) {
        let (id, project) = (self.some_webhook(), self.world.project);
        let state = self.world.show(id).expect("is there").state;
        if state == WebhookState::Active {
            let paused = self.world.command(Command::PauseWebhook { project, id });
            self.may_fail(paused);
            self.world.oracle.mark("paused");
        } else if matches!(state, WebhookState::Paused { .. }) {
            let resumed = self.world.command(Command::ResumeWebhook { project, id });
            self.may_fail(resumed);
        }
    }

    /// Makes a webhook inactive, or active again.
    fn switch(&mut self) {
        let id = self.some_webhook();
        let is_active = !self.world.show(id).expect("is there").is_active();
        let patch = WebhookPatch { is_active: Some(is_active), ..Default::default() };
        let project = self.world.project;
        let updated = self.world.command(Command::UpdateWebhook { project, id, patch });
        self.may_fail(updated);
        self.closed.insert(id);
    }

    fn delete(&mut self) {
        let (id, project) = (self.some_webhook(), self.world.project);
        let deleted = self.world.command(Command::DeleteWebhook { project, id });
        self.may_fail(deleted);
        self.closed.insert(id);
        if self.world.show(id).is_some() {
            return;
        }
        if let Some((host, _, limits)) = self.webhooks.remove(&id) {
            self.create(host, limits);
        }
    }

    /// Sends one delivery again, or cancels it; whether that is possible is told.
    fn again_or_no_more(&mut self) {
        let at = self.draw(self.world.oracle.acked.len().max(1) as u64) as usize;
        let Some((seq, acked)) = self.world.oracle.acked.iter().nth(at) else { return };
        let (seq, event) = (*seq, acked.event);
        let Ok(Some(event)) = self.world.store.event(event) else { return };
        let (project, id) = (self.world.project, event.id.delivery(seq));
        let cancels = self.draw(2) == 0;
        let act = if cancels { Act::Cancel(id) } else { Act::Resend(id) };
        match self.world.command(Command::Act { project, act }) {
            Ok(_) if cancels => self.world.oracle.cancelled(seq),
            Ok(_) => self.world.oracle.mark("sent again"),
            Err(CommandError::Act(_) | CommandError::Overtaken) => {}
            failed => self.may_fail(failed),
        }
    }

    fn begin_job(&mut self) {
        let webhook = Some(self.some_webhook());
        let kind = [
            JobKind::Resend,
            JobKind::Recover(Only::All),
            JobKind::Recover(Only::Missing),
            JobKind::Cancel,
        ][self.draw(4) as usize];
        let (project, selection) =
            (self.world.project, Selection { webhook, ..Selection::default() });
        let act = Act::Begin { what: (kind, selection), who: Asker::Project };
        match self.world.command(Command::Act { project, act }) {
            Ok(_) => self.world.oracle.mark("a job began"),
            Err(CommandError::Act(_)) => {}
            failed => self.may_fail(failed),
        }
    }

    fn crash(&mut self) {
        let off_ms = match self.draw(12) {
            0 => {
                self.world.oracle.mark("days offline");
                62 * HOUR_MS + self.draw(16 * HOUR_MS)
            }
            1..=4 => self.draw(2 * HOUR_MS),
            _ => self.draw(2 * SECOND_MS),
        };
        self.world.crash(off_ms);
        self.nothing_is_missing();
    }

    /// The wall clock is wrong for a while, in which things go on.
    fn wrong_clock(&mut self) {
        let far_ms = match self.draw(3) {
            0 => self.draw(2 * MINUTE_MS),
            1 => self.draw(6 * HOUR_MS),
            _ => self.draw(800 * DAY_MS),
        };
        let forward = self.draw(2) == 0;
        // While it is young it believes its wall clock: that is another case.
        self.world.set_faults(false);
        self.world.run_for(11 * MINUTE_MS);
        let by_ms = if forward { far_ms as i64 } else { -(far_ms as i64) };
        self.world.set_wall(by_ms);
        let until_ms = self.world.now_ms() + self.draw(WRONG_MS_MAX);
        while self.world.now_ms() < until_ms {
            if self.draw(2) == 0 {
                self.publish()
            } else {
                self.change_target()
            }
            let left_ms = until_ms.saturating_sub(self.world.now_ms());
            let gap_ms = self.draw(10 * MINUTE_MS).min(left_ms);
            self.world.run_for(gap_ms + 1);
        }
        self.world.set_wall(-by_ms);
        self.world.set_faults(true);
        let mark = if forward {
            "the clock forward and right again"
        } else {
            "the clock back and right again"
        };
        self.world.oracle.mark(mark);
    }

    /// The wall clock jumps for good: forward, as a machine sees it that was frozen as a whole, or
    /// back, as one that was wrong before.
    fn shift_clock(&mut self) {
        let ms = self.draw(90 * MINUTE_MS);
        if self.draw(2) == 0 {
            self.world.set_wall(-(ms as i64));
            self.world.oracle.mark("the clock back for good");
        } else if self.frozen_ms + ms <= FROZEN_MS_MAX {
            self.frozen_ms += ms;
            self.world.set_wall(ms as i64);
            self.world.oracle.mark("frozen");
        }
    }

    fn sleep(&mut self) {
        let ms = self.draw(10 * HOUR_MS);
        self.world.sleep(ms);
        self.world.oracle.mark("slept");
    }

    /// The machine comes up in another year and is put right soon.
    fn dead_battery(&mut self) {
        let by_ms = (DAY_MS * (1 + self.draw(10_000))) as i64;
        self.world.set_faults(false);
        self.world.set_wall(-by_ms);
        let off_ms = self.draw(HOUR_MS);
        self.world.crash(off_ms);
        let up_ms = self.world.now_ms();
        self.nothing_is_missing();
        self.publish();
        let wrong_ms = self.draw(9 * MINUTE_MS);
        self.world.run_for(wrong_ms);
        self.world.set_wall(by_ms);
        // Until then it was as late as the newest number: 72 hours are shorter by that.
        let since = self.world.oracle.acked.iter().filter(|(_, acked)| acked.at_ms >= up_ms);
        let behind =
            since.map(|(seq, acked)| (*seq, self.world.wall_at(acked.at_ms).since(seq.wall())));
        self.behind_ms.extend(behind);
        self.world.set_faults(true);
        self.world.oracle.mark("started with a dead battery");
    }

    /// After a start: all that was acknowledged is on disk, waiting or ended. What can't be read
    /// now is looked at after the next start, and at the end.
    fn nothing_is_missing(&mut self) {
        let Some(waiting) = self.world.readable() else { return };
        for (seq, acked) in &self.world.oracle.acked {
            let is_there = waiting.contains(seq)
                || self.closed.contains(&acked.webhook)
                || self.world.finished(*seq).is_some()
                // Disabled by its target.
                || !self.world.show(acked.webhook).is_some_and(|webhook| webhook.is_active());
            assert!(is_there, "{seq:?} was acknowledged and is lost");
        }
    }

    /// All faults stop, and everything has to drain.
    fn calm(&mut self) {
        self.world.set_faults(false);
        for host in HOSTS {
            self.world.behave(host, Behaviour::Answer(200, 20, None));
        }
        let project = self.world.project;
        for id in self.webhooks.keys().copied().collect::<Vec<_>>() {
            let mut tries = 0;
            while let WebhookState::Paused { .. } = self.world.show(id).expect("is there").state {
                let resumed = self.world.command(Command::ResumeWebhook { project, id });
                assert!(tries < CALM_TRIES_MAX, "{resumed:?} when all is well");
                self.may_fail(resumed);
                self.world.run_for(MINUTE_MS);
                tries += 1;
            }
        }
        self.world.run_for(DRAIN_MS_MAX);
    }

    fn judge(&mut self) {
        let waiting = self.world.on_disk();
        assert!(waiting.is_empty(), "{} still wait when all is well", waiting.len());
        assert_eq!(self.world.store.stats().expect("reads").pending, 0);
        assert_eq!(self.world.figures().rows_held, 0);
        assert!(self.world.jobs().iter().all(|job| !job.is_running()), "a job stands still");
        assert_eq!(self.world.figures().in_flight, 0);
        for (seq, acked) in self.world.oracle.acked.clone() {
            let finished = self.world.finished(seq);
            assert!(finished.is_some(), "{seq:?} was acknowledged and is lost");
            let finished = finished.expect("was just checked");
            assert_eq!((finished.event, finished.webhook), (acked.event, acked.webhook));
            let ended_ms = self.world.oracle.ended_ms.get(&seq).copied();
            let age_ms = ended_ms.unwrap_or(acked.at_ms).saturating_sub(acked.at_ms);
            let behind_ms = self.behind_ms.get(&seq).copied().unwrap_or(0);
            let age_ms = age_ms + self.frozen_ms + behind_ms;
            self.world.oracle.check_ending(seq, finished.ending, age_ms);
        }
        self.world.medium().judge();
    }
}
