//! Why a delivery has not arrived, in simulated time: the reasons that take hours, or an accident.
//!
//! Owns a core without a clock, a store in memory, and targets that answer as a test says. Must
//! never sleep: time is what the test says it is.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use http::HeaderValue;
use postrider::engine::command::Command;
use postrider::engine::core::{AttemptEnd, Core, Effect, Message, NextAttempt, Question, Settings};
use postrider::engine::submit::Submission;
use postrider::logic::address::AllowList;
use postrider::logic::dispatcher;
use postrider::logic::dispatcher::standing::Standing;
use postrider::logic::explain::words::{Value, Words, name, words};
use postrider::logic::explain::{Facts, Place, Reason, explain};
use postrider::logic::log::LogLimits;
use postrider::logic::quota::Rate;
use postrider::model::attempt::{Failure, Outcome, Phases};
use postrider::model::delivery::{CancelledReason, Delivery, Ending, FailedReason};
use postrider::model::draft::{ProjectDraft, WebhookDraft};
use postrider::model::event::{EventName, Source};
use postrider::model::ids::{ProjectId, Seq, WebhookId};
use postrider::model::secret::Secret;
use postrider::model::target::TargetUrl;
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, Mono, Now, SECOND_MS, Wall};
use postrider::model::webhook::{DisabledReason, Format, Limits, Version, WebhookState};
use postrider::net::Response;
use postrider::source::sample;
use postrider::store::memory::Memory;
use postrider::store::{Records, Store};
use tokio::sync::oneshot;

const START: Wall = Wall(1_790_000_000_000);
const OK: Outcome = Outcome::Status(200);
const REFUSED: Outcome = Outcome::Failure(Failure::ConnectRefused);
const TIMEOUT: Outcome = Outcome::Failure(Failure::Timeout);
const OURS: Outcome = Outcome::Failure(Failure::OutOfResources);

struct World {
    core: Core,
    store: Arc<Memory>,
    now: Now,
    under_way: VecDeque<NextAttempt>,
    settings: Settings,
}

impl World {
    fn new(change: impl FnOnce(&mut Settings)) -> World {
        let mut settings = Settings {
            dispatcher: dispatcher::Settings {
                in_flight_max: 64,
                target_rate: Rate::new(1_000, 1_000),
                target_in_flight_max: 64,
            },
            targets: Default::default(),
            retention_ms: 30 * DAY_MS,
            disable_failing_after_ms: None,
            user_agent: HeaderValue::from_static("postrider"),
            feed_changes_max: 100,
            log: LogLimits::default(),
        };
        change(&mut settings);
        let store = Arc::new(Memory::new());
        let now = Now { wall: START, mono: Mono(0) };
        let core = World::core(&settings, &store, now);
        let mut world = World { core, store, now, under_way: VecDeque::new(), settings };
        world.command(Command::PutProject(ProjectDraft {
            id: Some(project()),
            name: "p".to_owned(),
            public_key: "pub".to_owned(),
            secret_keys: vec![Secret::new("key".to_owned())],
            settings: Default::default(),
        }));
        world
    }

    fn core(settings: &Settings, store: &Arc<Memory>, now: Now) -> Core {
        let allow = AllowList::default();
        Core::recover(settings.clone(), &**store, allow, 7, now).expect("recovers")
    }

    /// Another process on the same store, which has not read anything yet.
    fn restart(&mut self) {
        self.under_way.clear();
        self.core = World::core(&self.settings, &self.store, self.now);
    }

    fn subscribe(&mut self, url: &str, in_flight: Option<u32>) -> WebhookId {
        let draft = WebhookDraft {
            target_url: TargetUrl::parse(url).expect("a URL"),
            events: vec![EventName::parse("file.uploaded").expect("a name")],
            format: Format::Uploadcare(Version::V07),
            is_active: true,
            secret: None,
            headers: Vec::new(),
            limits: Limits { in_flight, ..Limits::default() },
            options: Default::default(),
        };
        self.command(Command::CreateWebhook { project: project(), draft, listener: None });
        let catalog = self.core.catalog();
        let catalog = catalog.read().expect("nobody panicked");
        catalog.webhooks().map(|webhook| webhook.id).last().expect("was made")
    }

