//! The contract of the store, held against every store there is.
//!
//! Owns the suite that compares `embedded` with the oracle `memory` over generated histories, and
//! the tests of what only a disk can do: reopen, lock, rot. Must never test one store alone where
//! the contract speaks of all.

mod erased;
mod found;
mod jobs;
mod revisions;
mod room;
mod sync;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use postrider::logic::batch::{
    AcceptedEvent, Batch, Durability, Expect, IdempotencyRecord, Next, Op,
};
use postrider::model::attempt::{
    Attempt, Extent, HeaderKept, NextWhy, Outcome, Phases, RequestMark, ResponseKept, Verdict,
};
use postrider::model::delivery::{
    CancelledReason, Ending, FailedReason, Finished, Pending, Queue, QueueKey,
};
use postrider::model::event::{Dialect, Event, EventName, Kind, Source};
use postrider::model::ids::{EventId, ProjectId, Seq, WebhookId};
use postrider::model::operator::{Operator, OperatorToken, TargetSettings};
use postrider::model::project::Project;
use postrider::model::secret::Secret;
use postrider::model::target::{Origin, TargetUrl};
use postrider::model::time::Wall;
use postrider::model::webhook::{Format, Limits, Version, Webhook, WebhookState};
use postrider::store::embedded::inline::Inline;
use postrider::store::embedded::journal::memory::Disk;
use postrider::store::embedded::vault::{Key, Vault};
use postrider::store::embedded::{Embedded, FILE_NAME, JOURNAL_NAME, OpenError, Settings};
use postrider::store::memory::Memory;
use postrider::store::{CommitError, ReadError, Records, Store, Upkeep};
use proptest::prelude::*;

const CACHE_BYTES: usize = 8 * 1024 * 1024;

fn vault(first: u8, others: &[u8]) -> Vault {
    Vault::new(Key::new([first; 32]), others.iter().map(|byte| Key::new([*byte; 32])).collect())
}

fn settings() -> Settings {
    Settings { cache_bytes: CACHE_BYTES, ..Settings::default() }
}

fn on_memory() -> Embedded {
    let backend = redb::backends::InMemoryBackend::new;
    Embedded::open_on(backend, Disk::default(), vault(1, &[]), settings()).expect("opens")
}

/// A directory that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("postrider-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Scratch(path)
    }

    fn open(&self) -> Embedded {
        Embedded::open(&self.0, vault(1, &[]), settings()).expect("opens")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn commit_with(store: &dyn Store, expect: Vec<Expect>, ops: Vec<Op>) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let batch = Batch { expect, ops, durability: Durability::Now };
    store.commit(batch, Box::new(move |result| sender.send(result).expect("the test waits")));
    match receiver.recv().expect("every batch is called back") {
        Ok(()) => Ok(()),
        Err(CommitError::Refused(i)) => Err(format!("refused {i}")),
        Err(error) => Err(error.to_string()),
    }
}

fn commit(store: &dyn Store, ops: Vec<Op>) {
    commit_with(store, Vec::new(), ops).expect("commits");
}

fn upkeep(store: &dyn Store, keep_since: u64, rows_max: usize) -> Upkeep {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result| sender.send(result).expect("the test waits"));
    store.upkeep(Wall(keep_since), rows_max, done);
    receiver.recv().expect("every step is called back").expect("upkeep works")
}

fn project(id: u32) -> Project {
    Project {
        id: ProjectId::new(id).expect("an id"),
        name: format!("p{id}"),
        public_key: format!("pub{id}"),
        secret_keys: vec![Secret::new(format!("canary-key-{id}"))],
        created: Wall(1),
        settings: Default::default(),
        intake_tokens: Vec::new(),
    }
}

fn operator() -> Arc<Operator> {
    let token = OperatorToken { id: 1, name: "o".to_owned(), hash: [3; 32], created: Wall(1) };
    let target = Origin::parse("https://a.example:8443").expect("an origin");
    let settings = TargetSettings { rate_per_second: Some(3), ..TargetSettings::default() };
    let targets = [(target, settings)].into();
    let removed_projects = [ProjectId::new(7).expect("an id")].into();
    Arc::new(Operator { tokens: vec![token], token_id_max: 1, targets, removed_projects })
}

