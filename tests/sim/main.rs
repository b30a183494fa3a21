//! Schedules in virtual time: the retry table over 72 hours, isolation, limits, lifecycle, crashes.
//!
//! Owns the proofs that need days to pass. Must never read a clock or open a socket: the world's
//! time is a number, and its targets are a table.

mod bad_disk;
mod clocks;
mod disk;
mod intake;
mod jobs;
mod lanes;
mod machine;
mod manage;
mod mirror;
mod notices;
mod oracle;
mod seeds;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider::engine::command::Command;
use postrider::logic::dispatcher::TargetLimits;
use postrider::logic::quota::Rate;
use postrider::logic::retry::{SLOT_LAST, slot_offset_ms};
use postrider::model::delivery::{CancelledReason, Ending, FailedReason, Queue};
use postrider::model::draft::WebhookPatch;
use postrider::model::ids::Seq;
use postrider::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use postrider::model::webhook::{DisabledReason, Limits, WebhookState};
use postrider::store::Store;
use postrider::store::embedded::journal::memory::Disk;
use postrider::store::embedded::vault::{Key, Vault};
use postrider::store::embedded::{Embedded, Settings};
use postrider::store::memory::Memory;
use world::{ATTEMPT_MS_MAX, Behaviour, Started, World, default_settings};

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new())
}

fn world(seed: u64) -> World {
    World::new(memory(), default_settings(), seed)
}

/// The seed's table: minutes after the start of the first attempt, written out from the document.
fn table_minutes() -> Vec<u64> {
    [0, 1, 5, 10, 30, 60].into_iter().chain((2..=72).map(|hour| hour * 60)).collect()
}

/// Checks attempts against the table: each within the slot's jitter, or (if the attempt before
/// lasted beyond it) at once after that one. 2 ms are the simulated disk.
fn assert_on_table(attempts: &[Started], shift_ms: u64) {
    let first_ms = attempts[0].at_ms;
    for (n, attempt) in attempts.iter().enumerate() {
        let minutes = table_minutes()[n];
        let gap_minutes = minutes - table_minutes()[n.saturating_sub(1)];
        let slot_ms = first_ms + minutes * MINUTE_MS + if n > 0 { shift_ms } else { 0 };
        let jitter_ms = gap_minutes * MINUTE_MS / 10;
        let before_ms = n.checked_sub(1).map_or(0, |before| attempts[before].end_ms);
        let last = minutes == 72 * 60;
        let earliest_ms = if last { slot_ms - SECOND_MS } else { slot_ms };
        let latest_ms = (slot_ms + jitter_ms).max(before_ms) + 2;
        assert!(
            (earliest_ms..=latest_ms).contains(&attempt.at_ms),
            "attempt {} at {} ms, not within {earliest_ms} to {latest_ms}",
            n + 1,
            attempt.at_ms
        );
        assert!(attempt.at_ms <= first_ms + shift_ms + 72 * HOUR_MS, "after 72 hours");
    }
}

fn one_delivery(behaviour: Behaviour, seed: u64) -> (World, Seq, Vec<Started>) {
    let mut world = world(seed);
    world.behave("t.example", behaviour);
    world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(100 * HOUR_MS);
    let seq = world.log[0].seq;
    let attempts = world.attempts_of(seq);
    (world, seq, attempts)
}

#[test]
fn seventy_two_hours_of_failing_targets_follow_the_seeds_table() {
    for seed in 1..=5 {
        for behaviour in [
            Behaviour::Answer(500, 20, None),
            Behaviour::Refuse,
            Behaviour::Hang,
            Behaviour::Answer(302, 1, None),
        ] {
            let (world, seq, attempts) = one_delivery(behaviour.clone(), seed);
            assert_eq!(attempts.len(), table_minutes().len(), "{behaviour:?}");
            assert_on_table(&attempts, 0);
            let finished = world.finished(seq).expect("it ended");
            assert_eq!(finished.ending, Ending::Failed(FailedReason::Expired), "{behaviour:?}");
            assert_eq!(finished.attempts as usize, attempts.len());
            let logged = world.store.attempts(seq).expect("reads");
            assert_eq!(logged.len(), attempts.len());
        }
    }
}