    /// Publishes an event for one webhook; answers with its delivery.
    fn publish(&mut self) -> Seq {
        let name = EventName::parse("file.uploaded").expect("a name");
        let event = sample::test_event(&name, "u", "a.jpg", self.now.wall);
        let submission = Submission::new(project(), vec![event], Source::Native);
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Submit { submission, reply });
        let accepted = answer.try_recv().expect("answered").expect("accepted");
        let found = self.store.deliveries_of(accepted.events[0].id.seq, 2).expect("reads");
        assert_eq!(found.len(), 1, "one webhook is subscribed");
        found[0].seq()
    }

    fn command(&mut self, command: Command) {
        let (reply, mut answer) = oneshot::channel();
        self.tell(Message::Command { command, reply });
        answer.try_recv().expect("answered").expect("done");
    }

    fn tell(&mut self, message: Message) {
        self.core.apply(self.now, message);
        self.perform();
    }

    fn perform(&mut self) {
        loop {
            self.core.flush();
            let Some(effect) = self.core.poll() else { return };
            let message = match effect {
                Effect::Commit { ticket, batch } => {
                    let fate = Arc::new(Mutex::new(None));
                    let told = Arc::clone(&fate);
                    let done = move |result| *told.lock().expect("one thread") = Some(result);
                    self.store.commit(batch, Box::new(done));
                    let result = fate.lock().expect("one thread").take().expect("at once");
                    Message::Committed { ticket, result }
                }
                Effect::Fetch { number, webhook, queue, after, rows } => {
                    let page = self.store.due(webhook, queue, after, rows).expect("reads");
                    Message::Fetched { number, webhook, rows: Some((page.rows, page.more)) }
                }
                Effect::Start(next) => {
                    self.under_way.push_back(*next);
                    continue;
                }
                Effect::Upkeep { keep_since, rows_max } => {
                    let fate = Arc::new(Mutex::new(None));
                    let told = Arc::clone(&fate);
                    let done = move |result| *told.lock().expect("one thread") = Some(result);
                    self.store.upkeep(keep_since, rows_max, Box::new(done));
                    Message::UpkeepDone(fate.lock().expect("one thread").take().expect("at once"))
                }
                _ => continue,
            };
            self.core.apply(self.now, message);
        }
    }

    /// The oldest attempt ends so.
    fn end(&mut self, outcome: Outcome) {
        let next = self.under_way.pop_front().expect("an attempt is under way");
        self.tell(Message::Ended(Box::new(AttemptEnd {
            row: next.row,
            probe: next.probe,
            started: self.now.wall,
            delivery: None,
            revision: next.webhook.revision,
            request_crc: None,
            is_notice: false,
            response: Response {
                outcome,
                address: None,
                phases: Phases::default(),
                headers: Vec::new(),
                body: Vec::new(),
                body_truncated: false,
                retry_after: None,
                refused: None,
            },
        })));
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus(ms), mono: self.now.mono.plus(ms) };
        self.tell(Message::Time);
    }

    /// Until a delivery has ended, every attempt ends so.
    fn run_out(&mut self, delivery: Seq, outcome: Outcome) {
        for _ in 0..100 * 60 {
            while !self.under_way.is_empty() {
                self.end(outcome);
            }
            if matches!(self.delivery(delivery), Delivery::Finished(_)) {
                return;
            }
            self.pass(MINUTE_MS);
        }
        unreachable!("it goes on for more than 100 hours");
    }

    fn delivery(&self, seq: Seq) -> Delivery {
        self.store.delivery(seq).expect("reads").expect("is there")
    }

    fn standing(&mut self, delivery: &Delivery) -> Option<Standing> {
        let Delivery::Pending(row) = delivery else { return None };
        let (reply, mut answer) = oneshot::channel();
        // Whatever the core wants done by now waits until the test says so.
        let question = Question::Standing(Box::new(*row), reply);
        self.core.apply(self.now, Message::Ask(question));
        Some(answer.try_recv().expect("answered").0)
    }

    fn reason(&mut self, seq: Seq) -> Reason {
        self.reason_if(seq, |_| {})
    }

    /// The reason, if the webhook were another than it is.
    fn reason_if(
        &mut self,
        seq: Seq,
        change: impl FnOnce(&mut Option<postrider::model::webhook::Webhook>),
    ) -> Reason {
        let delivery = self.delivery(seq);
        let standing = self.standing(&delivery);
        let last = self.store.last_attempt(seq).expect("reads");
        let catalog = self.core.catalog();
        let catalog = catalog.read().expect("nobody panicked");
        let mut webhook = catalog.webhook(delivery.webhook()).map(|webhook| (**webhook).clone());
        change(&mut webhook);
        explain(&Facts {
            now: self.now.wall,
            delivery: &delivery,
            webhook: webhook.as_ref(),
            target_paused_since: None,
            standing: standing.as_ref(),
            last: last.as_ref(),
            is_erased: false,
        })
    }

    /// The words for why a delivery is where it is, which have to be of this reason.
    fn told(&mut self, seq: Seq, wanted: &str) -> Words {
        let reason = self.reason(seq);
        told(&reason, wanted)
    }
}