fn webhook(id: u32, event: &str, url: &str, revision: u64) -> Webhook {
    Webhook {
        id: WebhookId::new(id).expect("an id"),
        project: ProjectId::new(1).expect("an id"),
        target_url: TargetUrl::parse(url).expect("a URL"),
        events: vec![EventName::parse(event).expect("a name")],
        format: Format::Uploadcare(Version::V07),
        state: WebhookState::Active,
        secret: Some(Secret::new("canary-signing-secret".to_owned())),
        rotation: None,
        headers: vec![("x-a".to_owned(), "b".to_owned())],
        limits: Limits::default(),
        created: Wall(1),
        updated: Wall(2),
        revision,
        paused_total_ms: 0,
        failing_since: None,
        listener: None,
        hidden: false,
        public_id: "wh-0000000000000000000000".to_owned(),
        options: Default::default(),
    }
}

fn event(ms: u64, n: u64) -> Arc<Event> {
    Arc::new(Event {
        id: EventId { seq: Seq(Seq::at(Wall(ms)).0 + n), salt: n },
        project: ProjectId::new(1).expect("an id"),
        kind: Kind::FileUploaded,
        dialect: Dialect::Uploadcare,
        name: EventName::parse("file.uploaded").expect("a name"),
        data: br#"{"uuid":"canary-payload"}"#.to_vec(),
        file: None,
        initiator: None,
        previous_values: None,
        occurred_at: None,
        accepted_at: Wall(ms),
        idempotency_key: None,
        source: Source::Native,
        erased_at: None,
    })
}

fn pending(lane: u32, due: u64, seq: Seq, event: Seq, attempts: u32) -> Pending {
    let webhook = WebhookId::new(lane).expect("an id");
    Pending {
        key: QueueKey { webhook, due: Wall(due), seq },
        project: ProjectId::new(1 + lane % 2).expect("an id"),
        event,
        accepted: Wall(due),
        attempts,
        slot: attempts,
        first_attempt: (attempts > 0).then_some(Wall(due)),
        deadline: Wall(u64::MAX / 2),
        paused_base_ms: 0,
    }
}

fn attempt(number: u32) -> Attempt {
    Attempt {
        number,
        started: Wall(5),
        address: Some("192.0.2.1:443".parse().expect("an address")),
        phases: Phases::default(),
        outcome: Outcome::Status(500),
        revision: 3,
        request: Some(RequestMark { user_agent: "postrider/1".into(), crc: number }),
        verdict: Verdict::Retry { connection: false },
        next_due: Some(Wall(9)),
        next_why: Some(NextWhy::Slot),
        response: Some(Box::new(ResponseKept {
            headers: vec![HeaderKept { name: "x-a".to_owned(), value: vec![0xff, 0, b'a'] }],
            headers_extent: Extent::Truncated,
            body: vec![0, 0xfe, b'b'],
            body_extent: Extent::Whole,
        })),
    }
}

/// A redb file in memory that outlives its database, as a disk does.
#[derive(Clone, Debug)]
struct Backend(Arc<redb::backends::InMemoryBackend>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A store whose checkpoints and ends are steps of the history: a reader meets all its layers, and
/// a start applies what the journal holds.
struct Stepped {
    inline: Option<Inline>,
    backend: Backend,
    disk: Disk,
}

impl Stepped {
    fn new() -> Stepped {
        let backend = Backend(Arc::new(redb::backends::InMemoryBackend::new()));
        let mut stepped = Stepped { inline: None, backend, disk: Disk::default() };
        stepped.reopen();
        stepped
    }

    /// As after a kill: what is in memory is gone.
    fn reopen(&mut self) {
        self.inline = None;
        let backend = self.backend.clone();
        let make = move || backend.clone();
        let opened = Inline::open_on(make, self.disk.clone(), vault(1, &[]), settings());
        self.inline = Some(opened.expect("opens"));
    }

    fn store(&self) -> &Inline {
        self.inline.as_ref().expect("is open")
    }

    fn close(&mut self) -> Backend {
        self.inline = None;
        self.backend.clone()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Freeze => self.store().begin_checkpoint().expect("begins"),
            Step::Checkpoint => self.store().checkpoint().expect("writes"),
            Step::Kill => self.reopen(),
            _ => {}
        }
    }
}

