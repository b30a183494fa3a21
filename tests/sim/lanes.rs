//! Lanes that return from an outage, fairness, and how much is held in memory.
//!
//! Owns the proofs that new events pass a backlog, that it drains all the same, and that turns,
//! permits and memory are shared as promised.

use std::collections::BTreeMap;

use postrider::engine::command::Command;
use postrider::logic::dispatcher::TargetLimits;
use postrider::logic::quota::Rate;
use postrider::model::ids::Seq;
use postrider::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::Limits;

use super::world::{Behaviour, Started, World, default_settings};
use super::{memory, world};

const BACKLOG: usize = 10_000;

fn one_target(rate: Rate, in_flight_max: u32, seed: u64) -> World {
    let limits = TargetLimits { rate: Some(rate), in_flight_max: Some(in_flight_max) };
    World::new(memory(), World::target_limits("http://t.example", limits), seed)
}

/// Publishes `each` events a second for `seconds`, and returns how long each waited for its first
/// attempt, in order.
fn delays_ms(world: &mut World, seconds: u64, each: usize) -> Vec<u64> {
    let mut at_ms: BTreeMap<Seq, u64> = BTreeMap::new();
    for _ in 0..seconds {
        let accepted = world.publish_many(each).expect("accepted");
        at_ms.extend(accepted.events.iter().map(|event| (event.id.seq, world.now_ms())));
        world.run_for(SECOND_MS);
    }
    world.run_for(MINUTE_MS);
    let first = |seq: Seq| world.log.iter().find(|started| started.event == seq);
    let wait = |(seq, at): (&Seq, &u64)| first(*seq).expect("attempted").at_ms.saturating_sub(*at);
    let mut delays: Vec<u64> = at_ms.iter().map(wait).collect();
    delays.sort_unstable();
    delays
}

fn p99(sorted: &[u64]) -> u64 {
    sorted[sorted.len() * 99 / 100]
}

/// The target is back, and slow start is over.
fn return_after(world: &mut World, outage_ms: u64) {
    world.run_for(outage_ms);
    world.behave("t.example", Behaviour::Answer(200, 20, None));
    let from_ms = world.now_ms();
    while !world.log.iter().any(|started| started.delivered && started.at_ms >= from_ms) {
        world.run_for(SECOND_MS);
    }
    world.run_for(10 * SECOND_MS);
}

#[test]
fn new_events_pass_a_backlog_of_held_rows_which_drains_beside_them() {
    let mut world = one_target(Rate::new(50, 10), 32, 1);
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "", Limits::default());
    for _ in 0..BACKLOG / 1_000 {
        world.publish_many(1_000).expect("accepted");
    }
    return_after(&mut world, HOUR_MS);
    let from_ms = world.now_ms();
    // As much as a lane can take beside its backlog: half of its rate.
    let delays = delays_ms(&mut world, 60, 25);
    assert!(p99(&delays) <= 1_100, "p99 {} ms", p99(&delays));
    let of_minute = |started: &&Started| (from_ms..from_ms + MINUTE_MS).contains(&started.at_ms);
    let sent = world.log.iter().filter(of_minute).count();
    assert!(sent - 60 * 25 >= 60 * 24, "{} of the backlog in a minute", sent - 60 * 25);
    assert!(world.figures().rows_held <= 2_048);
    world.run_for(HOUR_MS);
    assert_eq!(world.log.iter().filter(|started| started.delivered).count(), BACKLOG + 60 * 25);
    // Each side in its order: the first attempts of the backlog, and of what came after.
    let mut first: BTreeMap<Seq, u64> = BTreeMap::new();
    for started in &world.log {
        first.entry(started.event).or_insert(started.at_ms);
    }
    let events: Vec<u64> = first.into_values().collect();
    assert!(events[..BACKLOG].is_sorted() && events[BACKLOG..].is_sorted());
}

#[test]
fn new_events_that_take_all_they_can_get_leave_the_backlog_its_half() {
    let mut world = one_target(Rate::new(50, 10), 32, 2);
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "", Limits::default());
    world.publish_many(1_000).expect("accepted");
    let backlog = world.publish_many(1_000).expect("accepted").events;
    return_after(&mut world, HOUR_MS);
    let from_ms = world.now_ms();
    // Twice the rate.
    for _ in 0..20 {
        world.publish_many(100).expect("accepted");
        world.run_for(SECOND_MS);
    }
    let last = backlog.last().expect("some").id.seq;
    let (new, old): (Vec<_>, Vec<_>) =
        world.log.iter().filter(|s| s.at_ms >= from_ms).partition(|s| s.event > last);
    assert!(new.len().abs_diff(old.len()) <= 20, "{} new, {} old", new.len(), old.len());
    assert!(new.len() + old.len() >= 20 * 49, "the rate is used up");
}

