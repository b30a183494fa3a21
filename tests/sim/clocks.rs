//! Clocks that step, machines that sleep, weeks offline.
//!
//! Owns the proofs that none of them makes a burst, skips a retry, or expires what is not over.

use postrider::model::delivery::{Ending, FailedReason};
use postrider::model::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::Limits;

use super::world::{Behaviour, World, default_settings};
use super::{assert_on_table, memory, world};

const YEAR_MS: i64 = 365 * DAY_MS as i64;

/// A world with one delivery that has failed twice, eleven minutes old.
fn failing(seed: u64) -> World {
    let mut settings = default_settings();
    settings.retention_ms = 30 * DAY_MS;
    let mut world = World::new(memory(), settings, seed);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(11 * MINUTE_MS + 30 * SECOND_MS);
    world
}

#[test]
fn a_year_forward_and_back_changes_no_attempt() {
    for by_ms in [YEAR_MS, -YEAR_MS, 5 * DAY_MS as i64, -5 * (DAY_MS as i64), 90_000, -90_000] {
        let mut world = failing(1);
        world.set_wall(by_ms);
        world.run_for(10 * MINUTE_MS);
        world.publish();
        world.set_wall(-by_ms);
        world.run_for(80 * HOUR_MS);
        let seq = world.log[0].seq;
        let attempts = world.attempts_of(seq);
        // A clock that is behind slows it down by a tenth of ten minutes.
        let slack_ms = if by_ms < 0 { MINUTE_MS } else { 0 };
        assert_eq!(attempts.len(), 77, "{by_ms} ms");
        for (attempt, slot) in attempts.iter().zip(super::table_minutes()) {
            let late_ms = attempt.at_ms - attempts[0].at_ms;
            let slot_ms = slot * MINUTE_MS;
            assert!(late_ms + SECOND_MS >= slot_ms, "{by_ms} ms");
            assert!(late_ms <= slot_ms + slot_ms / 10 + slack_ms + 50, "{by_ms} ms");
        }
        if by_ms > 0 {
            assert_on_table(&attempts, 0);
        }
    }
}

#[test]
fn a_step_back_that_stays_delays_nothing_by_more_than_a_tenth() {
    let mut world = failing(2);
    world.set_wall(-5 * (DAY_MS as i64));
    world.run_for(100 * HOUR_MS);
    let attempts = world.attempts_of(world.log[0].seq);
    assert_eq!(attempts.len(), 77);
    for (n, pair) in attempts.windows(2).enumerate().skip(5) {
        let gap_ms = pair[1].at_ms - pair[0].at_ms;
        assert!(gap_ms <= (HOUR_MS + 6 * MINUTE_MS) * 10 / 9 + SECOND_MS, "gap {n}: {gap_ms} ms");
    }
    let last_ms = attempts[76].at_ms - attempts[0].at_ms;
    assert!(last_ms <= 72 * HOUR_MS * 10 / 9);
}

#[test]
fn a_machine_that_slept_makes_up_for_its_slots_once_and_at_its_rate() {
    let mut world = world(3);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    world.webhook("t.example", "", Limits::default());
    for _ in 0..300 {
        world.publish();
        world.run_for(SECOND_MS);
    }
    world.run_for(90 * MINUTE_MS);
    let before = world.log.len();
    world.sleep(10 * HOUR_MS);
    let woke_ms = world.now_ms();
    world.run_for(MINUTE_MS / 2);
    let tried = world.log.iter().filter(|s| s.attempt == 1).count();
    let made_up = world.log[before..].iter().filter(|s| s.attempt > 1).count();
    // Each delivery that was under way once, none twice. (The oracle watches the rate.)
    assert!(made_up <= tried && made_up >= tried / 2, "{made_up} of {tried}");
    assert!(world.log[before].at_ms >= woke_ms);
}

