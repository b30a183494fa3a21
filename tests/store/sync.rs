//! When a batch is called back: when it would outlive the power going at that instant.
//!
//! Owns that proof for the store with its thread; those without one are simulated. Must never look
//! at the disk later than the callback does: by then, it may be synced all the same.

use std::sync::mpsc;

use postrider::store::embedded::journal::files::Files;

use super::*;

/// Whether these bytes are on the disk after the power went.
fn is_durable(disk: &Disk, text: &[u8]) -> bool {
    disk.cut(|| false);
    disk.list().expect("lists").iter().any(|(number, bytes)| {
        let mut found = vec![0; *bytes as usize];
        let file = disk.open(*number).expect("is there");
        let read = file.read_at(0, &mut found).expect("reads");
        found[..read].windows(text.len()).any(|bytes| bytes == text)
    })
}

#[test]
fn whoever_is_called_back_finds_it_durable() {
    let disk = Disk::default();
    let backend = redb::backends::InMemoryBackend::new;
    let opened = Embedded::open_on(backend, disk.clone(), vault(1, &[]), settings());
    let store = opened.expect("opens");
    for (n, durability) in [(1, Durability::Now), (2, Durability::Soon), (3, Durability::Now)] {
        let text = format!("this is event {n}");
        let event = Event { data: text.clone().into_bytes(), ..Event::clone(&event(n, 1)) };
        let ops = vec![Op::PutEvent(Arc::new(event))];
        let (disk, (sender, receiver)) = (disk.clone(), mpsc::channel());
        let done = move |result: Result<(), CommitError>| {
            let outlives = is_durable(&disk, text.as_bytes());
            sender.send((result.is_ok(), outlives)).expect("the test waits");
        };
        let batch = Batch { expect: Vec::new(), ops, durability };
        store.commit(batch, Box::new(done));
        assert_eq!(receiver.recv().expect("is called back"), (true, true), "event {n}");
    }
}