/// One step of a generated history.
#[derive(Clone, Debug)]
enum Step {
    Event { ms: u64, lanes: Vec<u32> },
    Settle { pick: usize, how: u8 },
    SettleAgain { pick: usize },
    Requeue { pick: usize, expects: bool },
    Later { pick: usize, lane: u32 },
    Cancel { pick: usize, expects: bool },
    Amend { pick: usize },
    Job { id: u64, done: u64, direct: bool },
    Webhook { id: u32, event: u8, url: u8 },
    Remove { id: u32 },
    Close { lane: u32 },
    Erase { pick: usize },
    Project { id: u32, stays: bool },
    Idempotency { key: u128, at: u64 },
    Upkeep { keep_since: u64, rows_max: usize },
    Freeze,
    Checkpoint,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40u64, proptest::collection::vec(1..4u32, 0..4))
            .prop_map(|(ms, lanes)| Step::Event { ms, lanes }),
        4 => (any::<usize>(), 0..3u8).prop_map(|(pick, how)| Step::Settle { pick, how }),
        1 => any::<usize>().prop_map(|pick| Step::SettleAgain { pick }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(pick, expects)| Step::Requeue { pick, expects }),
        1 => (any::<usize>(), 1..4u32).prop_map(|(pick, lane)| Step::Later { pick, lane }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(pick, expects)| Step::Cancel { pick, expects }),
        1 => any::<usize>().prop_map(|pick| Step::Amend { pick }),
        1 => (1..4u64, 0..3u64, any::<bool>())
            .prop_map(|(id, done, direct)| Step::Job { id, done, direct }),
        2 => (1..4u32, 0..2u8, 0..2u8).prop_map(|(id, event, url)| Step::Webhook { id, event, url }),
        1 => (1..4u32).prop_map(|id| Step::Remove { id }),
        1 => (1..4u32).prop_map(|lane| Step::Close { lane }),
        1 => any::<usize>().prop_map(|pick| Step::Erase { pick }),
        1 => (2..4u32, any::<bool>()).prop_map(|(id, stays)| Step::Project { id, stays }),
        1 => (0..3u128, 1..40u64).prop_map(|(key, at)| Step::Idempotency { key, at }),
        1 => (0..50u64, 1..6usize)
            .prop_map(|(keep_since, rows_max)| Step::Upkeep { keep_since, rows_max }),
        2 => Just(Step::Freeze),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Kill),
    ]
}

/// Turns steps into batches; both stores get the same ones.
#[derive(Default)]
struct History {
    next: u64,
    /// Numbers rise with time, as the engine gives them.
    ms: u64,
    rows: Vec<Pending>,
    settled: Vec<Op>,
    cancelled: Vec<Pending>,
    events: Vec<Seq>,
    /// The latest instant that upkeep was told to keep what is younger than.
    kept_since: u64,
}

impl History {
    /// Attempts that were made for a delivery: their numbers rise, whatever becomes of it.
    fn attempts_of(&self, seq: Seq) -> u32 {
        let numbers = self.settled.iter().filter_map(|op| match op {
            Op::Settle { key, attempt: Some(attempt), .. } if key.seq == seq => {
                Some(attempt.number)
            }
            _ => None,
        });
        numbers.max().unwrap_or(0)
    }

