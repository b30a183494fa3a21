//! Deliveries: one event for one webhook, from pending to its end.
//!
//! Owns the record of a pending delivery (a row of its lane's queue) and of a finished one. Must
//! never decide when a delivery is due.

use serde::{Deserialize, Serialize};

use super::ids::{ProjectId, Seq, WebhookId};
use super::time::Wall;

/// The two queues of a lane, in which rows are kept by `(webhook, due, seq)`.
///
/// They are apart because an open breaker holds deliveries that were never attempted, while each
/// attempted one keeps its own retry table: behind a backlog of a million held rows, a retry must
/// still be found at its minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Queue {
    /// Never attempted.
    Fresh,
    /// Attempted at least once.
    Retry,
}

/// A row's place in its queue; the order on disk is the order of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueKey {
    /// The lane.
    pub webhook: WebhookId,
    /// Not before.
    pub due: Wall,
    /// The delivery.
    pub seq: Seq,
}

/// A delivery that waits for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Where it stands in its queue.
    pub key: QueueKey,
    /// Whose it is.
    pub project: ProjectId,
    /// The event to deliver.
    pub event: Seq,
    /// When the event was accepted.
    pub accepted: Wall,
    /// Attempts so far.
    pub attempts: u32,
    /// The slot of the retry table that the next attempt uses up; 0 is the first attempt.
    pub slot: u32,
    /// Start of the first attempt: the origin of the retry table.
    pub first_attempt: Option<Wall>,
    /// No attempt starts later.
    pub deadline: Wall,
    /// The webhook's paused time when `first_attempt` and `deadline` were set.
    pub paused_base_ms: u64,
}

impl Pending {
    /// The queue that it stands in.
    #[must_use]
    pub fn queue(&self) -> Queue {
        if self.attempts == 0 { Queue::Fresh } else { Queue::Retry }
    }
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The target answered 2xx.
    Delivered,
    /// It won't arrive.
    Failed(FailedReason),
    /// It is not wanted any more.
    Cancelled(CancelledReason),
}

/// Why a delivery failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailedReason {
    /// Its 72 hours are over.
    Expired,
    /// Its webhook was disabled (410, or by the operator).
    Disabled,
    /// Its record or its event's was found damaged, and set aside.
    Damaged,
}

/// Why a delivery was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelledReason {
    /// Its webhook was made inactive.
    Inactive,
    /// Its webhook was deleted or unsubscribed, or its project removed.
    Deleted,
    /// Its event's payload was erased.
    Erased,
    /// Somebody asked for it.
    Requested,
}

/// A delivery that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The delivery.
    pub seq: Seq,
    /// Its event.
    pub event: Seq,
    /// Its webhook.
    pub webhook: WebhookId,
    /// Whose it is.
    pub project: ProjectId,
    /// Attempts made.
    pub attempts: u32,
    /// When the event was accepted.
    pub accepted: Wall,
    /// When it ended.
    pub finished: Wall,
    /// How.
    pub ending: Ending,
}

impl Ending {
    /// The status and its reason, as the API and the log name them.
    #[must_use]
    pub fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            Ending::Delivered => ("delivered", None),
            Ending::Failed(FailedReason::Expired) => ("failed", Some("expired")),
            Ending::Failed(FailedReason::Disabled) => ("failed", Some("disabled")),
            Ending::Failed(FailedReason::Damaged) => ("failed", Some("damaged")),
            Ending::Cancelled(CancelledReason::Inactive) => ("cancelled", Some("inactive")),
            Ending::Cancelled(CancelledReason::Deleted) => ("cancelled", Some("deleted")),
            Ending::Cancelled(CancelledReason::Erased) => ("cancelled", Some("erased")),
            Ending::Cancelled(CancelledReason::Requested) => ("cancelled", Some("requested")),
        }
    }
}

/// Where a delivery stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It waits for an attempt, or one is under way.
    Pending,
    /// The target answered 2xx.
    Delivered,
    /// It won't arrive.
    Failed,
    /// It is not wanted any more.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] =
        [Status::Pending, Status::Delivered, Status::Failed, Status::Cancelled];

    /// The word for it in the API, the log and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Delivered => "delivered",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }

    /// The status of this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

impl Ending {
    /// The status that it means.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Ending::Delivered => Status::Delivered,
            Ending::Failed(_) => Status::Failed,
            Ending::Cancelled(_) => Status::Cancelled,
        }
    }
}

/// A delivery as it is found: it waits, or it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It waits.
    Pending(Pending),
    /// It ended.
    Finished(Finished),
}

impl Delivery {
    /// Its number.
    #[must_use]
    pub fn seq(&self) -> Seq {
        match self {
            Delivery::Pending(row) => row.key.seq,
            Delivery::Finished(end) => end.seq,
        }
    }

    /// Its event.
    #[must_use]
    pub fn event(&self) -> Seq {
        match self {
            Delivery::Pending(row) => row.event,
            Delivery::Finished(end) => end.event,
        }
    }

    /// Its webhook.
    #[must_use]
    pub fn webhook(&self) -> WebhookId {
        match self {
            Delivery::Pending(row) => row.key.webhook,
            Delivery::Finished(end) => end.webhook,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn project(&self) -> ProjectId {
        match self {
            Delivery::Pending(row) => row.project,
            Delivery::Finished(end) => end.project,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Delivery::Pending(_) => Status::Pending,
            Delivery::Finished(end) => end.ending.status(),
        }
    }

    /// Attempts made.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        match self {
            Delivery::Pending(row) => row.attempts,
            Delivery::Finished(end) => end.attempts,
        }
    }
}

impl Pending {
    /// How this row ends.
    #[must_use]
    pub fn finished(&self, ending: Ending, at: Wall) -> Finished {
        Finished {
            seq: self.key.seq,
            event: self.event,
            webhook: self.key.webhook,
            project: self.project,
            attempts: self.attempts,
            accepted: self.accepted,
            finished: at,
            ending,
        }
    }
}
