//! Deliveries that are sent again or cancelled, one by one and as jobs.
//!
//! Owns the proofs that each is done once, whatever dies in between. Must never read a clock: the
//! world's time is a number.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider::engine::command::act::{Act, ActError, Acted, Replayed};
use postrider::engine::command::{Answer, Command, CommandError};
use postrider::model::delivery::{CancelledReason, Ending, FailedReason};
use postrider::model::draft::WebhookPatch;
use postrider::model::ids::{DeliveryId, EventId, Seq, WebhookId};
use postrider::model::job::{Asker, Job, JobId, JobKind, JobState, Only, Selection};
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Wall};
use postrider::model::webhook::Limits;

use crate::world::{Behaviour, World, default_settings};
use crate::{embedded, memory, world};

const REQUESTED: Ending = Ending::Cancelled(CancelledReason::Requested);
const BUSY: Behaviour = Behaviour::Answer(500, 10, None);
const WELL: Behaviour = Behaviour::Answer(200, 10, None);

fn act(world: &mut World, act: Act) -> Result<Acted, CommandError> {
    let project = world.project;
    match world.command(Command::Act { project, act })? {
        Answer::Acted(acted) => Ok(*acted),
        other => panic!("{other:?}"),
    }
}

fn delivery(world: &World, seq: Seq) -> DeliveryId {
    let found = world.store.delivery(seq).expect("reads").expect("is there");
    let event = world.store.event(found.event()).expect("reads").expect("is kept");
    event.id.delivery(seq)
}

fn resend(world: &mut World, seq: Seq) -> Result<Acted, CommandError> {
    let id = delivery(world, seq);
    act(world, Act::Resend(id))
}

fn cancel(world: &mut World, seq: Seq) -> Result<Acted, CommandError> {
    let id = delivery(world, seq);
    let cancelled = act(world, Act::Cancel(id))?;
    world.oracle.cancelled(seq);
    Ok(cancelled)
}

fn begin(world: &mut World, kind: JobKind, selection: Selection) -> JobId {
    match act(world, Act::Begin { what: (kind, selection), who: Asker::Project }) {
        Ok(Acted::Job(job)) => job.id,
        other => panic!("{other:?}"),
    }
}

fn job(world: &mut World, id: JobId) -> Arc<Job> {
    let jobs = world.jobs();
    Arc::clone(jobs.iter().find(|job| job.id == id).expect("is remembered"))
}

fn is_active(world: &mut World, id: WebhookId, is_active: bool) {
    world.update(id, WebhookPatch { is_active: Some(is_active), ..WebhookPatch::default() });
}

fn counts(job: &Job) -> (JobState, u64, u64, u64) {
    (job.state, job.matched, job.done, job.skipped)
}

/// Attempts of each delivery.
fn attempts(world: &World) -> BTreeMap<Seq, usize> {
    let mut attempts = BTreeMap::new();
    for started in &world.log {
        *attempts.entry(started.seq).or_default() += 1;
    }
    attempts
}

#[test]
fn what_expired_is_sent_again_under_its_number() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 61);
        world.behave("t.example", BUSY);
        world.webhook("t.example", "", Limits::default());
        world.publish();
        world.run_for(3 * DAY_MS + 2 * HOUR_MS);
        let seq = world.log[0].seq;
        let end = world.finished(seq).expect("ended");
        assert_eq!(end.ending, Ending::Failed(FailedReason::Expired));
        resend(&mut world, seq).expect("is sent again");
        let again = resend(&mut world, seq).map(|_| ());
        assert_eq!(again, Err(ActError::Pending.into()));
        // Its first attempt is on disk by then.
        world.run_for(SECOND_MS);
        world.crash(SECOND_MS);
        world.run_for(20 * MINUTE_MS);
        // Its retry table begins anew.
        let retried = world.attempts_of(seq).len() as u32 - end.attempts;
        assert!((3..=5).contains(&retried), "{retried}");
        world.behave("t.example", WELL);
        world.run_for(2 * HOUR_MS);
        let after = world.finished(seq).expect("ended");
        assert_eq!(after.ending, Ending::Delivered);
        assert_eq!(after.attempts as usize, world.attempts_of(seq).len());
        assert_eq!(world.store.attempts(seq).expect("reads").len(), after.attempts as usize);
    }
}

