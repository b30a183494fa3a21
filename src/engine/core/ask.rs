//! Questions to the engine: figures, targets, and where a delivery stands.
//!
//! Owns which questions there are and how they are answered. Must never change anything: whoever
//! asks finds the engine as it is and leaves it so.

use tokio::sync::oneshot;

use super::{Core, answer};
use crate::logic::dispatcher::standing::Standing;
use crate::logic::dispatcher::{Figures, TargetFigures};
use crate::model::delivery::Pending;
use crate::model::target::Origin;
use crate::model::time::{Now, Wall};

/// A question, and who asks it. Whoever asked may have gone when it is answered.
#[derive(Debug)]
pub enum Question {
    /// Figures about the queue.
    Figures(oneshot::Sender<Figures>),
    /// Figures about these targets, one for each, in order.
    Targets(Vec<Origin>, oneshot::Sender<Vec<TargetFigures>>),
    /// Where a delivery stands that waits, and what the engine's clock shows.
    Standing(Box<Pending>, oneshot::Sender<(Standing, Wall)>),
}

impl Core {
    pub(super) fn ask(&self, now: Now, question: Question) {
        match question {
            Question::Figures(reply) => {
                let mut figures = self.dispatcher.figures();
                figures.oldest_ready = self.dispatcher.oldest_ready(now);
                answer(reply, figures);
            }
            Question::Targets(origins, reply) => {
                let figures = |origin| self.dispatcher.target_figures(now, origin);
                answer(reply, origins.iter().map(figures).collect());
            }
            Question::Standing(row, reply) => {
                answer(reply, (self.dispatcher.standing(now, &row), now.wall));
            }
        }
    }
}