    fn batch(&mut self, step: &Step) -> (Vec<Expect>, Vec<Op>) {
        let one = ProjectId::new(1).expect("an id");
        match step {
            Step::Event { ms, lanes } => {
                self.next += 1;
                self.ms += ms / 10;
                let ms = &self.ms;
                let event = event(*ms, self.next);
                self.events.push(event.id.seq);
                let mut ops = vec![Op::PutEvent(Arc::clone(&event))];
                for lane in lanes {
                    self.next += 1;
                    let seq = Seq(Seq::at(Wall(*ms)).0 + self.next);
                    let row = pending(*lane, *ms, seq, event.id.seq, 0);
                    self.rows.push(row);
                    ops.push(Op::Enqueue(row));
                }
                (Vec::new(), ops)
            }
            Step::Settle { pick, how } => {
                if self.rows.is_empty() {
                    return (Vec::new(), Vec::new());
                }
                let row = self.rows.swap_remove(pick % self.rows.len());
                let next = if *how == 0 {
                    let mut again = row;
                    again.attempts += 1;
                    again.key.due = row.key.due.plus(7);
                    again.first_attempt = Some(row.key.due);
                    self.rows.push(again);
                    Next::Pending(again)
                } else {
                    Next::Finished(row.finished(Ending::Delivered, Wall(99)))
                };
                let attempt = (*how < 2).then(|| attempt(row.attempts + 1));
                let op = Op::Settle { queue: row.queue(), key: row.key, next, attempt };
                self.settled.push(op.clone());
                (Vec::new(), vec![op])
            }
            Step::SettleAgain { pick } => match self.settled.len() {
                0 => (Vec::new(), Vec::new()),
                len => (Vec::new(), vec![self.settled[pick % len].clone()]),
            },
            Step::Requeue { pick, expects } => {
                self.next += 1;
                // No row has had this place: what settled one settles no other.
                let due = 1_000 * self.next;
                let ended: Vec<Finished> = self.settled.iter().filter_map(ends).collect();
                let picked = ended.get(pick % ended.len().max(1)).map(|end| end.seq);
                let Some(end) = ended.iter().rev().find(|end| Some(end.seq) == picked) else {
                    return (Vec::new(), Vec::new());
                };
                let (lane, attempts) = (end.webhook.get(), self.attempts_of(end.seq));
                let row = pending(lane, due, end.seq, end.event, attempts);
                // It may stand in its queue again, or not: the stores say so by what they show.
                self.rows.retain(|old| old.key.seq != end.seq);
                self.rows.push(row);
                let expect = Expect::Ended { seq: end.seq, webhook: end.webhook };
                let expects = if *expects { vec![expect] } else { Vec::new() };
                (expects, vec![Op::Requeue(row)])
            }
            Step::Later { pick, lane } => {
                if self.events.is_empty() {
                    return (Vec::new(), Vec::new());
                }
                self.next += 1;
                let event = self.events[pick % self.events.len()];
                let seq = Seq(Seq::at(Wall(self.ms)).0 + self.next);
                let row = pending(*lane, self.ms, seq, event, 0);
                self.rows.push(row);
                (Vec::new(), vec![Op::EnqueueLater(row)])
            }
            Step::Cancel { pick, expects } => jobs::cancel(self, *pick, *expects),
            Step::Amend { pick } => jobs::amend(self, *pick),
            Step::Job { id, done, direct } => (Vec::new(), jobs::job(*id, *done, *direct)),
            Step::Webhook { id, event, url } => {
                let event = ["file.uploaded", "file.stored"][usize::from(*event)];
                let url = ["http://a.example/", "http://b.example/"][usize::from(*url)];
                self.next += 1;
                let webhook = webhook(*id, event, url, self.next);
                let free = Expect::SubscriptionFree {
                    project: one,
                    format: webhook.format.name(),
                    event: webhook.events[0].clone(),
                    target_url: url.to_owned(),
                    except: Some(webhook.id),
                };
                (vec![free], vec![Op::PutWebhook(webhook)])
            }
            Step::Remove { id } => {
                let id = WebhookId::new(*id).expect("an id");
                let expect = Expect::WebhookRevision { id, revision: None };
                // Every second time with a precondition that only holds if there is nothing.
                self.next += 1;
                let expects = if self.next.is_multiple_of(2) { vec![expect] } else { Vec::new() };
                (expects, vec![Op::RemoveWebhook(id)])
            }
            Step::Close { lane } => {
                let id = WebhookId::new(*lane).expect("an id");
                let upto = self.rows.iter().filter(|row| row.key.webhook == id);
                let upto = upto.map(|row| row.key.seq).max().unwrap_or(Seq(0));
                self.rows.retain(|row| row.key.webhook != id);
                let ending = Ending::Cancelled(CancelledReason::Inactive);
                (Vec::new(), vec![Op::CloseLane { webhook: id, upto, ending, at: Wall(50) }])
            }
            Step::Erase { pick } => match self.events.len() {
                0 => (Vec::new(), Vec::new()),
                len => {
                    let event = self.events[pick % len];
                    (Vec::new(), vec![Op::EraseEvent { event, at: Wall(60) }])
                }
            },
            Step::Project { id, stays: true } => (Vec::new(), vec![Op::PutProject(project(*id))]),
            Step::Project { id, stays: false } => {
                let id = ProjectId::new(*id).expect("an id");
                (Vec::new(), vec![Op::RemoveProject(id)])
            }
            Step::Idempotency { key, at } => {
                let free = Expect::IdempotencyFree {
                    project: one,
                    key: *key,
                    since: Wall(at.saturating_sub(9)),
                };
                let name = EventName::parse("file.uploaded").expect("a name");
                let id = EventId { seq: Seq(*at), salt: 1 };
                let events = vec![AcceptedEvent { id, name, deliveries: 2 }];
                let record = IdempotencyRecord {
                    project: one,
                    key: *key,
                    body: [7; 32],
                    at: Wall(*at),
                    events,
                };
                (vec![free], vec![Op::PutIdempotency(record)])
            }
            Step::Upkeep { .. } | Step::Freeze | Step::Checkpoint | Step::Kill => {
                (Vec::new(), Vec::new())
            }
        }
    }
}