#[test]
fn what_is_cancelled_is_not_attempted_any_more_even_over_a_crash() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 62);
        world.behave("t.example", BUSY);
        world.webhook("t.example", "", Limits::default());
        world.publish();
        world.run_for(2 * MINUTE_MS);
        let seq = world.log[0].seq;
        let attempts = world.log.len();
        cancel(&mut world, seq).expect("is cancelled");
        assert_eq!(world.finished(seq).expect("ended").ending, REQUESTED);
        let again = cancel(&mut world, seq).map(|_| ());
        assert_eq!(again, Err(ActError::Ended("cancelled").into()));
        world.run_for(HOUR_MS);
        world.crash(SECOND_MS);
        world.run_for(3 * DAY_MS);
        assert_eq!(world.log.len(), attempts);
        world.behave("t.example", WELL);
        resend(&mut world, seq).expect("is sent again");
        world.run_for(MINUTE_MS);
        assert_eq!(world.finished(seq).expect("ended").ending, Ending::Delivered);
        assert_eq!(world.figures().rows_held, 0);
    }
}

#[test]
fn an_attempt_under_way_is_not_cut_off_by_a_cancellation() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 63);
        world.webhook("t.example", "", Limits::default());
        for (status, ending) in [(200, Ending::Delivered), (500, REQUESTED)] {
            world.behave("t.example", Behaviour::Answer(status, 30_000, None));
            world.publish();
            world.run_for(SECOND_MS);
            let seq = world.log.last().expect("started").seq;
            cancel(&mut world, seq).expect("is cancelled");
            assert_eq!(world.finished(seq).expect("ended").ending, REQUESTED);
            let early = resend(&mut world, seq).map(|_| ());
            assert_eq!(early, Err(ActError::UnderWay.into()));
            world.run_for(MINUTE_MS);
            let end = world.finished(seq).expect("ended");
            assert_eq!((end.ending, end.attempts), (ending, 1));
            let log = world.store.attempts(seq).expect("reads");
            assert_eq!((log.len(), log[0].next_due), (1, None));
            world.crash(SECOND_MS);
            world.run_for(DAY_MS);
            assert_eq!(world.attempts_of(seq).len(), 1);
            assert_eq!(world.finished(seq).expect("ended").ending, ending);
        }
        // If nobody lives to see its answer, it was cancelled.
        world.behave("t.example", Behaviour::Answer(200, 30_000, None));
        world.publish();
        world.run_for(SECOND_MS);
        let seq = world.log.last().expect("started").seq;
        cancel(&mut world, seq).expect("is cancelled");
        world.crash(SECOND_MS);
        world.run_for(DAY_MS);
        assert_eq!(world.attempts_of(seq).len(), 1);
        assert_eq!(world.finished(seq).expect("ended").ending, REQUESTED);
    }
}

/// A world in which so many deliveries were cancelled with their webhook, which is active again.
fn stopped_world(seed: u64, deliveries: usize) -> (World, WebhookId) {
    let mut world = World::new(embedded(), default_settings(), seed);
    world.behave("t.example", WELL);
    let id = world.webhook("t.example", "", Limits::default());
    let project = world.project;
    world.command(Command::PauseWebhook { project, id }).expect("pauses");
    for _ in 0..deliveries / 100 {
        world.publish_many(100).expect("accepted");
    }
    is_active(&mut world, id, false);
    is_active(&mut world, id, true);
    (world, id)
}

#[test]
fn a_job_sends_each_delivery_again_once_whatever_dies_in_between() {
    for (seed, kind) in [(64, JobKind::Resend), (65, JobKind::Recover(Only::Failed))] {
        for gap_ms in [3, 11, 40] {
            let (mut world, id) = stopped_world(seed, 2_200);
            let all = Selection { webhook: Some(id), ..Selection::default() };
            let job_id = begin(&mut world, kind, all);
            // Nothing that comes later is its affair.
            world.publish();
            for _ in 0..8 {
                world.run_for(gap_ms);
                world.crash(SECOND_MS);
            }
            world.run_for(HOUR_MS);
            assert_eq!(counts(&job(&mut world, job_id)), (JobState::Done, 2_200, 2_200, 0));
            assert!(world.on_disk().is_empty());
            let attempts = attempts(&world);
            assert_eq!(attempts.len(), 2_201);
            let delivered = world.log.iter().filter(|started| started.delivered).count();
            // A crash repeats what was under way and not yet on disk, and nothing else.
            assert!(delivered >= 2_201, "{delivered}");
            for seq in attempts.keys() {
                let end = world.finished(*seq).expect("ended");
                assert_eq!((end.ending, end.attempts), (Ending::Delivered, 1));
            }
        }
    }
}

