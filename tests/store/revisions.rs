//! Webhooks as they were.
//!
//! Owns the proof that they stay as long as what was made by them, and no longer.

use postrider::store::REVISIONS_MAX;

use super::*;

/// A webhook as it was stays as long as the deliveries that may have been made by it, and of one
/// that is changed all the time there is no end of revisions.
#[test]
fn revisions_are_kept_with_their_deliveries() {
    for store in [Box::new(on_memory()) as Box<dyn Store>, Box::new(Memory::new())] {
        let hook = |revision| webhook(1, "file.uploaded", "http://a.example/", revision);
        let id = hook(1).id;
        let read = |revision| store.revision(id, revision).expect("reads");
        commit(&*store, vec![Op::PutWebhook(hook(1))]);
        let event = event(10, 0);
        let row = pending(1, 10, Seq(event.id.seq.0 + 1), event.id.seq, 0);
        commit(&*store, vec![Op::PutEvent(event), Op::Enqueue(row)]);
        commit(&*store, vec![Op::PutWebhook(hook(2))]);
        commit(&*store, vec![Op::RemoveWebhook(id)]);
        assert_eq!((read(1), read(2), read(3)), (Some(hook(1)), Some(hook(2)), None));
        while upkeep(&*store, 10, 1).more {}
        assert_eq!((read(1), read(2)), (Some(hook(1)), Some(hook(2))));
        while upkeep(&*store, 11, 1).more {}
        assert_eq!((read(1), read(2)), (None, None));
        let last = 10 + REVISIONS_MAX as u64 + 5;
        for revision in 10..=last {
            commit(&*store, vec![Op::PutWebhook(hook(revision))]);
        }
        let kept = (10..=last).filter(|revision| read(*revision).is_some());
        assert!(kept.eq(last - REVISIONS_MAX as u64..=last));
    }
}
