//! What can be asked of a store about deliveries and events, beside the queues.
//!
//! Owns the questions. Must never name an index: every store answers them as it can, and what they
//! cost is bounded by the rows that are asked for.

use std::ops::RangeInclusive;

use crate::model::delivery::{Delivery, Status};
use crate::model::ids::{ProjectId, Seq, WebhookId};

/// Whose deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A project's.
    Project(ProjectId),
    /// A webhook's.
    Webhook(WebhookId),
}

impl Scope {
    /// Whether a delivery is in it.
    #[must_use]
    pub fn holds(self, delivery: &Delivery) -> bool {
        match self {
            Scope::Project(project) => delivery.project() == project,
            Scope::Webhook(webhook) => delivery.webhook() == webhook,
        }
    }
}

/// In which order; numbers rise with the time of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The highest number first.
    NewestFirst,
    /// The lowest number first.
    OldestFirst,
}

/// Deliveries that are wanted. A page is followed by asking for what lies behind its last number:
/// rows that come or go meanwhile repeat nothing and hide nothing.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryQuery {
    /// Whose.
    pub scope: Scope,
    /// Only these.
    pub status: Option<Status>,
    /// The least number.
    pub from: Seq,
    /// The greatest number.
    pub to: Seq,
    /// In which order.
    pub order: Order,
    /// At most this many.
    pub rows_max: usize,
}

/// Events that are wanted, by their number.
#[derive(Clone, Copy, Debug)]
pub struct EventQuery {
    /// Whose.
    pub project: ProjectId,
    /// The least number.
    pub from: Seq,
    /// The greatest number.
    pub to: Seq,
    /// In which order.
    pub order: Order,
    /// At most this many.
    pub rows_max: usize,
}

impl DeliveryQuery {
    /// Its numbers.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<u64> {
        self.from.0..=self.to.0
    }
}

impl EventQuery {
    /// Its numbers.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<u64> {
        self.from.0..=self.to.0
    }
}
