//! Jobs and the single actions they repeat: what becomes of a delivery that was looked at.
//!
//! Owns which deliveries a selection means, and the row that a delivery which ended is taken back
//! as. Must never look anything up: what was read, and what has to be known beside it, are
//! arguments.

use crate::logic::catalog::Catalog;
use crate::logic::retry::WINDOW_MS;
use crate::model::attempt::Outcome;
use crate::model::delivery::{Delivery, Finished, Pending, QueueKey, Status};
use crate::model::event::{EventName, Kind, Source};
use crate::model::ids::{EventId, ProjectId, Seq, WebhookId};
use crate::model::job::{Job, JobKind, Only, Selection};
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

/// What has to be known of an event beside its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Its id.
    pub id: EventId,
    /// Whose it is.
    pub project: ProjectId,
    /// What happened.
    pub kind: Kind,
    /// Its name.
    pub name: EventName,
    /// Where it came in.
    pub source: Source,
    /// When it was accepted.
    pub accepted: Wall,
    /// Whether its payload was erased.
    pub is_erased: bool,
}

/// What was found of one delivery, or of one event for one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The delivery, if there is one.
    pub delivery: Option<Delivery>,
    /// Its event, if that was read and is kept.
    pub event: Option<EventHead>,
    /// What its last attempt came to, if there was one and it was read.
    pub outcome: Option<Outcome>,
}

/// What has to be known beside what was read.
pub struct View<'a> {
    /// Projects and webhooks.
    pub catalog: &'a Catalog,
    /// Now.
    pub now: Wall,
    /// Whether a webhook is about to stop taking events.
    pub stops: &'a dyn Fn(WebhookId) -> bool,
    /// Whether an attempt of a delivery is under way.
    pub is_under_way: &'a dyn Fn(WebhookId, Seq) -> bool,
    /// Whether a webhook subscribes to an event.
    pub subscribes: &'a dyn Fn(&Webhook, &EventHead) -> bool,
}

/// What becomes of what was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not selected.
    Passed,
    /// It is selected, and nothing can be done.
    Skipped(Obstacle),
    /// It is taken back into its queue, so.
    Requeue(Pending),
    /// It is to wait no more.
    Cancel(Pending),
    /// It becomes a delivery of this webhook.
    Enqueue(WebhookId),
}

/// Why a delivery can't be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its webhook does not send: its state, or that it is gone.
    NotSending(&'static str),
    /// Its event is not kept any more.
    EventGone,
    /// Its event's payload was erased.
    Erased,
    /// It was cancelled while an attempt was made, which is still under way.
    UnderWay,
}

/// Where deliveries stand that a job is about; it looks at no others.
#[must_use]
pub fn statuses(kind: JobKind, selection: &Selection) -> Vec<Status> {
    match kind {
        JobKind::Cancel => vec![Status::Pending],
        JobKind::Resend => {
            selection.status.map_or(vec![Status::Failed, Status::Cancelled], |status| vec![status])
        }
        JobKind::Recover(Only::Failed) => vec![Status::Failed, Status::Cancelled],
        JobKind::Recover(Only::Missing) => Vec::new(),
        JobKind::Recover(Only::All) => vec![Status::Failed, Status::Cancelled, Status::Delivered],
    }
}

/// What becomes of one delivery, or of an event that has none.
#[must_use]
pub fn judge(job: &Job, seen: &Seen, view: &View<'_>) -> Verdict {
    match &seen.delivery {
        Some(delivery) if !selects(job, delivery, seen, view) => Verdict::Passed,
        Some(Delivery::Pending(row)) => Verdict::Cancel(*row),
        Some(Delivery::Finished(end)) => match again(end, seen.event.as_ref(), view) {
            Ok(row) => Verdict::Requeue(row),
            Err(obstacle) => Verdict::Skipped(obstacle),
        },
        None => missing(job, seen, view),
    }
}

/// The row as which a delivery that ended is taken back: the same number, so the same id; its
/// attempts are counted on, and it has its 72 hours again.
pub fn again(
    end: &Finished,
    event: Option<&EventHead>,
    view: &View<'_>,
) -> Result<Pending, Obstacle> {
    let webhook = sending(end.webhook, view)?;
    check_event(event)?;
    if (view.is_under_way)(end.webhook, end.seq) {
        return Err(Obstacle::UnderWay);
    }
    Ok(Pending {
        key: QueueKey { webhook: end.webhook, due: view.now, seq: end.seq },
        project: end.project,
        event: end.event,
        accepted: end.accepted,
        attempts: end.attempts,
        slot: 0,
        first_attempt: None,
        deadline: view.now.plus(WINDOW_MS),
        paused_base_ms: view.catalog.paused_ms(webhook, view.now),
    })
}