fn told(reason: &Reason, wanted: &str) -> Words {
    assert_eq!(name(reason), wanted, "{reason:?}");
    let words = words(reason, &Place { webhook: 1, target: None });
    for text in [Some(&words.explanation), Some(&words.next), words.action.as_ref()] {
        assert!(text.is_none_or(|text| text.ends_with('.') && !text.contains("  ")), "{words:?}");
    }
    words
}

fn project() -> ProjectId {
    ProjectId::new(1).expect("an id")
}

#[test]
fn a_timeout_is_retried_until_it_expires() {
    let mut world = World::new(|_| {});
    world.subscribe("http://slow.example/", None);
    let delivery = world.publish();
    let words = world.told(delivery, "in_flight");
    assert_eq!(words.next_at, None);
    world.end(TIMEOUT);
    let words = world.told(delivery, "retry_timeout");
    assert!(words.explanation.contains("did not answer"), "{words:?}");
    assert!(words.next_at > Some(world.now.wall), "{words:?}");
    world.run_out(delivery, TIMEOUT);
    let words = world.told(delivery, "expired");
    assert!(words.explanation.contains("after 72 hours"), "{words:?}");
    assert!(words.fields.contains(&("last_failure", Value::Text("timeout".to_owned()))));
    assert!(world.now.wall.since(START) >= 71 * HOUR_MS, "{:?}", world.now);
}

#[test]
fn a_webhook_that_only_fails_is_disabled_if_that_is_configured() {
    let mut world = World::new(|settings| settings.disable_failing_after_ms = Some(2 * HOUR_MS));
    world.subscribe("http://broken.example/", None);
    let delivery = world.publish();
    world.run_out(delivery, Outcome::Status(500));
    let words = world.told(delivery, "disabled_failing");
    assert!(words.explanation.contains("disable_failing_after"), "{words:?}");
    // What the record tells alone, once its webhook is another or gone.
    let operator = world.reason_if(delivery, |webhook| {
        let webhook = webhook.as_mut().expect("is there");
        webhook.state = WebhookState::Disabled(DisabledReason::Operator);
    });
    told(&operator, "disabled_operator");
    let unknown = world.reason_if(delivery, |webhook| *webhook = None);
    told(&unknown, "disabled");
}

#[test]
fn a_daemon_that_stops_says_so() {
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", Some(1));
    world.publish();
    let waits = world.publish();
    world.tell(Message::Drain);
    let words = world.told(waits, "held");
    assert!(words.explanation.contains("shutting down"), "{words:?}");
}

#[test]
fn want_of_something_of_ours_is_no_attempt() {
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", None);
    let delivery = world.publish();
    world.end(OURS);
    let words = world.told(delivery, "again");
    assert_eq!(words.next_at, Some(world.now.wall.plus(5 * SECOND_MS)));
}

#[test]
fn a_daemon_whose_slots_are_taken_says_so() {
    let mut world = World::new(|settings| settings.dispatcher.in_flight_max = 4);
    world.subscribe("http://a.example/", None);
    world.publish();
    world.end(OK);
    let deliveries: Vec<Seq> = (0..5).map(|_| world.publish()).collect();
    let words = world.told(deliveries[4], "daemon_concurrency");
    assert!(words.fields.contains(&("in_flight_max", Value::Number(4))), "{words:?}");
    for delivery in &deliveries[..4] {
        world.told(*delivery, "in_flight");
    }
}

#[test]
fn what_is_due_and_not_read_yet_waits_for_its_turn() {
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", Some(1));
    let first = world.publish();
    let second = world.publish();
    world.restart();
    let words = world.told(first, "queued");
    assert!(words.fields.contains(&("is_ahead_exact", Value::Flag(false))), "{words:?}");
    world.perform();
    // A start has no burst.
    world.told(first, "target_rate");
    world.pass(SECOND_MS);
    world.told(first, "in_flight");
    world.told(second, "webhook_concurrency");
}

#[test]
fn one_probe_at_a_time() {
    let mut world = World::new(|_| {});
    world.subscribe("http://down.example/", Some(1));
    let deliveries: Vec<Seq> = (0..8).map(|_| world.publish()).collect();
    while !world.under_way.is_empty() {
        world.end(REFUSED);
    }
    let words = world.told(deliveries[7], "target_failing");
    assert_eq!(words.next_at, Some(world.now.wall.plus(30 * SECOND_MS)));
    world.pass(30 * SECOND_MS);
    assert_eq!(world.under_way.len(), 1);
    let words = world.told(deliveries[7], "target_failing");
    assert!(words.fields.contains(&("is_probing", Value::Flag(true))), "{words:?}");
    assert_eq!(words.next_at, None);
}

