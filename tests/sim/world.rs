//! A world in virtual time: the real core and a real store, simulated targets, no runtime.
//!
//! Owns the clocks, the queue of what will happen, and the log of every attempt. Must never wait:
//! 72 hours pass as fast as there is something to do. What is checked at every step stands in
//! `oracle`, what it keeps its data on in `disk`.

#![expect(clippy::panic, reason = "a world that is not as it should be fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};

use http::HeaderValue;
use postrider::engine::command::{Answer, Command, CommandError};
use postrider::engine::core::{AttemptEnd, Core, Effect, Message, NextAttempt, Question, Settings};
use postrider::engine::submit::{Accepted, Submission, SubmitError};
use postrider::logic::address::AllowList;
use postrider::logic::batch::Durability;
use postrider::logic::dispatcher::{self, Figures, TargetLimits};
use postrider::logic::log::LogLimits;
use postrider::logic::quota::Rate;
use postrider::model::attempt::{Failure, Outcome, Phases};
use postrider::model::delivery::{CancelledReason, Ending, Finished, Queue};
use postrider::model::draft::{ProjectDraft, WebhookDraft, WebhookPatch};
use postrider::model::event::{Dialect, EventName, Kind, Source};
use postrider::model::ids::{ProjectId, Seq, WebhookId, mix};
use postrider::model::operator::Operator;
use postrider::model::project::ProjectSettings;
use postrider::model::secret::Secret;
use postrider::model::target::{Origin, TargetUrl};
use postrider::model::time::{DAY_MS, Mono, Now, SECOND_MS, Wall};
use postrider::model::webhook::{Format, Limits, Version, Webhook};
use postrider::net::Response;
use postrider::source::native::NewEvent;
use postrider::store::{ReadError, Store};
use tokio::sync::oneshot;

use super::disk::{DISK_MS, Kept, Medium};
use super::oracle::Oracle;

/// When worlds begin.
pub const START: Wall = Wall(1_700_000_000_000);
/// How long an attempt lasts at most.
pub const ATTEMPT_MS_MAX: u64 = 60_000;
/// How often the loop turns when nothing happens. (The daemon's does each second.)
const TICK_MS: u64 = 60_000;

/// How a target behaves.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with a status after some milliseconds, and perhaps asks not to be called before.
    Answer(u16, u64, Option<&'static str>),
    /// Answers nothing for a whole minute.
    Hang,
    /// Refuses connections.
    Refuse,
    /// Something else each time.
    Moody,
}

/// One attempt that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    pub webhook: u32,
    pub host: String,
    pub event: Seq,
    pub seq: Seq,
    pub attempt: u32,
    /// Milliseconds since the world began.
    pub at_ms: u64,
    pub end_ms: u64,
    pub delivered: bool,
}

/// The world.
pub struct World {
    core: Core,
    pub store: Arc<dyn Store>,
    medium: Box<dyn Medium>,
    pub oracle: Oracle,
    now_ms: u64,
    /// How far the wall clock is from where it began and has run to.
    wall_off_ms: i64,
    moods: u64,
    turns: u64,
    /// Reads are answered before the commits that they saw.
    pub quick_reads: bool,
    happening: BTreeMap<(u64, u64), Message>,
    happened: u64,
    targets: BTreeMap<String, Behaviour>,
    pub log: Vec<Started>,
    settings: Settings,
    seed: u64,
    pub project: ProjectId,
    answers: (mpsc::Sender<Message>, mpsc::Receiver<Message>),
    asked: usize,
    /// When the last batch is called back: they are in order, however long the disk takes.
    answer_ms: u64,
}

/// The limits that the daemon has unless configured.
pub fn default_settings() -> Settings {
    Settings {
        dispatcher: dispatcher::Settings {
            in_flight_max: 1_024,
            target_rate: Rate::new(500, 1_000),
            target_in_flight_max: 32,
        },
        targets: BTreeMap::new(),
        retention_ms: 7 * DAY_MS,
        disable_failing_after_ms: None,
        feed_changes_max: 1_024,
        user_agent: HeaderValue::from_static("sim"),
        log: LogLimits::default(),
    }
}

