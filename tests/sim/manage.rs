//! What is changed while deliveries wait: targets, secrets, payloads, webhooks that fail for days.
//!
//! Owns the proofs that such a change holds at once, over restarts, and by the clock. Must never
//! read a clock: the world's time is a number.

use postrider::engine::command::{Answer, Command, CommandError, RotationStep, TargetPatch};
use postrider::model::delivery::{CancelledReason, Ending, FailedReason};
use postrider::model::draft::{Change, WebhookPatch};
use postrider::model::ids::WebhookId;
use postrider::model::secret::Secret;
use postrider::model::target::{Origin, TargetUrl};
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::{DisabledReason, Limits, RotationPhase, Webhook, WebhookState};

use crate::world::{Behaviour, World, default_settings};
use crate::{embedded, memory, world};

fn set(world: &mut World, host: &str, patch: TargetPatch) {
    let origin = Origin::parse(&format!("http://{host}")).expect("an origin");
    world.command(Command::SetTarget { origin, patch }).expect("sets");
}

fn paused(paused: bool) -> TargetPatch {
    TargetPatch { paused: Some(paused), ..TargetPatch::default() }
}

#[test]
fn a_paused_target_keeps_everything_and_stops_the_clock_even_over_a_crash() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 31);
        world.behave("t.example", Behaviour::Answer(500, 10, None));
        world.webhook("t.example", "", Limits::default());
        world.publish();
        world.run_for(20 * MINUTE_MS);
        let first = world.log[0].seq;
        assert_eq!(world.log.len(), 4);
        set(&mut world, "t.example", paused(true));
        world.run_for(80 * HOUR_MS);
        world.publish();
        world.crash(HOUR_MS);
        world.publish();
        world.run_for(20 * HOUR_MS);
        assert_eq!(world.log.len(), 4, "attempted while paused");
        world.behave("t.example", Behaviour::Answer(200, 10, None));
        set(&mut world, "t.example", paused(false));
        world.run_for(2 * HOUR_MS);
        // Without the pause in its account, the first would have expired.
        assert_eq!(world.finished(first).expect("ended").ending, Ending::Delivered);
        assert_eq!(world.log.iter().filter(|attempt| attempt.delivered).count(), 3);
    }
}

#[test]
fn a_webhook_that_moves_takes_the_pause_of_its_old_target_along() {
    let mut world = world(32);
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    let id = world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(MINUTE_MS);
    let seq = world.log[0].seq;
    set(&mut world, "t.example", paused(true));
    world.run_for(90 * HOUR_MS);
    let target_url = TargetUrl::parse("http://u.example/").expect("a URL");
    world.update(id, WebhookPatch { target_url: Some(target_url), ..WebhookPatch::default() });
    world.run_for(MINUTE_MS);
    assert_eq!(world.finished(seq).expect("ended").ending, Ending::Delivered);
}

#[test]
fn limits_that_are_set_hold_at_once_and_over_a_crash() {
    let mut world = world(33);
    world.behave("t.example", Behaviour::Answer(200, 300, None));
    world.webhook("t.example", "", Limits::default());
    world.publish_many(200).expect("accepted");
    world.run_for(SECOND_MS);
    let before = world.log.len();
    assert!(before > 20, "{before}");
    let slow = TargetPatch {
        rate_per_second: Change::Set(2),
        burst: Change::Set(1),
        ..Default::default()
    };
    set(&mut world, "t.example", slow);
    world.run_for(10 * SECOND_MS);
    let slowly = world.log.len() - before;
    assert!((15..=21).contains(&slowly), "{slowly} in 10 s at 2 a second");
    world.crash(SECOND_MS);
    // What was in flight is repeated, at the rate that was set.
    let before = world.log.len();
    world.run_for(10 * SECOND_MS);
    let slowly = world.log.len() - before;
    assert!((15..=21).contains(&slowly), "{slowly} in 10 s after the crash");
    let cleared =
        TargetPatch { rate_per_second: Change::Clear, burst: Change::Clear, ..Default::default() };
    set(&mut world, "t.example", cleared);
    world.run_for(30 * SECOND_MS);
    assert_eq!(world.store.stats().expect("reads").pending, 0);
}

#[test]
fn setting_a_rate_again_and_again_gives_no_burst() {
    let mut world = world(34);
    world.webhook("t.example", "", Limits::default());
    let rate = |rate: u32| TargetPatch {
        rate_per_second: Change::Set(rate),
        burst: Change::Set(500),
        ..Default::default()
    };
    set(&mut world, "t.example", rate(2));
    world.publish_many(100).expect("accepted");
    for n in 0..20 {
        set(&mut world, "t.example", rate(2 + n % 2));
        world.run_for(10);
    }
    assert!(world.log.len() <= 2, "{} attempts in a fifth of a second", world.log.len());
}