#[test]
fn a_damaged_event_ends_its_delivery() {
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", None);
    let delivery = world.publish();
    let next = world.under_way.pop_front().expect("was started");
    world.tell(Message::Unsendable(next.row, Ending::Failed(FailedReason::Damaged)));
    world.told(delivery, "damaged");
}

#[test]
fn what_is_about_to_end_says_how() {
    let mut world = World::new(|_| {});
    let webhook = world.subscribe("http://a.example/", Some(1));
    world.publish();
    let waits = world.publish();
    let gone = world.reason_if(waits, |webhook| *webhook = None);
    assert_eq!(gone, Reason::Ending(Ending::Cancelled(CancelledReason::Deleted)));
    told(&gone, "ending");
    let state = |state| {
        move |webhook: &mut Option<postrider::model::webhook::Webhook>| {
            webhook.as_mut().expect("is there").state = state;
        }
    };
    let inactive = world.reason_if(waits, state(WebhookState::Inactive));
    told(&inactive, "ending");
    let disabled = world.reason_if(waits, state(WebhookState::Disabled(DisabledReason::Gone)));
    assert_eq!(disabled, Reason::Ending(Ending::Failed(FailedReason::Disabled)));
    let paused = world.reason_if(waits, state(WebhookState::Paused { since: START }));
    told(&paused, "webhook_paused");
    // Closed in memory, and not on disk yet.
    let next = world.under_way.pop_front().expect("was started");
    world.command(Command::DeleteWebhook { project: project(), id: webhook });
    assert_eq!(next.row.key.webhook, webhook);
    told(&world.reason(waits), "webhook_deleted");
    // Its time is over while nothing can be attempted.
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", Some(1));
    world.publish();
    let waits = world.publish();
    world.now.wall = world.now.wall.plus(73 * HOUR_MS);
    world.now.mono = world.now.mono.plus(73 * HOUR_MS);
    let delivery = world.delivery(waits);
    let standing = Some(Standing::Waits(match world.standing(&delivery) {
        Some(Standing::Waits(waits)) => waits,
        other => unreachable!("{other:?}"),
    }));
    let catalog = world.core.catalog();
    let catalog = catalog.read().expect("nobody panicked");
    let reason = explain(&Facts {
        now: world.now.wall,
        delivery: &delivery,
        webhook: catalog.webhook(delivery.webhook()).map(|webhook| &**webhook),
        target_paused_since: None,
        standing: standing.as_ref(),
        last: None,
        is_erased: false,
    });
    told(&reason, "expiring");
}

#[test]
fn a_turn_at_a_rate_is_told_with_those_before_it() {
    let mut world = World::new(|_| {});
    world.subscribe("http://a.example/", None);
    let rate = NonZeroU32::new(2).expect("not 0");
    world.command(Command::SetTarget {
        origin: postrider::model::target::Origin::parse("http://a.example").expect("an origin"),
        patch: postrider::engine::command::TargetPatch {
            rate_per_second: postrider::model::draft::Change::Set(rate.get()),
            ..Default::default()
        },
    });
    let deliveries: Vec<Seq> = (0..9).map(|_| world.publish()).collect();
    let words = world.told(deliveries[8], "target_rate");
    let ahead = words.fields.iter().find(|(name, _)| *name == "ahead").map(|(_, value)| value);
    let Some(Value::Number(ahead)) = ahead else { unreachable!("{words:?}") };
    let Some((_, Value::At(permit))) = words.fields.iter().find(|(name, _)| *name == "permit_at")
    else {
        unreachable!("{words:?}")
    };
    assert_eq!(words.next_at, Some(permit.plus(ahead * SECOND_MS / 2)));
    // At that instant, and not before, it is under way.
    let wait_ms = words.next_at.expect("is known").since(world.now.wall);
    while world.now.wall < words.next_at.expect("is known") {
        assert!(!world.under_way.iter().any(|next| next.row.key.seq == deliveries[8]));
        let step_ms = wait_ms.div_ceil(50).max(1);
        let left_ms = words.next_at.expect("is known").since(world.now.wall);
        world.pass(step_ms.min(left_ms));
    }
    assert!(world.under_way.iter().any(|next| next.row.key.seq == deliveries[8]));
}
