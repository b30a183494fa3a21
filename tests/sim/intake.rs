//! The hidden lanes of `/send/` over days, and intake tokens that are changed at once.
//!
//! Owns the proofs that a lane goes when it is unused, never before, and that no token is lost.

use postrider::engine::command::Command;
use postrider::engine::submit::SubmitError;
use postrider::model::delivery::{Ending, FailedReason};
use postrider::model::secret::Secret;
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::Limits;

use super::world::{Behaviour, World, default_settings};
use super::{embedded, world};

#[test]
fn a_hidden_lane_takes_what_is_sent_to_it_alone() {
    let mut world = world(1);
    let shown = world.webhook("shown.example", "", Limits::default());
    let hidden = world.hidden("hidden.example");
    assert_eq!(world.send(hidden).expect("accepted").events[0].deliveries, 1);
    assert_eq!(world.publish().events[0].deliveries, 1);
    world.run_for(SECOND_MS);
    assert_eq!(world.attempts_to("hidden.example").len(), 1);
    assert_eq!(world.attempts_to("shown.example").len(), 1);
    // One that is shown is nobody's private lane.
    assert_eq!(world.send(shown), Err(SubmitError::WebhookGone));
}

#[test]
fn a_hidden_lane_goes_when_it_is_unused_and_never_before_its_last_delivery_ended() {
    let mut world = world(1);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    let hidden = world.hidden("t.example");
    world.run_for(5 * DAY_MS);
    // A use starts the time anew.
    world.send(hidden).expect("accepted");
    world.run_for(SECOND_MS);
    let seq = world.log[0].seq;
    world.run_for(6 * DAY_MS);
    assert!(world.show(hidden).is_some());
    let finished = world.finished(seq).expect("it ended");
    assert_eq!(finished.ending, Ending::Failed(FailedReason::Expired));
    world.run_for(2 * DAY_MS);
    assert!(world.show(hidden).is_none());
    assert_eq!(world.send(hidden), Err(SubmitError::WebhookGone));
}

#[test]
fn after_a_crash_a_hidden_lane_goes_on_and_goes_later() {
    let mut world = World::new(embedded(), default_settings(), 1);
    world.behave("t.example", Behaviour::Refuse);
    let hidden = world.hidden("t.example");
    world.send(hidden).expect("accepted");
    world.run_for(MINUTE_MS);
    world.crash(HOUR_MS);
    assert!(world.show(hidden).is_some_and(|webhook| webhook.hidden));
    world.behave("t.example", Behaviour::Answer(200, 5, None));
    world.run_for(2 * HOUR_MS);
    assert!(world.log.iter().any(|attempt| attempt.delivered));
    world.run_for(6 * DAY_MS);
    assert!(world.show(hidden).is_some());
    world.run_for(2 * DAY_MS);
    assert!(world.show(hidden).is_none());
}

#[test]
fn tokens_that_are_made_and_revoked_at_once_are_all_kept() {
    let mut world = World::new(embedded(), default_settings(), 1);
    let add = |name: &str| Command::AddIntakeToken {
        project: World::project_id(),
        name: name.to_owned(),
        hash: [name.as_bytes()[0]; 32],
        secret: Some(Secret::new(format!("secret of {name}"))),
    };
    let revoke = |id| Command::RevokeIntakeToken { project: World::project_id(), id };
    world.commands_at_once(vec![add("a"), add("b"), add("c"), revoke(2), add("d")]);
    assert_eq!(world.tokens(), ["a", "c", "d"]);
    // A project that is configured anew keeps them, at the same instant too.
    let project = || Command::PutProject(World::project_draft("renamed"));
    world.commands_at_once(vec![add("e"), project(), revoke(1)]);
    assert_eq!(world.tokens(), ["c", "d", "e"]);
    world.crash(SECOND_MS);
    assert_eq!(world.tokens(), ["c", "d", "e"]);
}