impl World {
    /// A world on a store that outlives its process.
    pub fn new(store: Arc<dyn Store>, settings: Settings, seed: u64) -> World {
        World::on(Box::new(Kept(store)), settings, seed)
    }

    /// A world on some medium.
    pub fn on(mut medium: Box<dyn Medium>, settings: Settings, seed: u64) -> World {
        let store = medium.open();
        let now = Now { wall: START, mono: Mono(0) };
        let core = Core::recover(settings.clone(), &*store, AllowList::default(), seed, now);
        let mut world = World {
            core: core.expect("recovers"),
            store,
            medium,
            oracle: Oracle::new(&settings),
            now_ms: 0,
            wall_off_ms: 0,
            moods: seed,
            turns: 0,
            quick_reads: false,
            happening: BTreeMap::new(),
            happened: 0,
            targets: BTreeMap::new(),
            log: Vec::new(),
            settings,
            seed,
            project: World::project_id(),
            answers: mpsc::channel(),
            asked: 0,
            answer_ms: 0,
        };
        let project = World::project_draft("sim");
        world.command(Command::PutProject(project)).expect("a project");
        world
    }

    /// The project's id.
    pub fn project_id() -> ProjectId {
        ProjectId::new(1).expect("an id")
    }

    /// The project under some name.
    pub fn project_draft(name: &str) -> ProjectDraft {
        ProjectDraft {
            id: Some(World::project_id()),
            name: name.to_owned(),
            public_key: "pub".to_owned(),
            secret_keys: vec![Secret::new("sec".to_owned())],
            settings: ProjectSettings::default(),
        }
    }

    pub fn target_limits(origin: &str, limits: TargetLimits) -> Settings {
        let mut settings = default_settings();
        settings.targets.insert(Origin::parse(origin).expect("an origin"), limits);
        settings
    }

