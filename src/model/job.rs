//! Jobs: changes of many deliveries that go on step by step, whatever happens between two steps.
//!
//! Owns the record of a job: what it selects, how far it is and what it has done. Must never
//! select what came after its start: `to` is the last number that was given out then.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attempt::LastCode;
use super::delivery::Status;
use super::event::EventName;
use super::ids::{ProjectId, Seq, WebhookId, read_id, write_id};
use super::target::Origin;
use super::time::Wall;

/// Most jobs of one project that run at once; each gets its turns.
pub const JOBS_RUNNING_PER_PROJECT_MAX: usize = 8;
/// Most jobs of one project that are remembered; of those that ended, the oldest go first.
pub const JOBS_KEPT_PER_PROJECT_MAX: usize = 100;

/// A job's public id, `job_` and 26 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId {
    /// Its place in the order of all that was given a number.
    pub seq: Seq,
    /// 64 random bits.
    pub salt: u64,
}

impl JobId {
    /// Reads `job_…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<JobId> {
        let (seq, salt) = read_id(text.strip_prefix("job_")?)?;
        Some(JobId { seq: Seq(seq), salt })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, "job_", self.seq.0, self.salt)
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobKind {
    /// Sends deliveries again that ended.
    Resend,
    /// Cancels deliveries that wait.
    Cancel,
    /// Brings a webhook what it did not get.
    Recover(Only),
}

/// What of a webhook is recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Only {
    /// Deliveries that failed or were cancelled.
    Failed,
    /// Events that it subscribes to and has no delivery of.
    Missing,
    /// Both, and what was delivered too.
    All,
}

impl JobKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Resend => "resend",
            JobKind::Cancel => "cancel",
            JobKind::Recover(_) => "recover",
        }
    }

    /// Whether it looks at events, and at their deliveries by them.
    #[must_use]
    pub fn walks_events(self) -> bool {
        matches!(self, JobKind::Recover(Only::Missing | Only::All))
    }
}

impl Only {
    /// All of them.
    pub const ALL: [Only; 3] = [Only::Failed, Only::Missing, Only::All];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Only::Failed => "failed",
            Only::Missing => "missing",
            Only::All => "all",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Only> {
        Only::ALL.into_iter().find(|only| only.as_str() == word)
    }
}

/// Which deliveries a job is about. What is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Those that stand there.
    pub status: Option<Status>,
    /// Those of this webhook.
    pub webhook: Option<WebhookId>,
    /// Those of events of this name.
    pub event: Option<EventName>,
    /// Those whose webhook points there.
    pub target: Option<Origin>,
    /// Those whose last attempt came to that.
    pub code: Option<LastCode>,
    /// Those accepted then or later.
    pub since: Option<Wall>,
    /// Those accepted before then.
    pub until: Option<Wall>,
}

/// Whether a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// It does.
    Running,
    /// It has looked at all that it selects.
    Done,
    /// Somebody stopped it where it was.
    Cancelled,
    /// Its webhook is gone.
    Failed,
}

impl JobState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Cancelled => "cancelled",
            JobState::Failed => "failed",
        }
    }
}

/// Who asked for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asker {
    /// Whoever has a key of the project.
    Project,
    /// The operator, on the project's part.
    Operator,
}

impl Asker {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Asker::Project => "project",
            Asker::Operator => "operator",
        }
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub project: ProjectId,
    /// What it does.
    pub kind: JobKind,
    /// To which.
    pub selection: Selection,
    /// Whether it goes on.
    pub state: JobState,
    /// The number that it goes on at: of a delivery, or of an event if it walks those.
    pub next: Seq,
    /// The last number that it looks at.
    pub to: Seq,
    /// What it found that is selected.
    pub matched: u64,
    /// Of those, what it did it to.
    pub done: u64,
    /// Of those, what it could not be done to.
    pub skipped: u64,
    /// Who asked for it.
    pub who: Asker,
    /// When it was made.
    pub created: Wall,
    /// When it made its last step.
    pub updated: Wall,
    /// When it ended.
    pub finished: Option<Wall>,
}

impl Job {
    /// A new one, about what has a number up to `last`.
    #[must_use]
    pub fn new(
        id: JobId,
        project: ProjectId,
        (kind, selection): (JobKind, Selection),
        who: Asker,
        last: Seq,
        now: Wall,
    ) -> Job {
        let next = selection.since.map_or(Seq(0), Seq::at);
        let before = selection.until.map(|until| Seq(Seq::at(until).0.saturating_sub(1)));
        Job {
            id,
            project,
            kind,
            selection,
            state: JobState::Running,
            next,
            to: before.map_or(last, |before| before.min(last)),
            matched: 0,
            done: 0,
            skipped: 0,
            who,
            created: now,
            updated: now,
            finished: None,
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// Ends it.
    pub fn end(&mut self, state: JobState, now: Wall) {
        self.state = state;
        self.updated = now;
        self.finished = Some(now);
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let event = self.selection.event.as_ref().map_or(0, |event| event.as_str().len());
        event + self.selection.target.as_ref().map_or(0, |target| target.to_string().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_words() {
        let id = JobId { seq: Seq(5), salt: 6 };
        assert_eq!(JobId::parse(&id.to_string()), Some(id));
        assert_eq!(JobId::parse("job_"), None);
        assert_eq!(JobId::parse("evt_00000000000000000000000000"), None);
        assert_eq!(Only::parse("missing"), Some(Only::Missing));
        assert_eq!(Only::parse("some"), None);
    }

    #[test]
    fn a_selection_in_time_is_one_of_numbers() {
        let id = JobId { seq: Seq(5), salt: 6 };
        let project = ProjectId::new(1).expect("an id");
        let of = |since, until, last| {
            let selection = Selection { since, until, ..Selection::default() };
            let job =
                Job::new(id, project, (JobKind::Resend, selection), Asker::Project, last, Wall(9));
            (job.next, job.to)
        };
        assert_eq!(of(None, None, Seq(7)), (Seq(0), Seq(7)));
        let last = Seq::at(Wall(90));
        let within = (Seq::at(Wall(10)), Seq(Seq::at(Wall(20)).0 - 1));
        assert_eq!(of(Some(Wall(10)), Some(Wall(20)), last), within);
        assert_eq!(of(None, Some(Wall(100)), last), (Seq(0), last));
    }
}