/// The end that a settlement writes.
fn ends(op: &Op) -> Option<Finished> {
    match op {
        Op::Settle { next: Next::Finished(end), .. } => Some(*end),
        _ => None,
    }
}

/// All that the seam shows, as text.
fn observe(store: &dyn Store, history: &History) -> String {
    let mut out = String::new();
    let mut say = |what: &str, value: &dyn std::fmt::Debug| out += &format!("{what}: {value:?}\n");
    let loaded = store.load().expect("loads");
    say("projects", &loaded.projects);
    say("webhooks", &loaded.webhooks);
    say("maxima", &(loaded.project_id_max, loaded.webhook_id_max, loaded.seq_max));
    say("operator", &loaded.operator);
    say("jobs", &loaded.jobs);
    for queue in [Queue::Fresh, Queue::Retry] {
        for lane in 1..4 {
            let lane = WebhookId::new(lane).expect("an id");
            let mut after = None;
            loop {
                let page = store.due(lane, queue, after, 2).expect("reads");
                say("due", &page);
                after = page.rows.last().map(|row| row.key);
                if !page.more {
                    break;
                }
            }
        }
    }
    for seq in &history.events {
        say("event", &store.event(*seq).expect("reads"));
    }
    for op in &history.settled {
        let Op::Settle { key, .. } = op else { continue };
        let finished = store.finished(key.seq).expect("reads");
        say("finished", &finished);
        // The log of a delivery that still waited may have gone by its age, with its segment.
        if key.seq >= Seq::at(Wall(history.kept_since)) {
            say("attempts", &store.attempts(key.seq).expect("reads"));
        }
    }
    found::observe(store, history, &mut say);
    for lane in 1..4 {
        let lane = WebhookId::new(lane).expect("an id");
        for revision in 0..=history.next {
            say("revision", &store.revision(lane, revision).expect("reads"));
        }
    }
    for key in 0..3 {
        let one = ProjectId::new(1).expect("an id");
        say("idempotency", &store.idempotency(one, key).expect("reads"));
    }
    out
}

