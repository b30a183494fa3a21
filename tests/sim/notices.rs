//! Notices: what is told to whom, once, and never about itself.
//!
//! Owns the proofs over virtual days that each change is told, that flapping is not, and that
//! notices cause none. Must never count what was delivered twice as two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postrider::engine::command::{Answer, Command};
use postrider::engine::submit::SubmitError;
use postrider::logic::batch::{Batch, Op};
use postrider::model::delivery::{Queue, QueueKey};
use postrider::model::draft::WebhookDraft;
use postrider::model::event::{Event, Source};
use postrider::model::ids::{Seq, WebhookId};
use postrider::model::json::Json;
use postrider::model::notice::Notice;
use postrider::model::target::TargetUrl;
use postrider::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Wall};
use postrider::model::webhook::{Format, Limits};
use postrider::store::{
    CommitError, Done, Layered, Page, ReadError, Records, Stats, Store, UpkeepDone,
};

use crate::world::{Behaviour, World, default_settings};
use crate::{memory, world};

/// A webhook that wants to hear everything.
fn subscriber(world: &mut World, host: &str) -> WebhookId {
    let draft = WebhookDraft {
        target_url: TargetUrl::parse(&format!("http://{host}/notices")).expect("a URL"),
        events: Notice::ALL.map(Notice::name).to_vec(),
        options: Default::default(),
        format: Format::Standard,
        is_active: true,
        secret: None,
        headers: Vec::new(),
        limits: Limits::default(),
    };
    let command = Command::CreateWebhook { project: world.project, draft, listener: None };
    match world.command(command) {
        Ok(Answer::Webhook(webhook)) => webhook.id,
        other => unreachable!("no webhook: {other:?}"),
    }
}

/// The notices that were attempted at a host, each once, in order: names and data.
fn told(world: &World, host: &str) -> Vec<(String, Json)> {
    let attempts = world.attempts_to(host);
    let seqs: BTreeMap<Seq, ()> = attempts.iter().map(|one| (one.event, ())).collect();
    let read = |seq: &Seq| world.store.event(*seq).expect("reads").expect("is there");
    let events = seqs.keys().map(read).filter(|event| event.source == Source::Notice);
    let parsed = |event: &Event| Json::parse(&event.data).expect("JSON");
    events.map(|event| (event.name.to_string(), parsed(&event))).collect()
}

fn names(told: &[(String, Json)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.strip_prefix("postrider.").expect("a notice")).collect()
}

fn text<'a>(data: &'a Json, key: &str) -> Option<&'a str> {
    data.get(key).and_then(Json::as_str)
}

fn number(data: &Json, key: &str) -> u64 {
    data.get(key)
        .map(|value| String::from_utf8_lossy(&value.to_bytes()).into_owned())
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

#[test]
fn a_target_that_fails_and_recovers_is_told_once_each() {
    let mut world = world(71);
    subscriber(&mut world, "n.example");
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "a", Limits::default());
    world.webhook("t.example", "b", Limits::default());
    world.publish_many(50).expect("accepted");
    world.run_for(3 * HOUR_MS);
    let first = told(&world, "n.example");
    assert_eq!(names(&first), ["target.failing"]);
    let data = &first[0].1;
    assert_eq!(text(data, "target"), Some("http://t.example"));
    assert_eq!(text(data, "reason"), Some("connection"));
    assert_eq!(text(data, "last_failure"), Some("connect_refused"));
    world.behave("t.example", Behaviour::Answer(200, 5, None));
    world.run_for(3 * HOUR_MS);
    let all = told(&world, "n.example");
    assert_eq!(names(&all), ["target.failing", "target.recovered"]);
    assert_eq!(text(&all[1].1, "since"), text(data, "since"));
    assert!(text(&all[1].1, "recovered_at") > text(data, "since"));
}

#[test]
fn a_webhook_whose_target_answers_badly_is_told_by_its_id() {
    let mut world = world(72);
    subscriber(&mut world, "n.example");
    world.behave("t.example", Behaviour::Answer(503, 5, None));
    let id = world.webhook("t.example", "", Limits::default());
    world.publish_many(20).expect("accepted");
    world.run_for(HOUR_MS);
    let first = told(&world, "n.example");
    assert_eq!(names(&first), ["target.failing"]);
    assert_eq!(number(&first[0].1, "webhook"), u64::from(id.get()));
    assert_eq!(number(&first[0].1, "last_code"), 503);
    world.behave("t.example", Behaviour::Answer(200, 5, None));
    world.run_for(3 * HOUR_MS);
    assert_eq!(names(&told(&world, "n.example")), ["target.failing", "target.recovered"]);
}

#[test]
fn a_target_that_flaps_is_told_a_pair_a_minute_at_most() {
    let mut world = world(73);
    subscriber(&mut world, "n.example");
    world.webhook("t.example", "", Limits::default());
    const MINUTES: usize = 60;
    for turn in 0..MINUTES * 12 {
        let fails = turn % 2 == 0;
        let behaviour = if fails { Behaviour::Refuse } else { Behaviour::Answer(200, 5, None) };
        world.behave("t.example", behaviour);
        world.publish_many(10).expect("accepted");
        world.run_for(5 * SECOND_MS);
    }
    let told = told(&world, "n.example");
    let failing = names(&told).iter().filter(|name| **name == "target.failing").count();
    assert!((1..=MINUTES).contains(&failing), "{failing} times");
    assert!(told.len() <= 2 * failing);
}