/// The row of a delivery that its event did not become when it was accepted.
#[must_use]
pub fn late(event: &EventHead, webhook: &Webhook, seq: Seq, view: &View<'_>) -> Pending {
    Pending {
        key: QueueKey { webhook: webhook.id, due: view.now, seq },
        project: event.project,
        event: event.id.seq,
        accepted: event.accepted,
        attempts: 0,
        slot: 0,
        first_attempt: None,
        deadline: view.now.plus(WINDOW_MS),
        paused_base_ms: view.catalog.paused_ms(webhook, view.now),
    }
}

/// The webhook, if it takes deliveries: it is active, or paused for a while.
pub fn sending<'a>(id: WebhookId, view: &View<'a>) -> Result<&'a Webhook, Obstacle> {
    let Some(webhook) = view.catalog.webhook(id) else {
        return Err(Obstacle::NotSending("deleted"));
    };
    if !webhook.is_active() || (view.stops)(id) {
        let state = if webhook.is_active() { "inactive" } else { webhook.state.as_str() };
        return Err(Obstacle::NotSending(state));
    }
    Ok(webhook)
}

/// Whether an event can still be delivered.
pub fn check_event(event: Option<&EventHead>) -> Result<&EventHead, Obstacle> {
    let event = event.ok_or(Obstacle::EventGone)?;
    if event.is_erased { Err(Obstacle::Erased) } else { Ok(event) }
}

/// Whether whoever subscribes to an event gets it: tests and `/send/` are for one webhook each.
#[must_use]
pub fn is_published(event: &EventHead) -> bool {
    !matches!(event.source, Source::Test | Source::Send)
}

fn selects(job: &Job, delivery: &Delivery, seen: &Seen, view: &View<'_>) -> bool {
    let Selection { webhook, event, target, code, .. } = &job.selection;
    let webhook_of = || view.catalog.webhook(delivery.webhook());
    delivery.project() == job.project
        && statuses(job.kind, &job.selection).contains(&delivery.status())
        && (delivery.status() == Status::Pending) == (job.kind == JobKind::Cancel)
        && webhook.is_none_or(|id| id == delivery.webhook())
        && code.is_none_or(|code| seen.outcome.is_some_and(|outcome| code.is_of(outcome)))
        && event.as_ref().is_none_or(|name| seen.event.as_ref().is_some_and(|e| e.name == *name))
        && target.as_ref().is_none_or(|origin| {
            webhook_of().is_some_and(|webhook| webhook.target_url.origin() == origin)
        })
}