#[test]
fn erased_events_are_cancelled_when_their_turn_comes() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 35);
        world.behave("t.example", Behaviour::Answer(500, 10, None));
        world.webhook("t.example", "", Limits::default());
        let accepted = world.publish_many(2).expect("accepted");
        world.run_for(2 * MINUTE_MS);
        let attempts = world.log.len();
        assert_eq!(attempts, 4);
        let (erased, kept) = (accepted.events[0].id.seq, accepted.events[1].id.seq);
        let project = world.project;
        world.command(Command::EraseEvent { project, event: erased }).expect("erases");
        let event = world.store.event(erased).expect("reads").expect("is listed");
        assert_eq!((event.data.as_slice(), &event.file), (b"null".as_slice(), &None));
        world.crash(SECOND_MS);
        world.behave("t.example", Behaviour::Answer(200, 10, None));
        world.run_for(10 * MINUTE_MS);
        let after: Vec<_> = world.log[attempts..].iter().map(|attempt| attempt.event).collect();
        assert_eq!(after, [kept]);
        let cancelled = Ending::Cancelled(CancelledReason::Erased);
        let first = world.log.iter().find(|attempt| attempt.event == erased).expect("attempted");
        assert_eq!(world.finished(first.seq).expect("ended").ending, cancelled);
    }
}

fn secrets(webhook: &Webhook) -> (Option<&str>, Option<(&str, RotationPhase)>) {
    let rotation = webhook.rotation.as_ref();
    let rotation = rotation.map(|rotation| (rotation.secret.expose(), rotation.phase));
    (webhook.secret.as_ref().map(Secret::expose), rotation)
}

#[test]
fn a_rotation_goes_on_by_itself_at_its_time_even_over_a_crash() {
    let mut world = world(36);
    let id = world.webhook("t.example", "", Limits::default());
    let old = Change::Set(Secret::new("old".to_owned()));
    world.update(id, WebhookPatch { secret: old, ..WebhookPatch::default() });
    let step = RotationStep::Begin {
        secret: Secret::new("new".to_owned()),
        promote_after_ms: Some(HOUR_MS),
        overlap_ms: DAY_MS,
    };
    let project = world.project;
    world.command(Command::Rotate { project, id, step }).expect("begins");
    world.run_for(HOUR_MS - SECOND_MS);
    let shown = |world: &World| world.show(id).expect("is there");
    assert_eq!(secrets(&shown(&world)), (Some("old"), Some(("new", RotationPhase::Staged))));
    world.run_for(2 * SECOND_MS);
    assert_eq!(secrets(&shown(&world)), (Some("new"), Some(("old", RotationPhase::Promoted))));
    world.crash(HOUR_MS);
    world.run_for(DAY_MS - HOUR_MS - MINUTE_MS);
    assert!(shown(&world).rotation.is_some());
    world.run_for(2 * MINUTE_MS);
    assert_eq!(secrets(&shown(&world)), (Some("new"), None));
    // Another secret ends one that is under way.
    let step = RotationStep::Begin {
        secret: Secret::new("third".to_owned()),
        promote_after_ms: Some(HOUR_MS),
        overlap_ms: DAY_MS,
    };
    world.command(Command::Rotate { project, id, step }).expect("begins");
    let fourth = Change::Set(Secret::new("fourth".to_owned()));
    world.update(id, WebhookPatch { secret: fourth, ..WebhookPatch::default() });
    world.run_for(2 * DAY_MS);
    assert_eq!(secrets(&shown(&world)), (Some("fourth"), None));
}

fn failing_world(seed: u64) -> (World, WebhookId) {
    let mut world = World::new(embedded(), default_settings(), seed);
    world.reconfigure(|settings| settings.disable_failing_after_ms = Some(3 * DAY_MS));
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    let id = world.webhook("t.example", "", Limits::default());
    (world, id)
}

/// One event a day, `days` times, and a crash each day: what is known of the failures survives.
fn days(world: &mut World, days: u64) {
    for _ in 0..days {
        world.publish();
        world.run_for(DAY_MS - HOUR_MS);
        world.crash(HOUR_MS);
    }
}

#[test]
fn a_webhook_that_fails_for_days_is_disabled_where_that_is_wanted() {
    let (mut world, id) = failing_world(37);
    days(&mut world, 2);
    assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
    days(&mut world, 2);
    let webhook = world.show(id).expect("is there");
    assert_eq!(webhook.state, WebhookState::Disabled(DisabledReason::Failing));
    assert_eq!(world.store.stats().expect("reads").pending, 0);
    let first = world.finished(world.log[0].seq).expect("ended").ending;
    assert!(matches!(first, Ending::Failed(FailedReason::Disabled | FailedReason::Expired)));
    // Made active again, it has its days again.
    world.update(id, WebhookPatch { is_active: Some(true), ..WebhookPatch::default() });
    days(&mut world, 2);
    assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
    // So has one that its owner switches off and on, each time.
    for _ in 0..2 {
        for on in [false, true] {
            world.update(id, WebhookPatch { is_active: Some(on), ..WebhookPatch::default() });
        }
        world.publish();
        world.run_for(2 * DAY_MS);
        assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
    }
}