#[test]
fn expired_deliveries_are_told_or_counted_and_never_their_notices() {
    let mut world = world(74);
    let id = world.webhook("t.example", "", Limits::default());
    world.behave("t.example", Behaviour::Refuse);
    subscriber(&mut world, "n.example");
    world.publish_many(40).expect("accepted");
    world.run_for(75 * HOUR_MS);
    let told = told(&world, "n.example");
    let expired: Vec<&Json> =
        told.iter().filter(|(name, _)| name.ends_with("expired")).map(|(_, data)| data).collect();
    let counted: u64 = expired.iter().map(|data| 1 + number(data, "omitted")).sum();
    assert_eq!(counted, 40, "{} told", expired.len());
    assert!(expired.iter().all(|data| number(data, "webhook") == u64::from(id.get())));
    assert!(text(expired[0], "delivery").is_some_and(|id| id.starts_with("dlv_")));
    assert_eq!(text(expired[0], "event"), Some("file.uploaded"));
}

#[test]
fn notices_that_fail_cause_none() {
    for behaviour in [Behaviour::Refuse, Behaviour::Answer(500, 5, None)] {
        let mut world = world(75);
        subscriber(&mut world, "n.example");
        subscriber(&mut world, "m.example");
        world.behave("n.example", behaviour.clone());
        world.behave("t.example", Behaviour::Refuse);
        world.webhook("t.example", "", Limits::default());
        // Each day's deliveries expire, and so do the notices of it at one of both.
        for _ in 0..3 {
            world.publish_many(20).expect("accepted");
            world.run_for(12 * HOUR_MS);
        }
        world.run_for(80 * HOUR_MS);
        let heard = told(&world, "m.example");
        let targets: Vec<_> = heard
            .iter()
            .filter(|(name, _)| name.ends_with("failing") || name.ends_with("recovered"))
            .map(|(_, data)| text(data, "target").expect("a target").to_owned())
            .collect();
        assert_eq!(targets, ["http://t.example"], "{behaviour:?}");
        let expired = heard.iter().filter(|(name, _)| name.ends_with("expired"));
        let events: u64 = expired.map(|(_, data)| 1 + number(data, "omitted")).sum();
        assert_eq!(events, 60, "{behaviour:?}");
    }
}

#[test]
fn a_webhook_that_is_disabled_is_told_to_others() {
    let mut world = world(76);
    let gone = subscriber(&mut world, "gone.example");
    subscriber(&mut world, "n.example");
    world.behave("gone.example", Behaviour::Answer(410, 5, None));
    world.behave("t.example", Behaviour::Answer(410, 5, None));
    let id = world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(HOUR_MS);
    let heard = told(&world, "n.example");
    let disabled: Vec<u64> = heard.iter().map(|(_, data)| number(data, "webhook")).collect();
    assert_eq!(names(&heard), ["webhook.disabled"; 2]);
    assert_eq!(disabled, [u64::from(id.get()), u64::from(gone.get())]);
    assert!(heard.iter().all(|(_, data)| text(data, "reason") == Some("gone")));
    // What disabled it was the one notice that it got.
    assert_eq!(world.attempts_to("gone.example").len(), 1);
}

#[test]
fn nothing_is_written_for_nobody() {
    let mut world = world(77);
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "", Limits::default());
    world.publish_many(20).expect("accepted");
    world.run_for(80 * HOUR_MS);
    assert_eq!(world.store.stats().expect("reads").events, 20);
}

#[test]
fn a_store_without_room_is_told_while_it_has_none_and_when_it_has() {
    let store = Arc::new(Refusing { inner: memory(), is_full: AtomicBool::new(false) });
    let seam: Arc<dyn Store> = Arc::<Refusing>::clone(&store);
    let mut world = World::new(seam, default_settings(), 78);
    subscriber(&mut world, "n.example");
    world.publish();
    world.run_for(MINUTE_MS);
    assert_eq!(names(&told(&world, "n.example")), [""; 0]);
    store.is_full.store(true, Ordering::Relaxed);
    for _ in 0..5 {
        assert_eq!(world.publish_many(1), Err(SubmitError::Full));
        world.run_for(MINUTE_MS);
    }
    assert_eq!(names(&told(&world, "n.example")), ["store.low"]);
    store.is_full.store(false, Ordering::Relaxed);
    // Nobody publishes: it looks by itself.
    world.run_for(3 * MINUTE_MS);
    let heard = told(&world, "n.example");
    assert_eq!(names(&heard), ["store.low", "store.recovered"]);
    assert_eq!(text(&heard[0].1, "since"), text(&heard[1].1, "since"));
}

/// A store that refuses publishers' events for as long as it is told to.
struct Refusing {
    inner: Arc<dyn Store>,
    is_full: AtomicBool,
}

impl Layered for Refusing {
    fn records(&self) -> &dyn Records {
        &*self.inner
    }
}

impl Store for Refusing {
    fn commit(&self, batch: Batch, done: Done) {
        let refused = |op: &Op| matches!(op, Op::PutEvent(one) if one.source != Source::Notice);
        if self.is_full.load(Ordering::Relaxed) && batch.ops.iter().any(refused) {
            return done(Err(CommitError::Full));
        }
        self.inner.commit(batch, done);
    }

    fn upkeep(&self, keep_since: Wall, rows_max: usize, done: UpkeepDone) {
        self.inner.upkeep(keep_since, rows_max, done);
    }

    fn due(
        &self,
        webhook: WebhookId,
        queue: Queue,
        after: Option<QueueKey>,
        rows_max: usize,
    ) -> Result<Page, ReadError> {
        self.inner.due(webhook, queue, after, rows_max)
    }

    fn event(&self, seq: Seq) -> Result<Option<Arc<Event>>, ReadError> {
        self.inner.event(seq)
    }

    fn stats(&self) -> Result<Stats, ReadError> {
        let is_full = self.is_full.load(Ordering::Relaxed);
        self.inner.stats().map(|stats| Stats { is_full, ..stats })
    }

    fn close(&self) {
        self.inner.close();
    }
}