fn missing(job: &Job, seen: &Seen, view: &View<'_>) -> Verdict {
    let JobKind::Recover(Only::Missing | Only::All) = job.kind else { return Verdict::Passed };
    let (Some(event), Some(id)) = (&seen.event, job.selection.webhook) else {
        return Verdict::Passed;
    };
    let webhook = match sending(id, view) {
        Ok(webhook) => webhook,
        Err(obstacle) => return Verdict::Skipped(obstacle),
    };
    if event.project != job.project || !is_published(event) || !(view.subscribes)(webhook, event) {
        return Verdict::Passed;
    }
    if event.is_erased {
        return Verdict::Skipped(Obstacle::Erased);
    }
    Verdict::Enqueue(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::catalog::tests::webhook;
    use crate::model::attempt::LastCode;
    use crate::model::delivery::{CancelledReason, Ending, FailedReason};
    use crate::model::job::{Asker, JobId};
    use crate::model::target::Origin;

    const NOW: Wall = Wall(50_000);

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.put_webhook(webhook(1, 1, "file.uploaded", "http://a.example/"));
        catalog
    }

    fn event() -> EventHead {
        EventHead {
            id: EventId { seq: Seq(7), salt: 1 },
            project: ProjectId::new(1).expect("an id"),
            kind: Kind::FileUploaded,
            name: EventName::parse("file.uploaded").expect("a name"),
            source: Source::Native,
            accepted: Wall(3),
            is_erased: false,
        }
    }

    fn ended(ending: Ending) -> Seen {
        let id = WebhookId::new(1).expect("an id");
        let end = Finished {
            seq: Seq(8),
            event: Seq(7),
            webhook: id,
            project: ProjectId::new(1).expect("an id"),
            attempts: 4,
            accepted: Wall(3),
            finished: Wall(9),
            ending,
        };
        Seen {
            delivery: Some(Delivery::Finished(end)),
            event: Some(event()),
            outcome: Some(Outcome::Status(500)),
        }
    }

    fn job(kind: JobKind, selection: Selection) -> Job {
        let id = JobId { seq: Seq(1), salt: 1 };
        let project = ProjectId::new(1).expect("an id");
        Job::new(id, project, (kind, selection), Asker::Project, Seq(9), NOW)
    }

    fn verdict(job: &Job, seen: &Seen, subscribes: bool, under_way: bool) -> Verdict {
        let catalog = catalog();
        judge(
            job,
            seen,
            &View {
                catalog: &catalog,
                now: NOW,
                stops: &|_| false,
                is_under_way: &|_, _| under_way,
                subscribes: &|_, _| subscribes,
            },
        )
    }

    const FAILED: Ending = Ending::Failed(FailedReason::Expired);
    const CANCELLED: Ending = Ending::Cancelled(CancelledReason::Requested);

    #[test]
    fn what_failed_is_sent_again_with_its_attempts_and_a_window_of_its_own() {
        let job = job(JobKind::Resend, Selection::default());
        for ending in [FAILED, CANCELLED] {
            let Verdict::Requeue(row) = verdict(&job, &ended(ending), true, false) else {
                panic!("not requeued");
            };
            assert_eq!((row.attempts, row.slot, row.first_attempt), (4, 0, None));
            assert_eq!((row.key.due, row.deadline), (NOW, NOW.plus(WINDOW_MS)));
        }
        assert_eq!(verdict(&job, &ended(Ending::Delivered), true, false), Verdict::Passed);
        let skipped = verdict(&job, &ended(CANCELLED), true, true);
        assert_eq!(skipped, Verdict::Skipped(Obstacle::UnderWay));
    }

    #[test]
    fn each_filter_leaves_out_what_it_is_not_about() {
        let origin = |text: &str| Origin::parse(text).ok();
        let name = EventName::parse;
        let none = Selection::default;
        for (selection, matches) in [
            (none(), true),
            (Selection { webhook: WebhookId::new(1), ..none() }, true),
            (Selection { webhook: WebhookId::new(2), ..none() }, false),
            (Selection { event: name("file.uploaded"), ..none() }, true),
            (Selection { event: name("file.stored"), ..none() }, false),
            (Selection { code: LastCode::parse("500"), ..none() }, true),
            (Selection { code: LastCode::parse("5xx"), ..none() }, true),
            (Selection { code: LastCode::parse("501"), ..none() }, false),
            (Selection { code: LastCode::parse("none"), ..none() }, false),
            (Selection { target: origin("http://a.example"), ..none() }, true),
            (Selection { target: origin("http://b.example"), ..none() }, false),
            (Selection { status: Some(Status::Failed), ..none() }, true),
            (Selection { status: Some(Status::Delivered), ..none() }, false),
        ] {
            let job = job(JobKind::Resend, selection);
            let is_requeued =
                matches!(verdict(&job, &ended(FAILED), true, false), Verdict::Requeue(_));
            assert_eq!(is_requeued, matches, "{:?}", job.selection);
        }
    }

    #[test]
    fn what_can_not_be_delivered_is_skipped() {
        let resend = job(JobKind::Resend, Selection::default());
        let erased = EventHead { is_erased: true, ..event() };
        let of = |event| verdict(&resend, &Seen { event, ..ended(FAILED) }, true, false);
        assert_eq!(of(None), Verdict::Skipped(Obstacle::EventGone));
        assert_eq!(of(Some(erased)), Verdict::Skipped(Obstacle::Erased));
    }

    #[test]
    fn missing_is_what_it_subscribes_to_and_does_not_have() {
        let selection = Selection { webhook: WebhookId::new(1), ..Selection::default() };
        let job = |only| job(JobKind::Recover(only), selection.clone());
        let none = Seen { delivery: None, event: Some(event()), outcome: None };
        let id = WebhookId::new(1).expect("an id");
        for only in [Only::Missing, Only::All] {
            assert_eq!(verdict(&job(only), &none, true, false), Verdict::Enqueue(id));
            assert_eq!(verdict(&job(only), &none, false, false), Verdict::Passed);
        }
        assert_eq!(verdict(&job(Only::Failed), &none, true, false), Verdict::Passed);
        let test = EventHead { source: Source::Test, ..event() };
        let test = Seen { event: Some(test), ..none };
        assert_eq!(verdict(&job(Only::Missing), &test, true, false), Verdict::Passed);
        let delivered = ended(Ending::Delivered);
        assert_eq!(verdict(&job(Only::Missing), &delivered, true, false), Verdict::Passed);
        let all = verdict(&job(Only::All), &delivered, true, false);
        assert!(matches!(all, Verdict::Requeue(_)));
    }
}