#[test]
fn a_frozen_machine_is_believed_after_an_hour_without_a_burst() {
    let mut world = failing(4);
    world.set_wall(6 * HOUR_MS as i64);
    let seq = world.log[0].seq;
    world.run_for(HOUR_MS - MINUTE_MS);
    assert_eq!(world.attempts_of(seq).len(), 6, "as if nothing had happened");
    world.run_for(5 * MINUTE_MS);
    assert_eq!(world.attempts_of(seq).len(), 7, "the slots that passed, made up for once");
    world.run_for(80 * HOUR_MS);
    let attempts = world.attempts_of(seq);
    assert!(attempts.last().expect("some").at_ms <= 66 * HOUR_MS + MINUTE_MS);
}

#[test]
fn after_a_week_offline_what_is_over_ends_when_the_clock_can_be_trusted() {
    let mut world = failing(5);
    let seq = world.log[0].seq;
    let before = world.log.len();
    world.crash(7 * DAY_MS);
    world.publish();
    world.run_for(9 * MINUTE_MS);
    assert!(world.finished(seq).is_none());
    assert_eq!(world.attempts_of(seq).len(), before, "no attempt after 72 hours");
    // What is new does not wait behind it, and neither do its retries.
    let new = world.log.last().expect("some").seq;
    assert_eq!(world.attempts_of(new).len(), 3, "at once, after 1 minute and after 5");
    world.run_for(2 * MINUTE_MS);
    let ending = world.finished(seq).expect("ended").ending;
    assert_eq!(ending, Ending::Failed(FailedReason::Expired));
}

#[test]
fn a_wrong_year_at_the_start_expires_nothing_if_it_is_put_right() {
    for by_ms in [YEAR_MS, -YEAR_MS, -50 * YEAR_MS] {
        let mut world = failing(6);
        let seq = world.log[0].seq;
        world.set_wall(by_ms);
        world.crash(MINUTE_MS);
        world.run_for(3 * MINUTE_MS);
        world.set_wall(-by_ms);
        world.run_for(80 * HOUR_MS);
        let attempts = world.attempts_of(seq);
        assert!((76..=79).contains(&attempts.len()), "{by_ms} ms: {}", attempts.len());
        let took_ms = attempts.last().expect("some").at_ms - attempts[0].at_ms;
        assert!((71 * HOUR_MS..=73 * HOUR_MS).contains(&took_ms), "{by_ms} ms: {took_ms}");
    }
}

#[test]
fn what_was_tried_in_a_wrong_year_goes_on_by_its_table_when_the_clock_is_right() {
    let mut world = world(8);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    world.webhook("t.example", "", Limits::default());
    world.set_wall(YEAR_MS);
    world.crash(MINUTE_MS);
    world.publish();
    world.run_for(SECOND_MS);
    let seq = world.log.last().expect("some").seq;
    world.run_for(3 * MINUTE_MS);
    world.set_wall(-YEAR_MS);
    world.run_for(80 * HOUR_MS);
    let attempts = world.attempts_of(seq);
    assert!(attempts[2].at_ms <= attempts[0].at_ms + 5 * MINUTE_MS, "at once when it is right");
    // At most one slot is lost or repeated by reckoning anew.
    assert!((76..=78).contains(&attempts.len()), "{}", attempts.len());
    let took_ms = attempts.last().expect("some").at_ms - attempts[0].at_ms;
    assert!((71 * HOUR_MS..=73 * HOUR_MS).contains(&took_ms), "{took_ms}");
}

/// No clock is set for a start without a battery: deliveries go on by what the store knows.
#[test]
fn a_clock_that_stays_in_1970_stops_nothing() {
    let mut world = failing(7);
    let seq = world.log[0].seq;
    world.set_wall(-(super::world::START.0 as i64));
    world.crash(MINUTE_MS);
    world.run_for(90 * HOUR_MS);
    let attempts = world.attempts_of(seq);
    assert!(attempts.len() >= 70, "{}", attempts.len());
    world.publish();
    world.run_for(MINUTE_MS);
    assert_ne!(world.log.last().expect("some").seq, seq, "what is new is sent");
}