#[test]
fn what_a_webhook_missed_is_brought_in_order_and_once() {
    let mut world = World::new(embedded(), default_settings(), 66);
    world.behave("t.example", WELL);
    world.behave("u.example", WELL);
    world.webhook("t.example", "", Limits::default());
    for _ in 0..12 {
        world.publish_many(100).expect("accepted");
    }
    let own = Limits { in_flight: Some(1), ..Limits::default() };
    let id = world.webhook("u.example", "", own);
    world.publish();
    let since = Some(Wall(0));
    let selection = Selection { webhook: Some(id), since, ..Selection::default() };
    let first = begin(&mut world, JobKind::Recover(Only::Missing), selection.clone());
    let second = begin(&mut world, JobKind::Recover(Only::Missing), selection.clone());
    for _ in 0..6 {
        world.run_for(11);
        world.crash(SECOND_MS);
    }
    world.run_for(HOUR_MS);
    let done = job(&mut world, first).done + job(&mut world, second).done;
    assert_eq!(done, 1_200);
    let arrived: Vec<Seq> =
        world.attempts_to("u.example").iter().map(|started| started.event).collect();
    let mut events = arrived.clone();
    events.sort_unstable();
    events.dedup();
    assert_eq!(events.len(), 1_201);
    let third = begin(&mut world, JobKind::Recover(Only::All), selection);
    world.run_for(HOUR_MS);
    assert_eq!(counts(&job(&mut world, third)), (JobState::Done, 1_201, 1_201, 0));
}

#[test]
fn a_recovery_takes_up_what_it_is_about_and_each_once() {
    for (seed, only, wanted) in [(71, Only::Failed, 2), (72, Only::All, 5)] {
        let mut world = World::new(embedded(), default_settings(), seed);
        // They have arrived again before the job would make another step.
        world.behave("t.example", Behaviour::Answer(200, 1, None));
        let id = world.webhook("t.example", "", Limits::default());
        world.publish_many(3).expect("accepted");
        world.run_for(MINUTE_MS);
        let project = world.project;
        world.command(Command::PauseWebhook { project, id }).expect("pauses");
        world.publish_many(2).expect("accepted");
        is_active(&mut world, id, false);
        is_active(&mut world, id, true);
        let selection = Selection { webhook: Some(id), ..Selection::default() };
        let recovery = begin(&mut world, JobKind::Recover(only), selection);
        world.run_for(HOUR_MS);
        assert_eq!(counts(&job(&mut world, recovery)), (JobState::Done, wanted, wanted, 0));
        assert_eq!(world.log.len() as u64, 3 + wanted, "{only:?}");
    }
}

#[test]
fn a_job_that_is_stopped_goes_no_further() {
    let (mut world, _) = stopped_world(67, 3_000);
    let id = begin(&mut world, JobKind::Resend, Selection::default());
    world.run_for(12);
    let stopped = act(&mut world, Act::Stop(id));
    assert!(matches!(stopped, Ok(Acted::Job(_))), "{stopped:?}");
    let at = job(&mut world, id);
    assert_eq!(at.state, JobState::Cancelled);
    assert!(at.done < 3_000, "{at:?}");
    world.run_for(MINUTE_MS);
    assert_eq!(job(&mut world, id), at);
    world.crash(SECOND_MS);
    world.run_for(HOUR_MS);
    assert_eq!(job(&mut world, id), at);
    assert_eq!(attempts(&world).len() as u64, at.done);
    let again = act(&mut world, Act::Stop(id)).map(|_| ());
    assert_eq!(again, Err(ActError::JobEnded("cancelled").into()));
}

#[test]
fn what_waits_is_cancelled_by_a_job() {
    let mut world = world(68);
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "", Limits::default());
    for _ in 0..15 {
        world.publish_many(100).expect("accepted");
    }
    world.run_for(MINUTE_MS);
    let id = begin(&mut world, JobKind::Cancel, Selection::default());
    for _ in 0..4 {
        world.run_for(10);
        world.crash(SECOND_MS);
    }
    world.run_for(MINUTE_MS);
    let at = job(&mut world, id);
    assert_eq!((at.state, at.skipped), (JobState::Done, 0));
    assert!(world.on_disk().is_empty());
    let attempts = world.log.len();
    world.run_for(DAY_MS);
    assert_eq!(world.log.len(), attempts);
}