#[test]
fn jitter_differs_and_is_never_cumulative() {
    let late = |seed| -> Vec<u64> {
        let (_, _, attempts) = one_delivery(Behaviour::Answer(500, 20, None), seed);
        (0..)
            .zip(&attempts)
            .map(|(slot, a)| (a.at_ms - attempts[0].at_ms).saturating_sub(slot_offset_ms(slot)))
            .collect()
    };
    let (one, two) = (late(1), late(2));
    assert_ne!(one, two);
    assert!(one.iter().skip(6).all(|ms| *ms <= 6 * MINUTE_MS + 2), "more than 10 % of an hour");
    assert!(one.iter().any(|ms| *ms > MINUTE_MS), "no jitter at all");
}

#[test]
fn retry_after_moves_the_next_attempt_and_parks_the_lane() {
    let mut world = world(3);
    world.behave("t.example", Behaviour::Answer(429, 10, Some("600")));
    world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(50);
    world.behave("t.example", Behaviour::Answer(429, 10, Some("1")));
    // Published while the lane is parked: not attempted before the ten minutes are over.
    world.publish();
    world.run_for(20 * MINUTE_MS);
    let first = world.log[0].clone();
    let until_ms = first.end_ms + 600 * SECOND_MS;
    let others: Vec<&Started> = world.log.iter().filter(|a| a.seq != first.seq).collect();
    assert!(others[0].at_ms >= until_ms && others[0].at_ms <= until_ms + 2);
    // Its own slots at 1 and 5 minutes are not made up for: that at 10 minutes is the next.
    let attempts = world.attempts_of(first.seq);
    assert!(attempts[1].at_ms >= until_ms, "{attempts:?}");
    assert!(attempts[1].at_ms <= until_ms + MINUTE_MS);
    assert!(attempts.len() == 2 || attempts[2].at_ms >= first.at_ms + 30 * MINUTE_MS);
}

#[test]
fn retry_after_never_goes_past_the_seventy_two_hours() {
    let (world, seq, attempts) = one_delivery(Behaviour::Answer(503, 5, Some("99999999")), 4);
    assert_eq!(attempts.len(), 2);
    let waited_ms = attempts[1].at_ms - attempts[0].at_ms;
    assert!((72 * HOUR_MS - SECOND_MS..=72 * HOUR_MS).contains(&waited_ms), "{waited_ms}");
    assert!(matches!(world.finished(seq).expect("ended").ending, Ending::Failed(_)));
}

#[test]
fn gone_disables_the_webhook_after_one_attempt() {
    let mut world = world(5);
    world.behave("t.example", Behaviour::Answer(410, 10, None));
    let limits = Limits { in_flight: Some(1), ..Limits::default() };
    let id = world.webhook("t.example", "", limits);
    let accepted = world.publish_many(50).expect("accepted");
    world.run_for(HOUR_MS);
    assert_eq!(world.log.len(), 1);
    let webhook = world.show(id).expect("is there");
    assert_eq!(webhook.state, WebhookState::Disabled(DisabledReason::Gone));
    assert_eq!(accepted.events.len(), 50);
    let first = world.log[0].seq;
    let ended = (first.0 - 1..first.0 + 200).filter_map(|seq| world.finished(Seq(seq)));
    let endings: Vec<Ending> = ended.map(|finished| finished.ending).collect();
    assert_eq!(endings, vec![Ending::Failed(FailedReason::Disabled); 50]);
    // No new deliveries; made active again, it gets them.
    world.publish();
    world.run_for(MINUTE_MS);
    assert_eq!(world.log.len(), 1);
    world.behave("t.example", Behaviour::Answer(200, 10, None));
    world.update(id, WebhookPatch { is_active: Some(true), ..WebhookPatch::default() });
    world.publish();
    world.run_for(MINUTE_MS);
    assert_eq!(world.log.len(), 2);
}

#[test]
fn inactive_cancels_what_waits_and_nothing_comes_back() {
    let mut world = world(6);
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    let id = world.webhook("t.example", "", Limits::default());
    world.publish_many(5).expect("accepted");
    world.run_for(2 * MINUTE_MS);
    let before = world.log.len();
    world.update(id, WebhookPatch { is_active: Some(false), ..WebhookPatch::default() });
    world.publish();
    world.run_for(80 * HOUR_MS);
    assert_eq!(world.log.len(), before);
    let cancelled = Ending::Cancelled(CancelledReason::Inactive);
    for attempt in &world.log {
        assert_eq!(world.finished(attempt.seq).expect("ended").ending, cancelled);
    }
    assert_eq!(world.store.stats().expect("reads").pending, 0);
}