#[test]
fn new_events_pass_retries_that_fell_due_together() {
    let mut world = one_target(Rate::new(20, 5), 32, 3);
    world.behave("t.example", Behaviour::Answer(500, 5, None));
    let id = world.webhook("t.example", "", Limits::default());
    let project = world.project;
    // Attempted all, since a lane's breaker looks at failures in a row.
    for _ in 0..100 {
        world.publish_many(9).expect("accepted");
        world.run_for(SECOND_MS);
        world.behave("t.example", Behaviour::Answer(200, 5, None));
        world.publish();
        world.run_for(SECOND_MS);
        world.behave("t.example", Behaviour::Answer(500, 5, None));
    }
    world.command(Command::PauseWebhook { project, id }).expect("pauses");
    world.behave("t.example", Behaviour::Answer(200, 5, None));
    world.run_for(2 * HOUR_MS);
    world.command(Command::ResumeWebhook { project, id }).expect("resumes");
    let delays = delays_ms(&mut world, 20, 10);
    assert!(p99(&delays) <= 1_100, "p99 {} ms", p99(&delays));
    world.run_for(HOUR_MS);
    assert_eq!(world.store.stats().expect("reads").pending, 0);
}

#[test]
fn a_backlog_is_passed_after_a_pause_a_retry_after_and_a_restart() {
    for way in 0..3 {
        let mut world = one_target(Rate::new(50, 10), 32, 4);
        let id = world.webhook("t.example", "", Limits::default());
        let project = world.project;
        match way {
            0 => {
                world.command(Command::PauseWebhook { project, id }).expect("pauses");
            }
            1 => {
                world.behave("t.example", Behaviour::Answer(429, 5, Some("60")));
                world.publish();
                world.run_for(SECOND_MS);
                world.behave("t.example", Behaviour::Answer(200, 5, None));
            }
            _ => {}
        }
        for _ in 0..BACKLOG / 1_000 {
            world.publish_many(1_000).expect("accepted");
        }
        match way {
            0 => {
                world.command(Command::ResumeWebhook { project, id }).expect("resumes");
            }
            1 => world.run_for(MINUTE_MS),
            _ => world.crash(SECOND_MS),
        }
        // What is accepted in the millisecond of the return is backlog still.
        world.run_for(1);
        let delays = delays_ms(&mut world, 10, 10);
        assert!(p99(&delays) <= 600, "way {way}: p99 {} ms", p99(&delays));
        world.run_for(HOUR_MS);
        assert_eq!(world.store.stats().expect("reads").pending, 0, "way {way}");
    }
}

/// What a second outage leaves is backlog too, and no row is sent twice or forgotten.
#[test]
fn outages_in_a_row_move_the_mark() {
    let mut world = one_target(Rate::new(50, 10), 32, 5);
    world.webhook("t.example", "", Limits::default());
    let mut published = 0;
    for round in 0..6 {
        world.behave("t.example", Behaviour::Refuse);
        for _ in 0..3 {
            world.publish_many(500).expect("accepted");
            published += 500;
            world.run_for(20 * SECOND_MS);
        }
        world.behave("t.example", Behaviour::Answer(200, 20, None));
        world.run_for(MINUTE_MS + round * 7 * SECOND_MS);
    }
    world.behave("t.example", Behaviour::Answer(200, 20, None));
    world.run_for(3 * HOUR_MS);
    let mut delivered: BTreeMap<Seq, u32> = BTreeMap::new();
    for started in world.log.iter().filter(|started| started.delivered) {
        *delivered.entry(started.seq).or_default() += 1;
    }
    assert_eq!(delivered.len(), published);
    assert!(delivered.values().all(|times| *times == 1));
}

#[test]
fn targets_take_turns_for_the_process_s_slots() {
    let mut settings = super::default_settings();
    settings.dispatcher.in_flight_max = 4;
    let mut world = World::new(memory(), settings, 6);
    world.behave("big.example", Behaviour::Answer(200, 100, None));
    world.behave("small.example", Behaviour::Answer(200, 100, None));
    world.webhook("big.example", "", Limits::default());
    world.publish_many(1_000).expect("accepted");
    world.webhook("small.example", "", Limits::default());
    let from_ms = world.now_ms();
    world.publish_many(50).expect("accepted");
    world.run_for(HOUR_MS);
    let small = world.attempts_to("small.example");
    let last_ms = small[49].at_ms;
    let big = world.attempts_to("big.example");
    let beside = big.iter().filter(|s| (from_ms..=last_ms).contains(&s.at_ms)).count();
    assert!((40..=60).contains(&beside), "{beside} of the big target beside 50 of the small one");
}