/// Runs a history; `own` does what only this store knows, before each step.
fn run<S>(
    state: &mut S,
    store: impl Fn(&S) -> &dyn Store,
    own: impl Fn(&mut S, &Step),
    steps: &[Step],
) -> String {
    let mut history = History::default();
    let mut out = String::new();
    commit(store(state), vec![Op::PutProject(project(1)), Op::PutOperator(operator())]);
    for step in steps {
        own(state, step);
        let store = store(state);
        if let Step::Upkeep { keep_since, rows_max } = step {
            // How much one step prunes of what is the store's own affair: run to the end.
            while upkeep(store, *keep_since, *rows_max).more {}
            history.kept_since = history.kept_since.max(*keep_since);
        } else {
            let (expect, ops) = history.batch(step);
            out += &format!("{:?}\n", commit_with(store, expect, ops));
        }
        out += &observe(store, &history);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn embedded_is_like_memory(steps in proptest::collection::vec(step(), 1..40)) {
        let want = run(&mut Memory::new(), |store| store, |_, _| (), &steps);
        let threaded = run(&mut on_memory(), |store| store, |_, _| (), &steps);
        let mut own = Stepped::new();
        let stepped = run(&mut own, |own| own.store(), Stepped::step, &steps);
        let (want_rows, rows) = found::index(&mut own);
        prop_assert_eq!(want_rows, rows);
        for got in [threaded, stepped] {
            for (want, got) in want.lines().zip(got.lines()) {
                prop_assert_eq!(want, got);
            }
            prop_assert_eq!(&want, &got);
        }
    }
}

#[test]
fn a_settlement_that_waits_is_committed_within_its_delay() {
    for store in [Box::new(on_memory()) as Box<dyn Store>, Box::new(Memory::new())] {
        let event = event(1, 1);
        let row = pending(1, 1, Seq(2), event.id.seq, 0);
        commit(&*store, vec![Op::PutEvent(event), Op::Enqueue(row)]);
        let next = Next::Finished(row.finished(Ending::Delivered, Wall(9)));
        let op = Op::Settle { queue: Queue::Fresh, key: row.key, next, attempt: None };
        let (sender, receiver) = mpsc::channel();
        let batch = Batch { expect: Vec::new(), ops: vec![op], durability: Durability::Soon };
        store.commit(batch, Box::new(move |result| sender.send(result).expect("the test waits")));
        receiver.recv().expect("called back without another batch").expect("commits");
        assert!(store.finished(Seq(2)).expect("reads").is_some());
    }
}

/// However many old events are still needed, upkeep comes to an end, and finds those behind them.
#[test]
fn upkeep_ends_behind_many_that_are_needed() {
    for store in [Box::new(on_memory()) as Box<dyn Store>, Box::new(Memory::new())] {
        let mut ops = Vec::new();
        for n in 1..=100 {
            let event = event(n, 0);
            ops.push(Op::Enqueue(pending(1, n, Seq(event.id.seq.0 + 1), event.id.seq, 0)));
            ops.push(Op::PutEvent(event));
        }
        let unneeded = event(101, 0);
        ops.push(Op::PutEvent(Arc::clone(&unneeded)));
        commit(&*store, ops);
        let mut steps = 0;
        while upkeep(&*store, 1_000, 3).more {
            steps += 1;
            assert!(steps < 100, "it does not end");
        }
        assert!(store.event(unneeded.id.seq).expect("reads").is_none());
        assert!(store.event(event(1, 0).id.seq).expect("reads").is_some());
    }
}

#[test]
fn a_closed_store_refuses() {
    for store in [Box::new(on_memory()) as Box<dyn Store>, Box::new(Memory::new())] {
        store.close();
        assert!(commit_with(&*store, Vec::new(), Vec::new()).is_err());
    }
}

#[test]
fn everything_is_there_after_reopening() {
    let scratch = Scratch::new("reopen");
    let mut history = History::default();
    let steps = [
        Step::Event { ms: 3, lanes: vec![1, 2] },
        Step::Webhook { id: 1, event: 0, url: 0 },
        Step::Settle { pick: 0, how: 0 },
        Step::Idempotency { key: 1, at: 5 },
    ];
    let store = scratch.open();
    commit(&store, vec![Op::PutProject(project(1)), Op::PutOperator(operator())]);
    for step in &steps {
        let (expect, ops) = history.batch(step);
        commit_with(&store, expect, ops).expect("commits");
    }
    let before = observe(&store, &history);
    drop(store);
    assert_eq!(observe(&scratch.open(), &history), before);
}

#[test]
fn two_on_one_directory_is_a_clear_error() {
    let scratch = Scratch::new("lock");
    let first = scratch.open();
    let second = Embedded::open(&scratch.0, vault(1, &[]), settings());
    assert!(matches!(second, Err(OpenError::Locked(path)) if path == scratch.0));
    drop(first);
    scratch.open();
}

#[test]
fn every_byte_written_counts() {
    let scratch = Scratch::new("written");
    let store = scratch.open();
    let opened = store.stats().expect("reads").written_bytes;
    let one = event(1, 1);
    let payload = one.data.len() as u64;
    commit(&store, vec![Op::PutEvent(one)]);
    let written = store.stats().expect("reads").written_bytes;
    assert!(written >= opened + payload, "{opened} to {written}");
    // Room is given to the journal, and not written.
    assert!(written < 1024 * 1024, "{written}");
}

#[test]
fn the_directory_is_private_and_no_secret_is_in_clear() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("private");
    let store = scratch.open();
    let hook = webhook(1, "file.uploaded", "http://a.example/", 1);
    let changed = Webhook { secret: None, revision: 2, ..hook.clone() };
    commit(&store, vec![Op::PutProject(project(1)), Op::PutWebhook(hook)]);
    commit(&store, vec![Op::PutWebhook(changed)]);
    drop(store);
    let mode = |path: &Path| path.metadata().expect("is there").permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    let file = scratch.0.join(FILE_NAME);
    assert_eq!(mode(&file), 0o600);
    let bytes = std::fs::read(&file).expect("reads");
    for canary in ["canary-key-1", "canary-signing-secret"] {
        assert!(!bytes.windows(canary.len()).any(|part| part == canary.as_bytes()), "{canary}");
    }
}