#[test]
fn a_pause_keeps_everything_and_stops_the_clock() {
    let mut world = world(7);
    world.behave("t.example", Behaviour::Answer(500, 10, None));
    let id = world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(20 * MINUTE_MS);
    let seq = world.log[0].seq;
    assert_eq!(world.log.len(), 4);
    let project = world.project;
    world.command(Command::PauseWebhook { project, id }).expect("pauses");
    let paused_at_ms = world.now_ms();
    world.run_for(100 * HOUR_MS);
    assert_eq!(world.log.len(), 4, "attempted while paused");
    world.publish();
    world.crash(HOUR_MS);
    world.run_for(HOUR_MS);
    world.command(Command::ResumeWebhook { project, id }).expect("resumes");
    let pause_ms = world.now_ms() - paused_at_ms;
    world.run_for(80 * HOUR_MS);
    let attempts = world.attempts_of(seq);
    // The slots after the pause lie later by its length; an attempt that was due while paused is
    // made at once.
    assert_eq!(attempts.len(), table_minutes().len());
    let tail: Vec<Started> =
        std::iter::once(attempts[0].clone()).chain(attempts[5..].iter().cloned()).collect();
    for (attempt, minutes) in tail[1..].iter().zip(&table_minutes()[5..]) {
        let slot_ms = attempts[0].at_ms + minutes * MINUTE_MS + pause_ms;
        assert!(attempt.at_ms + SECOND_MS >= slot_ms, "{attempt:?}");
        assert!(attempt.at_ms <= slot_ms + 6 * MINUTE_MS + 2, "{attempt:?}");
    }
    let later = world.log.iter().find(|a| a.seq != seq).expect("the event of the pause");
    assert!(later.at_ms >= paused_at_ms + pause_ms);
}

#[test]
fn after_a_crash_the_table_goes_on() {
    for store in [memory(), embedded()] {
        let mut world = World::new(store, default_settings(), 8);
        world.behave("t.example", Behaviour::Answer(500, 20, None));
        world.webhook("t.example", "", Limits::default());
        world.publish();
        let seq = {
            world.run_for(MINUTE_MS / 2);
            world.log[0].seq
        };
        for _ in 0..40 {
            world.run_for(2 * HOUR_MS - 7 * MINUTE_MS);
            world.crash(SECOND_MS);
        }
        world.run_for(HOUR_MS);
        let attempts = world.attempts_of(seq);
        assert_eq!(attempts.len(), table_minutes().len());
        assert_on_table(&attempts, 0);
    }
}

fn embedded() -> Arc<dyn Store> {
    let vault = Vault::new(Key::new([1; 32]), Vec::new());
    let backend = redb::backends::InMemoryBackend::new;
    let settings = Settings::default();
    Arc::new(Embedded::open_on(backend, Disk::default(), vault, settings).expect("opens"))
}

#[test]
fn days_offline_are_one_attempt_not_a_burst() {
    let mut world = world(9);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    world.webhook("t.example", "", Limits::default());
    world.publish();
    world.run_for(2 * MINUTE_MS);
    assert_eq!(world.log.len(), 2);
    world.crash(5 * HOUR_MS);
    world.run_for(10 * MINUTE_MS);
    assert_eq!(world.log.len(), 3, "the slots that passed are made up for once");
    world.crash(4 * 24 * HOUR_MS);
    world.run_for(HOUR_MS);
    assert_eq!(world.log.len(), 3, "its 72 hours were over");
    let ending = world.finished(world.log[0].seq).expect("ended").ending;
    assert_eq!(ending, Ending::Failed(FailedReason::Expired));
}

/// Ten thousand events wait for a target that hangs for a minute per request: a healthy target's
/// attempts start at the very same virtual millisecond as without it.
#[test]
fn a_hanging_target_costs_a_healthy_one_nothing() {
    let starts = |with_hanging: bool| -> Vec<u64> {
        let mut world = world(10);
        world.behave("hang.example", Behaviour::Hang);
        let hanging = world.webhook("hang.example", "", Limits::default());
        if with_hanging {
            for _ in 0..10 {
                world.publish_many(1_000).expect("accepted");
            }
        } else {
            world.run_for(10);
        }
        let off = WebhookPatch { is_active: Some(false), ..WebhookPatch::default() };
        if !with_hanging {
            world.update(hanging, off);
        } else {
            world.run_for(1);
        }
        // From here on, both worlds do the same at the same time.
        world.run_for(SECOND_MS - world.now_ms());
        world.webhook("good.example", "", Limits::default());
        for _ in 0..600 {
            world.publish();
            world.run_for(250);
        }
        world.attempts_to("good.example").iter().map(|a| a.at_ms).collect()
    };
    let (without, with) = (starts(false), starts(true));
    assert_eq!(without.len(), 600);
    assert_eq!(without, with);
}