    pub fn behave(&mut self, host: &str, behaviour: Behaviour) {
        self.targets.insert(host.to_owned(), behaviour);
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// A webhook for `file.uploaded` at `http://{host}/{path}`.
    pub fn webhook(&mut self, host: &str, path: &str, limits: Limits) -> WebhookId {
        self.try_webhook(host, path, limits).expect("a webhook")
    }

    /// The same on a medium that may fail: one that was made before counts, too.
    pub fn try_webhook(
        &mut self,
        host: &str,
        path: &str,
        limits: Limits,
    ) -> Result<WebhookId, CommandError> {
        let draft = draft(host, path, limits);
        if self.medium.is_bad() {
            let catalog = self.core.catalog();
            let catalog = catalog.read().expect("not poisoned");
            let same = |webhook: &&Arc<Webhook>| webhook.target_url == draft.target_url;
            if let Some(webhook) = catalog.webhooks_of(self.project).find(same) {
                return Ok(webhook.id);
            }
        }
        let command = Command::CreateWebhook { project: self.project, draft, listener: None };
        match self.command(command)? {
            Answer::Webhook(webhook) => Ok(webhook.id),
            other => panic!("no webhook: {other:?}"),
        }
    }

    /// The hidden webhook of a target of `/send/`.
    pub fn hidden(&mut self, host: &str) -> WebhookId {
        let draft = draft(host, "", Limits::default());
        match self.command(Command::CreateHidden { project: self.project, draft }) {
            Ok(Answer::Webhook(webhook)) => webhook.id,
            other => panic!("no webhook: {other:?}"),
        }
    }

    pub fn show(&self, id: WebhookId) -> Option<Arc<Webhook>> {
        self.core.catalog().read().expect("not poisoned").webhook(id).cloned()
    }

    pub fn update(&mut self, id: WebhookId, patch: WebhookPatch) {
        let command = Command::UpdateWebhook { project: self.project, id, patch };
        self.command(command).expect("updates");
    }

    /// Hands out several commands before any of them is on disk, and waits for all.
    pub fn commands_at_once(&mut self, commands: Vec<Command>) {
        for result in self.results_at_once(commands) {
            result.expect("done");
        }
    }

    /// The same, and what came of each.
    pub fn results_at_once(&mut self, commands: Vec<Command>) -> Vec<Result<Answer, CommandError>> {
        let mut answers = Vec::new();
        for command in commands {
            let (reply, answer) = oneshot::channel();
            self.tell(Message::Command { command, reply });
            answers.push(answer);
        }
        self.run_for(SECOND_MS);
        answers.into_iter().map(|mut answer| answer.try_recv().expect("an answer")).collect()
    }

    /// What is kept for the operator.
    pub fn operator(&self) -> Arc<Operator> {
        Arc::clone(self.core.catalog().read().expect("not poisoned").operator())
    }

    /// The tokens of the project: their names.
    pub fn tokens(&self) -> Vec<String> {
        let catalog = self.core.catalog();
        let catalog = catalog.read().expect("not poisoned");
        let project = catalog.project(self.project).expect("the project");
        for token in &project.intake_tokens {
            let found = catalog.intake_token(&token.hash).map(|(_, found)| found);
            assert_eq!(found, Some(token));
        }
        project.intake_tokens.iter().map(|token| token.name.clone()).collect()
    }

    /// Carries a command out, letting as much time pass as the disk takes.
    pub fn command(&mut self, command: Command) -> Result<Answer, CommandError> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Command { command, reply });
        loop {
            match answer.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => {
                    assert!(self.medium.is_bad(), "nobody answered");
                    return Err(CommandError::Draining);
                }
                Err(oneshot::error::TryRecvError::Empty) => assert!(self.step(u64::MAX), "stuck"),
            }
        }
    }

    /// The project's jobs, newest first.
    pub fn jobs(&mut self) -> Vec<Arc<postrider::model::job::Job>> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Jobs(self.project, reply));
        answer.try_recv().expect("answered at once")
    }

    /// Publishes one event, letting as much time pass as the disk takes.
    pub fn publish(&mut self) -> Accepted {
        self.publish_many(1).expect("accepted")
    }

    /// Publishes events in one request.
    pub fn publish_many(&mut self, events: usize) -> Result<Accepted, SubmitError> {
        self.submit(Submission::new(self.project, vec![event(); events], Source::Native))
    }

    /// Sends one event to a hidden webhook alone.
    pub fn send(&mut self, to: WebhookId) -> Result<Accepted, SubmitError> {
        let submission = Submission::new(self.project, vec![event()], Source::Send);
        self.submit(Submission { to: Some(to), ..submission })
    }

    fn submit(&mut self, submission: Submission) -> Result<Accepted, SubmitError> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Submit { submission, reply });
        loop {
            match answer.try_recv() {
                Ok(result) => {
                    if let Ok(accepted) = &result {
                        self.oracle.acknowledged(accepted, self.now_ms);
                    }
                    return result;
                }
                Err(oneshot::error::TryRecvError::Closed) => {
                    assert!(self.medium.is_bad(), "nobody answered");
                    return Err(SubmitError::Draining);
                }
                Err(oneshot::error::TryRecvError::Empty) => assert!(self.step(u64::MAX), "stuck"),
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while self.now_ms < until_ms {
            let tick_ms = (self.now_ms + TICK_MS).min(until_ms);
            while self.step(tick_ms) {}
            // A restart takes its time.
            self.now_ms = self.now_ms.max(tick_ms);
            self.tell(Message::Time);
        }
    }

    /// What the wall clock shows at a time of this world, as it is set now.
    pub fn wall_at(&self, ms: u64) -> Wall {
        Wall(START.plus(ms).0.saturating_add_signed(self.wall_off_ms))
    }

    /// The wall clock is set, by so much; noticed when the loop turns, if it ever does.
    pub fn set_wall(&mut self, by_ms: i64) {
        self.wall_off_ms += by_ms;
    }

    /// The machine sleeps: time passes, and nothing happens in it.
    pub fn sleep(&mut self, ms: u64) {
        self.now_ms += ms;
        self.tell(Message::Time);
    }

    /// Whether things may go wrong on its medium.
    pub fn set_faults(&mut self, on: bool) {
        self.medium.set_faults(on);
    }

    /// What it keeps its data on.
    pub fn medium(&mut self) -> &mut dyn Medium {
        &mut *self.medium
    }

    /// Figures about the queue.
    pub fn figures(&mut self) -> Figures {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Ask(Question::Figures(reply)));
        answer.try_recv().expect("figures")
    }

    /// What stands in the queues on disk.
    pub fn on_disk(&self) -> BTreeSet<Seq> {
        self.readable().expect("reads")
    }

    /// The same, where it can be read: a redb that has to be opened again can not, until then.
    pub fn readable(&self) -> Option<BTreeSet<Seq>> {
        let mut found = BTreeSet::new();
        for queue in [Queue::Fresh, Queue::Retry] {
            for lane in self.read(self.store.lanes(queue))? {
                let mut after = None;
                loop {
                    let page = self.read(self.store.due(lane, queue, after, 500))?;
                    after = page.rows.last().map(|row| row.key);
                    found.extend(page.rows.iter().map(|row| row.key.seq));
                    if !page.more {
                        break;
                    }
                }
            }
        }
        Some(found)
    }

    /// The process is killed: what is under way is lost. A new one starts after `off_ms`.
    pub fn crash(&mut self, off_ms: u64) {
        self.happening.clear();
        while self.answers.1.try_recv().is_ok() {}
        self.asked = 0;
        self.oracle.crashed();
        self.now_ms += off_ms;
        self.seed += 1;
        self.store = self.medium.reopen();
        let core = Core::recover(
            self.settings.clone(),
            &*self.store,
            AllowList::default(),
            self.seed,
            self.now(),
        );
        self.core = core.expect("recovers");
        self.tell(Message::Time);
    }

    /// Starts anew in order to have other settings.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.crash(0);
    }

    pub fn finished(&self, seq: Seq) -> Option<Finished> {
        let found = self.store.finished(seq).expect("reads");
        found.or_else(|| self.medium.trimmed(seq))
    }

    /// Attempts of one delivery, in order.
    pub fn attempts_of(&self, seq: Seq) -> Vec<Started> {
        self.log.iter().filter(|started| started.seq == seq).cloned().collect()
    }

    /// Attempts to one host, in order.
    pub fn attempts_to(&self, host: &str) -> Vec<Started> {
        self.log.iter().filter(|started| started.host == host).cloned().collect()
    }

    fn now(&self) -> Now {
        let wall = self.wall_at(self.now_ms);
        Now { wall, mono: Mono(self.now_ms) }
    }

    /// The next thing that happens up to `until_ms`; false if nothing does.
    fn step(&mut self, until_ms: u64) -> bool {
        let wake_ms = self.core.next_wake().map(|at| at.0);
        let next_ms = self.happening.keys().next().map(|(at, _)| *at);
        let at_ms = match (wake_ms, next_ms) {
            (Some(wake), Some(next)) => wake.min(next),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return false,
        };
        let at_ms = at_ms.max(self.now_ms);
        if at_ms > until_ms {
            return false;
        }
        self.now_ms = at_ms;
        let message = match self.happening.first_entry() {
            Some(entry) if entry.key().0 <= at_ms => entry.remove(),
            _ => Message::Time,
        };
        if let Message::Ended(end) = &message {
            self.oracle.ended(end);
        }
        self.tell(message);
        true
    }

    /// How often the loop has turned.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    fn tell(&mut self, message: Message) {
        self.turns += 1;
        self.medium.turn(self.now_ms);
        if !self.medium.is_down() {
            self.core.apply(self.now(), message);
            self.core.flush();
        }
        while !self.medium.is_down()
            && let Some(effect) = self.core.poll()
        {
            self.perform(effect);
        }
        self.answered();
        if let Some(why) = self.core.broken() {
            assert!(self.medium.is_down() || self.medium.gives_up(), "the store failed: {why}");
        }
        if self.medium.is_down() {
            let off_ms = self.medium.off_ms();
            self.crash(off_ms);
        }
        self.oracle.turned();
    }

    /// What the store called back comes when the disk is done.
    fn answered(&mut self) {
        if self.medium.is_prompt() {
            while let Ok(message) = self.answers.1.try_recv() {
                self.answer_ms = self.answer_ms.max(self.now_ms + self.medium.disk_ms());
                self.later(self.answer_ms - self.now_ms, message);
            }
            return;
        }
        for _ in 0..std::mem::take(&mut self.asked) {
            let message = self.answers.1.recv().expect("every batch is called back");
            self.later(DISK_MS, message);
        }
    }

    fn later(&mut self, in_ms: u64, message: Message) {
        self.happened += 1;
        self.happening.insert((self.now_ms + in_ms, self.happened), message);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Commit { ticket, mut batch } => {
                // A batch that may wait would wait in real time.
                if !self.medium.is_prompt() {
                    batch.durability = Durability::Now;
                }
                self.oracle.committing(&batch, self.now_ms);
                let answers = self.answers.0.clone();
                self.asked += 1;
                self.store.commit(
                    batch,
                    Box::new(move |result| {
                        answers
                            .send(Message::Committed { ticket, result })
                            .expect("somebody waits");
                    }),
                );
            }
            Effect::Fetch { number, webhook, queue, after, rows } => {
                let page = self.store.due(webhook, queue, after, rows);
                let rows = self.read(page).map(|page| (page.rows, page.more));
                let read_ms = if self.quick_reads { 0 } else { DISK_MS };
                self.later(read_ms, Message::Fetched { number, webhook, rows });
            }
            Effect::ReadExpired { finished, omitted } => {
                let event = self.store.event(finished.event);
                let event = self.read(event).flatten();
                self.later(DISK_MS, Message::ExpiredRead { finished, omitted, event });
            }
            Effect::LookForRoom => {
                let stats = self.store.stats();
                if let Some(stats) = self.read(stats) {
                    self.later(DISK_MS, Message::Room { is_full: stats.is_full });
                }
            }
            Effect::Look { number, look } => {
                let found = self.read(look.read(&*self.store));
                let read_ms = if self.quick_reads { 0 } else { DISK_MS };
                self.later(read_ms, Message::Looked(number, found));
            }
            Effect::Upkeep { keep_since, rows_max } => {
                let answers = self.answers.0.clone();
                self.asked += 1;
                self.store.upkeep(
                    keep_since,
                    rows_max,
                    Box::new(move |result| {
                        answers.send(Message::UpkeepDone(result)).expect("somebody waits");
                    }),
                );
            }
            Effect::Start(next) => self.start(*next),
        }
        self.answered();
    }

    fn start(&mut self, next: NextAttempt) {
        // Most attempts bring their event with them, as they do in the daemon.
        if next.event.is_none() {
            let event = self.store.event(next.row.event);
            let Some(event) = self.read(event) else {
                let outcome = Outcome::Failure(Failure::OutOfResources);
                return self.end(&next, outcome, DISK_MS, None);
            };
            let event = event.expect("the store keeps the event of what waits");
            if event.erased_at.is_some() {
                let ending = Ending::Cancelled(CancelledReason::Erased);
                return self.later(DISK_MS, Message::Unsendable(next.row, ending));
            }
        }
        let host = next.webhook.target_url.origin().host.to_string();
        let behaviour = self.targets.get(&host).cloned();
        let (outcome, took_ms, retry_after) = match behaviour {
            None => (Outcome::Status(200), 5, None),
            Some(Behaviour::Answer(status, ms, retry)) => (Outcome::Status(status), ms, retry),
            Some(Behaviour::Hang) => (Outcome::Failure(Failure::Timeout), ATTEMPT_MS_MAX, None),
            Some(Behaviour::Refuse) => (Outcome::Failure(Failure::ConnectRefused), 1, None),
            Some(Behaviour::Moody) => self.mood(),
        };
        let catalog = self.core.catalog();
        let catalog = catalog.read().expect("nobody panicked with it");
        // Its own pauses, and those of its target.
        let paused_ms = catalog.paused_ms(&next.webhook, self.core.steady());
        self.oracle.started(self.now_ms, self.core.steady(), &next, paused_ms);
        self.log.push(Started {
            webhook: next.webhook.id.get(),
            host,
            event: next.row.event,
            seq: next.row.key.seq,
            attempt: next.row.attempts + 1,
            at_ms: self.now_ms,
            end_ms: self.now_ms + took_ms,
            delivered: outcome == Outcome::Status(200),
        });
        self.end(&next, outcome, took_ms, retry_after);
    }

    /// A read that is refused for a reason is tried again.
    fn read<T>(&self, read: Result<T, ReadError>) -> Option<T> {
        if let Err(error) = &read {
            assert!(self.medium.may_refuse_reads(), "the store can't be read: {error}");
        }
        read.ok()
    }

    fn end(
        &mut self,
        next: &NextAttempt,
        outcome: Outcome,
        took_ms: u64,
        retry_after: Option<&str>,
    ) {
        let end = AttemptEnd {
            row: next.row,
            probe: next.probe,
            started: self.now().wall,
            delivery: None,
            is_notice: self.is_notice(next),
            revision: next.webhook.revision,
            request_crc: None,
            response: Response {
                outcome,
                address: None,
                phases: Phases::default(),
                headers: Vec::new(),
                body: Vec::new(),
                body_truncated: false,
                retry_after: retry_after.map(str::to_owned),
                refused: None,
            },
        };
        self.later(took_ms, Message::Ended(Box::new(end)));
    }

    fn is_notice(&self, next: &NextAttempt) -> bool {
        match &next.event {
            Some(cached) => cached.event.source == Source::Notice,
            None => self
                .read(self.store.event(next.row.event))
                .flatten()
                .is_some_and(|event| event.source == Source::Notice),
        }
    }

    fn mood(&mut self) -> (Outcome, u64, Option<&'static str>) {
        self.moods = self.moods.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = mix(self.moods);
        let took_ms = (drawn >> 32) % 300;
        let status = |status| (Outcome::Status(status), took_ms, None);
        let failure = |failure| (Outcome::Failure(failure), took_ms, None);
        match drawn % 20 {
            0 => status(500),
            1 => (Outcome::Status(503), took_ms, Some("30")),
            2 => (Outcome::Status(429), took_ms, Some("120")),
            3 => (Outcome::Failure(Failure::Timeout), ATTEMPT_MS_MAX, None),
            4 => failure(Failure::ConnectRefused),
            5 => failure(Failure::Dns),
            // The body comes slowly.
            6 => (Outcome::Status(200), 40_000 + took_ms, None),
            7 => failure(Failure::OutOfResources),
            8 => failure(Failure::ConnectionClosed),
            9 => status(302),
            _ => status(200),
        }
    }
}

fn draft(host: &str, path: &str, limits: Limits) -> WebhookDraft {
    WebhookDraft {
        target_url: TargetUrl::parse(&format!("http://{host}/{path}")).expect("a URL"),
        events: vec![EventName::parse("file.uploaded").expect("a name")],
        options: Default::default(),
        format: Format::Uploadcare(Version::V07),
        is_active: true,
        secret: None,
        headers: Vec::new(),
        limits,
    }
}

fn event() -> NewEvent {
    NewEvent {
        kind: Kind::FileUploaded,
        dialect: Dialect::Uploadcare,
        name: EventName::parse("file.uploaded").expect("a name"),
        data: b"{\"uuid\":\"x\"}".to_vec(),
        file: None,
        initiator: None,
        previous_values: None,
        occurred_at: None,
        idempotency_key: None,
    }
}