#[test]
fn one_success_gives_a_failing_webhook_its_days_again() {
    let (mut world, id) = failing_world(38);
    days(&mut world, 2);
    assert!(world.show(id).expect("is there").failing_since.is_some());
    world.behave("t.example", Behaviour::Answer(200, 10, None));
    days(&mut world, 1);
    assert!(world.show(id).expect("is there").failing_since.is_none());
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    days(&mut world, 2);
    assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
}

#[test]
fn failures_far_apart_are_no_reason() {
    let (mut world, id) = failing_world(39);
    world.publish();
    world.run_for(30 * MINUTE_MS);
    // The one delivery is taken away: nothing fails for a month, then one attempt does.
    world.update(id, WebhookPatch { is_active: Some(false), ..WebhookPatch::default() });
    world.update(id, WebhookPatch { is_active: Some(true), ..WebhookPatch::default() });
    world.run_for(30 * DAY_MS);
    world.publish();
    world.run_for(30 * MINUTE_MS);
    assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
}

#[test]
fn nothing_is_disabled_unless_that_is_wanted() {
    let mut world = world(40);
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    let id = world.webhook("t.example", "", Limits::default());
    days(&mut world, 6);
    assert_eq!(world.show(id).expect("is there").state, WebhookState::Active);
}

#[test]
fn what_is_asked_for_beside_a_removal_finds_nothing() {
    let mut world = World::new(embedded(), default_settings(), 42);
    let id = world.webhook("t.example", "", Limits::default());
    let project = world.project;
    let step = RotationStep::Begin {
        secret: Secret::new("next".to_owned()),
        promote_after_ms: None,
        overlap_ms: 1,
    };
    let results = world.results_at_once(vec![
        Command::RemoveProject(project),
        Command::RenameProject { project, name: "again".to_owned() },
        Command::PutProject(World::project_draft("again")),
        Command::AddSecretKey { project, key: Secret::new("key".to_owned()) },
        Command::Rotate { project, id, step },
    ]);
    let errors: Vec<Option<CommandError>> = results.into_iter().map(Result::err).collect();
    let gone = Some(CommandError::NotFound);
    let used = Some(CommandError::IdUsed(project));
    assert_eq!(errors, [None, gone.clone(), used, gone.clone(), gone]);
    world.crash(SECOND_MS);
    let loaded = world.store.load().expect("loads");
    assert!(loaded.projects.is_empty() && loaded.webhooks.is_empty());
}

#[test]
fn what_the_operator_does_at_once_is_all_done() {
    let mut world = World::new(embedded(), default_settings(), 43);
    let token = |n: u8| Command::AddOperatorToken { name: n.to_string(), hash: [n; 32] };
    let origin = Origin::parse("http://t.example").expect("an origin");
    let project = world.project;
    world.commands_at_once(vec![
        token(1),
        Command::SetTarget { origin: origin.clone(), patch: paused(true) },
        token(2),
        Command::RemoveProject(project),
        Command::RevokeOperatorToken(1),
        token(3),
    ]);
    for _ in 0..2 {
        let operator = world.operator();
        let names: Vec<&str> = operator.tokens.iter().map(|token| token.name.as_str()).collect();
        assert_eq!(names, ["2", "3"]);
        assert!(operator.target(&origin).paused_since.is_some());
        assert!(operator.removed_projects.contains(&project));
        world.crash(SECOND_MS);
    }
}

#[test]
fn a_removed_project_takes_all_of_it_along_and_its_id_is_not_given_again() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 41);
        world.behave("t.example", Behaviour::Answer(500, 10, None));
        world.webhook("t.example", "", Limits::default());
        let hidden = world.hidden("t.example");
        world.publish();
        world.send(hidden).expect("accepted");
        world.run_for(MINUTE_MS / 2);
        let attempts = world.log.clone();
        assert_eq!(attempts.len(), 2);
        let project = world.project;
        world.command(Command::RemoveProject(project)).expect("removes");
        for again in [false, true] {
            if again {
                world.crash(SECOND_MS);
            }
            world.run_for(HOUR_MS);
            assert_eq!(world.log.len(), 2, "attempted after the end");
            assert!(world.publish_many(1).is_err());
            let refused = world.command(Command::RemoveProject(project)).map(|_| ());
            assert_eq!(refused, Err(CommandError::NotFound));
            let draft = World::project_draft("again");
            let refused = world.command(Command::PutProject(draft)).map(|_| ());
            assert_eq!(refused, Err(CommandError::IdUsed(project)));
        }
        let deleted = Ending::Cancelled(CancelledReason::Deleted);
        for attempt in &attempts {
            assert_eq!(world.finished(attempt.seq).expect("ended").ending, deleted);
        }
        let other =
            postrider::model::draft::ProjectDraft { id: None, ..World::project_draft("other") };
        match world.command(Command::PutProject(other)) {
            Ok(Answer::Project(other)) => assert_ne!(other.id, project),
            other => assert!(other.is_err(), "no project: {other:?}"),
        }
    }
}
