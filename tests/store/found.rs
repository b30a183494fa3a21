//! What is found by project, webhook, status and number.
//!
//! Owns what the contract suite observes of it, and the proof that redb's index holds what there
//! is and nothing else: a row too many is never shown, so that only the table itself can tell.

use std::collections::BTreeSet;
use std::fmt::Debug;

use postrider::model::delivery::Status;
use postrider::store::query::{DeliveryQuery, EventQuery, Order, Scope};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::*;
use postrider::store::Records;

const IDS: std::ops::Range<u32> = 1..4;

fn scopes() -> impl Iterator<Item = Scope> {
    IDS.flat_map(|id| {
        let project = ProjectId::new(id).expect("an id");
        [Scope::Project(project), Scope::Webhook(WebhookId::new(id).expect("an id"))]
    })
}

/// What the questions about deliveries and events find, page by page.
pub fn observe(store: &dyn Store, history: &History, say: &mut dyn FnMut(&str, &dyn Debug)) {
    let statuses = [None, Some(Status::Pending), Some(Status::Delivered), Some(Status::Cancelled)];
    for scope in scopes() {
        for status in statuses {
            for order in [Order::NewestFirst, Order::OldestFirst] {
                let (mut from, mut to) = (Seq(0), Seq(u64::MAX));
                loop {
                    let query = DeliveryQuery { scope, status, from, to, order, rows_max: 3 };
                    let found = store.deliveries(&query).expect("reads");
                    say("deliveries", &found);
                    let Some(last) = found.last().map(|row| row.seq().0) else { break };
                    match order {
                        Order::NewestFirst => to = Seq(last - 1),
                        Order::OldestFirst => from = Seq(last + 1),
                    }
                }
            }
        }
        let Scope::Project(project) = scope else { continue };
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let (from, to) = (Seq(2), Seq(u64::MAX));
            let query = EventQuery { project, from, to, order, rows_max: 5 };
            say("events", &store.events(&query).expect("reads"));
        }
    }
    for seq in &history.events {
        say("deliveries of", &store.deliveries_of(*seq, 4).expect("reads"));
        for id in IDS {
            let webhook = WebhookId::new(id).expect("an id");
            say("delivery of", &store.delivery_of(*seq, webhook).expect("reads"));
        }
    }
    for row in &history.rows {
        say("delivery", &store.delivery(row.key.seq).expect("reads"));
    }
}

type IndexRow = (u8, u32, u8, u64);

/// The rows that the index should have, and those that it has once all is in redb.
pub fn index(stepped: &mut Stepped) -> (BTreeSet<IndexRow>, BTreeSet<IndexRow>) {
    let store = stepped.store();
    let mut want = BTreeSet::new();
    for scope in scopes() {
        let (from, to, order) = (Seq(0), Seq(u64::MAX), Order::OldestFirst);
        let rows_max = usize::MAX;
        let query = DeliveryQuery { scope, status: None, from, to, order, rows_max };
        for delivery in store.deliveries(&query).expect("reads") {
            let class = match delivery.status() {
                Status::Pending => 0,
                Status::Delivered => 1,
                Status::Failed => 2,
                Status::Cancelled => 3,
            };
            want.insert((0, delivery.project().get(), class, delivery.seq().0));
            want.insert((1, delivery.webhook().get(), class, delivery.seq().0));
        }
        if let Scope::Project(project) = scope {
            let query = EventQuery { project, from, to, order, rows_max };
            let events = store.events(&query).expect("reads");
            want.extend(events.into_iter().map(|seq| (0, project.get(), 4, seq.0)));
        }
    }
    store.checkpoint().expect("writes");
    store.checkpoint().expect("writes");
    let backend = stepped.close();
    let db = redb::Database::builder().create_with_backend(backend).expect("opens");
    let view = db.begin_read().expect("reads");
    let table: TableDefinition<IndexRow, ()> = TableDefinition::new("by_status");
    let table = view.open_table(table).expect("is there");
    let rows = table.iter().expect("reads").map(|entry| entry.expect("reads").0.value());
    (want, rows.collect())
}
