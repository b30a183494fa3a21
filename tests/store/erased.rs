//! Erasure on the disk: no byte of an erased payload stays in the journal.
//!
//! Owns the proof that a kill between the commit and the overwriting is made good at the next
//! start. Must never look through the store's own eyes: it reads the files.

use super::*;

const CANARY: &[u8] = b"canary-payload";

/// The journal's files, and where the canary stands in each.
fn canaries(folder: &Path) -> Vec<(PathBuf, usize)> {
    let files = std::fs::read_dir(folder).expect("is there");
    let mut found = Vec::new();
    for file in files.map(|entry| entry.expect("is readable").path()) {
        let bytes = std::fs::read(&file).expect("reads");
        let places = bytes.windows(CANARY.len()).enumerate().filter(|(_, part)| *part == CANARY);
        found.extend(places.map(|(at, _)| (file.clone(), at)));
    }
    found
}

#[test]
fn an_erased_payload_is_overwritten_and_again_after_a_kill() {
    let scratch = Scratch::new("erased");
    let journal = scratch.0.join(JOURNAL_NAME);
    let store = scratch.open();
    let (erased, kept) = (event(1, 1), event(1, 2));
    commit(&store, vec![Op::PutEvent(Arc::clone(&erased)), Op::PutEvent(Arc::clone(&kept))]);
    let before = canaries(&journal);
    assert_eq!(before.len(), 2);
    commit(&store, vec![Op::EraseEvent { event: erased.id.seq, at: Wall(5) }]);
    let after = canaries(&journal);
    assert_eq!(after.len(), 1, "{after:?}");
    drop(store);
    // As if the process had been killed before it could overwrite anything.
    let (file, at) = before.into_iter().find(|place| !after.contains(place)).expect("was there");
    let mut bytes = std::fs::read(&file).expect("reads");
    bytes[at..at + CANARY.len()].copy_from_slice(CANARY);
    std::fs::write(&file, bytes).expect("writes");
    assert_eq!(canaries(&journal).len(), 2);
    let store = scratch.open();
    assert_eq!(canaries(&journal), after);
    let found = store.event(erased.id.seq).expect("reads").expect("is listed");
    assert!(found.erased_at.is_some() && found.data != kept.data);
    assert_eq!(store.event(kept.id.seq).expect("reads"), Some(kept));
}
