//! What can be done to deliveries: one by one, and as jobs.
//!
//! Owns what is asked for, what is answered, and why not. Must never write.

use std::sync::Arc;

use thiserror::Error;

use crate::logic::jobs::Obstacle;
use crate::model::delivery::Delivery;
use crate::model::ids::{DeliveryId, EventId, WebhookId};
use crate::model::job::{Asker, JOBS_RUNNING_PER_PROJECT_MAX, Job, JobId, JobKind, Selection};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends a delivery again that ended.
    Resend(DeliveryId),
    /// Cancels a delivery that waits.
    Cancel(DeliveryId),
    /// Sends an event to all who subscribe to it now, or to one webhook.
    Replay(EventId, Option<WebhookId>),
    /// Begins a job.
    Begin {
        /// What it does, and to which.
        what: (JobKind, Selection),
        /// Who asks.
        who: Asker,
    },
    /// Stops a job where it is.
    Stop(JobId),
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Acted {
    /// The delivery as it is now.
    Delivery(DeliveryId, Delivery),
    /// What became of an event.
    Replayed(Replayed),
    /// The job as it is now.
    Job(Arc<Job>),
}

/// What a replay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries that are sent again.
    pub resent: u64,
    /// Deliveries that there had been none of.
    pub created: u64,
    /// Deliveries that wait as they did.
    pub waiting: u64,
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ActError {
    /// It waits already.
    #[error("the delivery is pending: it is sent when its turn comes")]
    Pending,
    /// It ended so, and can't be cancelled.
    #[error("the delivery is {0}: it does not wait")]
    Ended(&'static str),
    /// It was cancelled while an attempt was made.
    #[error("an attempt is still under way; ask again when it has ended")]
    UnderWay,
    /// Its event is not kept any more.
    #[error("the event is not kept any more")]
    EventGone,
    /// Its event's payload was erased.
    #[error("the event's payload was erased")]
    Erased,
    /// The webhook does not subscribe to the event.
    #[error("the webhook does not subscribe to this event")]
    NotSubscribed,
    /// The event would become too many deliveries at once.
    #[error("the event has more than {0} deliveries; recover webhook by webhook")]
    TooManyDeliveries(usize),
    /// Too many jobs run.
    #[error("{JOBS_RUNNING_PER_PROJECT_MAX} jobs of the project are running; cancel one or wait")]
    TooManyJobs,
    /// The job has ended.
    #[error("the job is {0}")]
    JobEnded(&'static str),
    /// Too much is asked for at once.
    #[error("too many deliveries are asked for one by one; use a filter")]
    Busy,
    /// The webhook does not send.
    #[error("the webhook is {0}: nothing is sent")]
    NotSending(&'static str),
}

impl From<Obstacle> for ActError {
    fn from(obstacle: Obstacle) -> ActError {
        match obstacle {
            Obstacle::NotSending(state) => ActError::NotSending(state),
            Obstacle::EventGone => ActError::EventGone,
            Obstacle::Erased => ActError::Erased,
            Obstacle::UnderWay => ActError::UnderWay,
        }
    }
}
