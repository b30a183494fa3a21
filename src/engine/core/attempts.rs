//! Attempts that ended: what the dispatcher, the log and whoever asked for one are told.
//!
//! Owns what of an attempt goes into its record. Must never judge it: that is the dispatcher's.

use super::{AttemptEnd, Core, answer};
use crate::engine::command::{Answer, CommandError, Tested};
use crate::logic::dispatcher::{Ended, Input};
use crate::logic::log::{self, kept};
use crate::logic::verdict::{self, judge};
use crate::model::attempt::{Attempt, Outcome, RequestMark};
use crate::model::time::{Now, Wall};

impl Core {
    pub(super) fn ended(&mut self, now: Now, wall: Wall, mut end: AttemptEnd) {
        // A date is the target's: it is compared with the wall clock.
        let text = end.response.retry_after.as_deref();
        let retry_after = text
            .and_then(|text| verdict::retry_after(text, wall))
            .map(|at| now.wall.plus(at.since(wall)));
        if end.row.attempts == 0 {
            self.cache.attempted(end.row.event);
        }
        self.answer_test(&end);
        let response = match end.response.outcome {
            Outcome::Status(_) => {
                let answer = log::Answer {
                    headers: std::mem::take(&mut end.response.headers),
                    body: std::mem::take(&mut end.response.body),
                    body_truncated: end.response.body_truncated,
                };
                Some(Box::new(kept(answer, self.settings.log)))
            }
            Outcome::Failure(_) => None,
        };
        let ended = Ended {
            row: end.row,
            probe: end.probe,
            started: end.started,
            outcome: end.response.outcome,
            retry_after,
            address: end.response.address,
            phases: end.response.phases,
            is_notice: end.is_notice,
            revision: end.revision,
            request: self.request_mark(&end),
            response,
        };
        self.counters.attempt(ended.outcome, ended.phases);
        self.note_outcome(now, &ended);
        self.dispatch(now, Input::Ended(ended));
    }

    /// Tells whoever waits for the attempt of a test event.
    fn answer_test(&mut self, end: &AttemptEnd) {
        let Some(reply) = self.tests.remove(&end.row.key.seq) else { return };
        let tested = end.delivery.map(|delivery| {
            let attempt = Attempt {
                number: end.row.attempts + 1,
                started: end.started,
                revision: end.revision,
                request: self.request_mark(end),
                address: end.response.address,
                phases: end.response.phases,
                outcome: end.response.outcome,
                verdict: judge(end.response.outcome),
                next_due: None,
                next_why: None,
                response: None,
            };
            Answer::Tested(Box::new(Tested { delivery, attempt, body: end.response.body.clone() }))
        });
        answer(reply, tested.ok_or(CommandError::NotFound));
    }

    fn request_mark(&self, end: &AttemptEnd) -> Option<RequestMark> {
        let user_agent = || std::sync::Arc::clone(&self.user_agent);
        end.request_crc.map(|crc| RequestMark { user_agent: user_agent(), crc })
    }
}