#[test]
fn keys_rotate_and_a_missing_key_stops_the_start() {
    let scratch = Scratch::new("rotate");
    let open = |vault| Embedded::open(&scratch.0, vault, settings());
    let store = open(vault(1, &[])).expect("opens");
    let hook = webhook(1, "file.uploaded", "http://a.example/", 1);
    let older = webhook(1, "file.stored", "http://a.example/", 0);
    commit(&store, vec![Op::PutProject(project(1)), Op::PutWebhook(older.clone())]);
    commit(&store, vec![Op::PutWebhook(hook.clone())]);
    drop(store);
    assert!(matches!(open(vault(2, &[])), Err(OpenError::Vault(_))));
    // With both keys it opens, and is sealed anew: afterwards the old key is not needed.
    drop(open(vault(2, &[1])).expect("opens"));
    let store = open(vault(2, &[])).expect("opens without the old key");
    let loaded = store.load().expect("loads");
    assert_eq!((loaded.projects, loaded.webhooks), (vec![project(1)], vec![hook.clone()]));
    // What it was before can be read too.
    assert_eq!(store.revision(hook.id, 0).expect("reads"), Some(older));
}

/// Rot: a bit of a stored value flips. The record must not come back, the others must.
#[test]
fn a_rotten_record_is_set_aside_and_stops_nothing() {
    let scratch = Scratch::new("rot");
    let store = scratch.open();
    let mut ops = Vec::new();
    for n in 1..=20 {
        let event = event(n, n);
        ops.push(Op::Enqueue(pending(1, n, Seq(1_000_000 + n), event.id.seq, 0)));
        ops.push(Op::PutEvent(event));
    }
    commit(&store, ops);
    drop(store);
    flip(&scratch.0.join(FILE_NAME));
    flip_payload(&scratch.0.join(JOURNAL_NAME), 5);
    let store = scratch.open();
    let lane = WebhookId::new(1).expect("an id");
    let page = store.due(lane, Queue::Fresh, None, 100).expect("reads");
    assert_eq!(page.rows.len(), 19);
    let damaged = (1..=20)
        .filter(|n| matches!(store.event(event(*n, *n).id.seq), Err(ReadError::Damaged { .. })))
        .count();
    assert_eq!(damaged, 2);
    // Any commit comes after the quarantine that the reads asked for.
    commit(&store, Vec::new());
    let stats = store.stats().expect("reads");
    assert_eq!((stats.quarantined, stats.pending, stats.events), (3, 19, 18));
    let reported = store.finished(Seq(1_000_007)).expect("reads").expect("is reported");
    assert_eq!(reported.ending, Ending::Failed(FailedReason::Damaged));
}

/// Flips a bit in the nth payload of the journal.
fn flip_payload(folder: &Path, nth: usize) {
    const CANARY: &[u8] = b"canary-payload";
    let mut segments: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("is there")
        .map(|entry| entry.expect("is readable").path())
        .collect();
    segments.sort();
    for path in segments {
        let mut bytes = std::fs::read(&path).expect("reads");
        let is_canary = |part: &[u8]| part == CANARY;
        let mut places =
            (0..bytes.len()).filter(|at| bytes[*at..].get(..CANARY.len()).is_some_and(is_canary));
        if let Some(at) = places.nth(nth - 1) {
            bytes[at] ^= 2;
            return std::fs::write(&path, bytes).expect("writes");
        }
    }
    unreachable!("the journal has {nth} payloads");
}

/// Flips a bit in the row of delivery 7 and in the row of event 13, through redb itself, so
/// that redb's own checksums hold and ours have to find it.
fn flip(file: &Path) {
    use redb::{ReadableTable, TableDefinition};
    const FRESH: TableDefinition<(u32, u64, u64), &[u8]> = TableDefinition::new("fresh");
    const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
    let db = redb::Database::open(file).expect("opens");
    let write = db.begin_write().expect("begins");
    {
        let mut table = write.open_table(FRESH).expect("opens");
        let key = (1, 7, 1_000_007);
        let mut bytes = table.get(key).expect("reads").expect("is there").value().to_vec();
        bytes[9] ^= 4;
        table.insert(key, bytes.as_slice()).expect("writes");
        let mut table = write.open_table(EVENTS).expect("opens");
        let key = event(13, 13).id.seq.0;
        let mut bytes = table.get(key).expect("reads").expect("is there").value().to_vec();
        let last = bytes.len() / 2;
        bytes[last] ^= 1;
        table.insert(key, bytes.as_slice()).expect("writes");
    }
    write.commit().expect("commits");
}