/// Targets that answered a moment ago and all hang at once hold the slots of the process for
/// seconds, not for the minute of their attempts.
#[test]
fn targets_that_hang_all_at_once_hold_no_slots_of_the_others() {
    const HANGING: usize = 200;
    let mut settings = default_settings();
    settings.dispatcher.in_flight_max = 64;
    let mut world = World::new(memory(), settings, 77);
    let hanging: Vec<String> = (0..HANGING).map(|n| format!("h{n}.example")).collect();
    for host in &hanging {
        world.behave(host, Behaviour::Answer(200, 20, None));
        world.webhook(host, "", Limits::default());
    }
    world.behave("healthy.example", Behaviour::Answer(200, 20, None));
    world.webhook("healthy.example", "", Limits::default());
    world.publish();
    world.run_for(MINUTE_MS);
    for host in &hanging {
        world.behave(host, Behaviour::Hang);
    }
    for second in 0..40 {
        let event = world.publish().events[0].id.seq;
        let from_ms = world.now_ms();
        world.run_for(SECOND_MS);
        let is_first =
            |started: &&Started| started.event == event && started.host == "healthy.example";
        let first = world.log.iter().find(is_first);
        if second >= 10 {
            let waited = first.map(|started| started.at_ms - from_ms);
            assert!(waited.is_some_and(|ms| ms <= 100), "{waited:?} in second {second}");
        }
    }
}

#[test]
fn lanes_alternate_however_long_they_are() {
    let mut world = one_target(Rate::new(100, 1), 4, 10);
    let lanes = ["a", "b", "c"].map(|path| world.webhook("t.example", path, Limits::default()));
    world.publish_many(500).expect("accepted");
    world.run_for(3 * SECOND_MS);
    for lane in lanes {
        let turns = world.log.iter().filter(|started| started.webhook == lane.get()).count();
        assert!((95..=105).contains(&turns), "{turns} of 300");
    }
}

#[test]
fn memory_is_bounded_however_much_waits_and_for_however_many() {
    let mut world = world(7);
    for n in 0..200 {
        let host = format!("h{n}.example");
        world.behave(&host, Behaviour::Refuse);
        world.webhook(&host, "", Limits::default());
    }
    let mut held = 0;
    for _ in 0..10 {
        world.publish_many(60).expect("accepted");
        world.run_for(SECOND_MS);
        held = held.max(world.figures().rows_held);
    }
    assert_eq!(world.store.stats().expect("reads").pending, 120_000);
    // Untried rows: 65,536 shared by the lanes. A dead target's retries are few.
    assert!(held > 10_000 && held <= 70_000, "{held}");
}

/// A limiter is asked when it said, not before: an attempt costs the loop a bounded number of
/// looks, however many rows wait behind it.
#[test]
fn a_target_at_its_rate_is_not_polled() {
    let mut world = one_target(Rate::new(10, 1), 4, 8);
    world.webhook("t.example", "", Limits::default());
    world.publish_many(1_000).expect("accepted");
    let before = world.turns();
    world.run_for(100 * SECOND_MS);
    assert!((990..=1_000).contains(&world.log.len()), "{}", world.log.len());
    // Its start, its end, its commit.
    let turns = world.turns() - before;
    assert!(turns <= 3 * 1_000 + 100, "{turns} turns of the loop");
}

#[test]
fn a_restart_sends_no_burst_not_even_to_a_target_without_a_backlog() {
    let own = Limits { rate_per_second: Some(5), burst: Some(20), in_flight: None };
    for limits in [Limits::default(), own] {
        // The target's limit is not in the way of the lane's own.
        let of_target = if limits == own { Rate::new(500, 500) } else { Rate::new(10, 50) };
        let mut world = one_target(of_target, 32, 9);
        world.webhook("t.example", "", limits);
        let from_ms = world.now_ms();
        for _ in 0..10 {
            world.publish_many(10).expect("accepted");
            world.run_for(SECOND_MS / 2);
            world.crash(0);
        }
        let sent = world.log.iter().filter(|s| s.at_ms >= from_ms).count();
        let (burst, rate) = if limits == own { (20, 5) } else { (50, 10) };
        assert!(sent <= burst + rate * 5 + 10, "{sent} in five seconds");
    }
}
