//! A trial of a job: what it would do, with nothing written.
//!
//! Owns the counting. Must never decide otherwise than the job would: both ask `logic::jobs`.

use std::sync::{PoisonError, RwLock};

use super::core::STEP_ROWS_MAX;
use super::look::Look;
use crate::dialect;
use crate::logic::catalog::Catalog;
use crate::logic::jobs::{self, Verdict, View};
use crate::model::ids::{ProjectId, Seq};
use crate::model::job::{Asker, Job, JobId, JobKind, Selection};
use crate::model::time::Wall;
use crate::store::{ReadError, Store};

/// What a job would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// What is selected.
    pub matched: u64,
    /// What can't be done, of that.
    pub skipped: u64,
    /// Whether all was looked at; what lies behind the rows that were, was not.
    pub is_complete: bool,
}

impl Trial {
    pub(super) fn of(
        store: &dyn Store,
        catalog: &RwLock<Catalog>,
        project: ProjectId,
        what: (JobKind, Selection),
        now: Wall,
        rows_max: usize,
    ) -> Result<Trial, ReadError> {
        let id = JobId { seq: Seq(0), salt: 0 };
        let mut job = Job::new(id, project, what, Asker::Project, Seq(u64::MAX), now);
        let mut trial = Trial::default();
        for _ in 0..rows_max.div_ceil(STEP_ROWS_MAX) {
            let found = Look::of_job(&job, STEP_ROWS_MAX).read(store)?;
            let catalog = catalog.read().unwrap_or_else(PoisonError::into_inner);
            let view = View {
                catalog: &catalog,
                now,
                stops: &|_| false,
                is_under_way: &|_, _| false,
                subscribes: &|webhook, event| dialect::subscribes(webhook, event.kind, &event.name),
            };
            for seen in &found.seen {
                match jobs::judge(&job, seen, &view) {
                    Verdict::Passed => {}
                    Verdict::Skipped(_) => {
                        (trial.matched, trial.skipped) = (trial.matched + 1, trial.skipped + 1)
                    }
                    _ => trial.matched += 1,
                }
            }
            match found.next {
                Some(next) if next <= job.to => job.next = next,
                _ => return Ok(Trial { is_complete: true, ..trial }),
            }
        }
        Ok(trial)
    }
}