fn event_of(world: &World, event: Seq) -> EventId {
    world.store.event(event).expect("reads").expect("is kept").id
}

#[test]
fn a_replay_reaches_whoever_subscribes_now() {
    let mut world = world(69);
    world.behave("t.example", WELL);
    world.behave("u.example", BUSY);
    let first = world.webhook("t.example", "", Limits::default());
    let accepted = world.publish();
    world.run_for(MINUTE_MS);
    let event = event_of(&world, accepted.events[0].id.seq);
    let second = world.webhook("u.example", "", Limits::default());
    let replayed = |world: &mut World, webhook| match act(world, Act::Replay(event, webhook)) {
        Ok(Acted::Replayed(replayed)) => replayed,
        other => panic!("{other:?}"),
    };
    let made = replayed(&mut world, None);
    assert_eq!(made, Replayed { resent: 1, created: 1, waiting: 0 });
    world.run_for(MINUTE_MS);
    assert_eq!(attempts(&world).values().sum::<usize>(), world.log.len());
    assert_eq!(world.attempts_to("t.example").len(), 2);
    let made = replayed(&mut world, Some(second));
    assert_eq!(made, Replayed { resent: 0, created: 0, waiting: 1 });
    let made = replayed(&mut world, Some(first));
    assert_eq!(made, Replayed { resent: 1, created: 0, waiting: 0 });
    world.run_for(SECOND_MS);
    world.crash(SECOND_MS);
    world.run_for(MINUTE_MS);
    assert_eq!(world.attempts_to("t.example").len(), 3);
    // An erased event can't be sent again, and what waits of it ends at once.
    let project = world.project;
    world.command(Command::EraseEvent { project, event: event.seq }).expect("erases");
    world.run_for(SECOND_MS);
    assert!(world.on_disk().is_empty());
    let seq = world.attempts_to("u.example")[0].seq;
    let erased = Ending::Cancelled(CancelledReason::Erased);
    assert_eq!(world.finished(seq).expect("ended").ending, erased);
    let refused = act(&mut world, Act::Replay(event, None)).map(|_| ());
    assert_eq!(refused, Err(ActError::Erased.into()));
    let refused = resend(&mut world, seq).map(|_| ());
    assert_eq!(refused, Err(ActError::Erased.into()));
}

#[test]
fn an_event_is_kept_as_long_as_anything_waits_that_was_made_of_it_later() {
    let mut settings = default_settings();
    settings.retention_ms = HOUR_MS;
    let mut world = World::new(embedded(), settings, 73);
    world.behave("t.example", WELL);
    world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(MINUTE_MS);
    world.behave("t.example", BUSY);
    world.behave("u.example", BUSY);
    let seq = world.log[0].seq;
    resend(&mut world, seq).expect("is sent again");
    world.run_for(9 * HOUR_MS);
    // Nothing but its later delivery needs this one.
    world.behave("t.example", WELL);
    let id = world.webhook("u.example", "", Limits::default());
    let event = event_of(&world, world.log[0].event);
    act(&mut world, Act::Replay(event, Some(id))).expect("is made");
    world.run_for(9 * HOUR_MS);
    assert!(world.attempts_to("t.example").last().is_some_and(|last| last.delivered));
    world.crash(SECOND_MS);
    world.run_for(9 * HOUR_MS);
    world.behave("u.example", WELL);
    world.run_for(9 * HOUR_MS);
    assert!(world.attempts_to("u.example").last().is_some_and(|last| last.delivered));
    assert!(world.on_disk().is_empty());
    // What ends with its webhook needs it no more either.
    world.behave("u.example", BUSY);
    world.publish();
    world.run_for(MINUTE_MS);
    is_active(&mut world, id, false);
    world.run_for(9 * HOUR_MS);
    assert_eq!(world.store.stats().expect("reads").events, 0, "what nothing needs is gone");
}

#[test]
fn a_removed_project_takes_its_jobs_along() {
    let (mut world, _) = stopped_world(70, 2_000);
    begin(&mut world, JobKind::Resend, Selection::default());
    world.run_for(5);
    let project = world.project;
    world.command(Command::RemoveProject(project)).expect("removes");
    world.run_for(MINUTE_MS);
    assert!(world.jobs().is_empty());
    world.crash(SECOND_MS);
    world.run_for(MINUTE_MS);
    assert!(world.jobs().is_empty());
    assert!(world.store.load().expect("loads").jobs.is_empty());
}