#[test]
fn no_window_exceeds_a_targets_rate_or_concurrency() {
    let limits = TargetLimits { rate: Some(Rate::new(20, 5)), in_flight_max: Some(3) };
    let mut world = World::new(memory(), World::target_limits("http://t.example", limits), 11);
    world.behave("t.example", Behaviour::Answer(200, 400, None));
    for path in ["a", "b", "c"] {
        world.webhook("t.example", path, Limits::default());
    }
    world.publish_many(100).expect("accepted");
    world.run_for(10 * MINUTE_MS);
    assert_eq!(world.log.len(), 300);
    assert_limits(&world.log, 20, 5, 3);
    // Three at a time that last 400 ms each: the cap is used, not only kept.
    assert!(world.log.last().expect("some").at_ms < 300 * 400 / 3 + SECOND_MS);
}

#[test]
fn a_webhooks_own_limits_hold_under_its_targets() {
    let mut world = world(12);
    world.behave("t.example", Behaviour::Answer(200, 300, None));
    let own = Limits { rate_per_second: Some(10), burst: Some(2), in_flight: Some(2) };
    let slow = world.webhook("t.example", "slow", own);
    world.webhook("t.example", "fast", Limits::default());
    world.publish_many(100).expect("accepted");
    world.run_for(10 * MINUTE_MS);
    let (of_slow, of_fast): (Vec<Started>, Vec<Started>) =
        world.log.iter().cloned().partition(|a| a.webhook == slow.get());
    assert_eq!((of_slow.len(), of_fast.len()), (100, 100));
    assert_limits(&of_slow, 10, 2, 2);
    assert!(of_fast.last().expect("some").at_ms < 2 * SECOND_MS, "the other lane is not slowed");
}

fn assert_limits(log: &[Started], per_second: usize, burst: usize, in_flight_max: usize) {
    for (n, first) in log.iter().enumerate() {
        let in_second = log[n..].iter().take_while(|a| a.at_ms < first.at_ms + SECOND_MS).count();
        assert!(in_second <= per_second + burst, "{in_second} from {} ms on", first.at_ms);
        let at_once = log.iter().filter(|a| a.at_ms <= first.at_ms && a.end_ms > first.at_ms);
        assert!(at_once.count() <= in_flight_max, "at {} ms", first.at_ms);
    }
}

#[test]
fn a_dead_target_is_probed_and_drained_slowly_when_it_returns() {
    let mut world = world(13);
    world.behave("t.example", Behaviour::Refuse);
    world.webhook("t.example", "", Limits::default());
    world.publish_many(1_000).expect("accepted");
    world.publish_many(1_000).expect("accepted");
    world.run_for(6 * HOUR_MS);
    let tried: std::collections::BTreeSet<Seq> = world.log.iter().map(|a| a.seq).collect();
    // At most what was under way when the breaker opened, and a probe every ten minutes or so.
    assert!(tried.len() < 100, "{} of 2000 were tried", tried.len());
    let back_ms = world.now_ms();
    world.behave("t.example", Behaviour::Answer(200, 50, None));
    world.run_for(2 * HOUR_MS);
    let delivered = world.log.iter().filter(|a| a.delivered).count();
    assert_eq!(delivered, 2_000);
    assert_eq!(world.store.stats().expect("reads").pending, 0);
    // Slow start: the first success comes alone.
    let mut after: Vec<&Started> = world.log.iter().filter(|a| a.at_ms >= back_ms).collect();
    after.sort_by_key(|a| a.at_ms);
    assert!(after[1].at_ms >= after[0].end_ms, "the second did not wait for the first");
}

#[test]
fn every_attempted_delivery_of_a_dead_target_keeps_its_own_table() {
    let mut world = world(14);
    world.behave("t.example", Behaviour::Answer(500, 20, None));
    world.webhook("t.example", "", Limits::default());
    world.publish_many(1_000).expect("accepted");
    world.run_for(80 * HOUR_MS);
    let mut of: BTreeMap<Seq, Vec<Started>> = BTreeMap::new();
    for attempt in &world.log {
        of.entry(attempt.seq).or_default().push(attempt.clone());
    }
    let early = of.values().filter(|attempts| attempts[0].at_ms < SECOND_MS).count();
    assert!(early >= 10);
    for attempts in of.values().filter(|attempts| attempts[0].at_ms < 7 * HOUR_MS) {
        assert_on_table(attempts, 0);
        assert_eq!(attempts.len() as u32, SLOT_LAST + 1);
    }
}

#[test]
fn lanes_of_one_target_take_turns() {
    let limits = TargetLimits { rate: Some(Rate::new(100, 1)), in_flight_max: Some(4) };
    let mut world = World::new(memory(), World::target_limits("http://t.example", limits), 15);
    let big = world.webhook("t.example", "big", Limits::default());
    world.publish_many(1_000).expect("accepted");
    let small = world.webhook("t.example", "small", Limits::default());
    world.publish_many(10).expect("accepted");
    world.run_for(HOUR_MS);
    let of_small: Vec<&Started> = world.log.iter().filter(|a| a.webhook == small.get()).collect();
    assert_eq!(of_small.len(), 10);
    let before =
        world.log.iter().filter(|a| a.webhook == big.get() && a.at_ms <= of_small[9].at_ms).count();
    assert!(before < 100, "{before} of the big lane came before the tenth of the small one");
}

#[test]
fn dead_targets_share_a_quarter_of_the_slots() {
    let mut world = world(16);
    for n in 0..100 {
        let host = format!("hang{n}.example");
        world.behave(&host, Behaviour::Hang);
        world.webhook(&host, "", Limits::default());
    }
    world.publish_many(100).expect("accepted");
    world.run_for(10 * SECOND_MS);
    assert_eq!(world.log.len(), 1_024 / 4);
    world.webhook("good.example", "", Limits::default());
    world.publish();
    world.run_for(10 * MINUTE_MS);
    let good = world.attempts_to("good.example");
    assert_eq!(good.len(), 1, "one of the dead slots came free for it");
}

#[test]
fn attempts_start_in_the_order_of_acceptance_while_nothing_fails() {
    let mut world = world(17);
    world.behave("t.example", Behaviour::Answer(200, 30, None));
    world.webhook("t.example", "", Limits::default());
    for _ in 0..30 {
        world.publish_many(50).expect("accepted");
        world.run_for(20);
    }
    world.run_for(HOUR_MS);
    let order: Vec<Seq> = world.log.iter().map(|a| a.seq).collect();
    assert_eq!(order.len(), 1_500);
    assert!(order.is_sorted());
}

#[test]
fn nothing_is_lost_whenever_the_process_dies() {
    for seed in 1..=20_u64 {
        let mut world = world(seed);
        world.behave("bad.example", Behaviour::Answer(500, 200, None));
        world.webhook("good.example", "", Limits::default());
        world.webhook("bad.example", "", Limits::default());
        for n in 0..20 {
            world.publish_many(10).expect("accepted");
            world.run_for((seed * 7 + n * 13) % 60);
            world.crash(n % 3);
        }
        world.behave("bad.example", Behaviour::Answer(200, 200, None));
        world.run_for(3 * HOUR_MS);
        let delivered = |host: &str| -> std::collections::BTreeSet<Seq> {
            world.attempts_to(host).iter().filter(|a| a.delivered).map(|a| a.seq).collect()
        };
        assert_eq!(delivered("good.example").len(), 200, "seed {seed}");
        assert_eq!(delivered("bad.example").len(), 200, "seed {seed}");
        let stats = world.store.stats().expect("reads");
        assert_eq!(stats.pending, 0, "seed {seed}");
        for queue in [Queue::Fresh, Queue::Retry] {
            assert!(world.store.lanes(queue).expect("reads").is_empty());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut world = world(seed);
        world.behave("bad.example", Behaviour::Answer(500, 20, None));
        world.behave("hang.example", Behaviour::Hang);
        for host in ["good.example", "bad.example", "hang.example"] {
            world.webhook(host, "", Limits::default());
        }
        world.publish_many(20).expect("accepted");
        world.run_for(10 * HOUR_MS);
        world.log
    };
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
    assert!(history(1).iter().all(|a| a.end_ms - a.at_ms <= ATTEMPT_MS_MAX));
}
