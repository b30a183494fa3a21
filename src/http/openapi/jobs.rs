//! Deliveries again, or no more, and the jobs that do it to many.
//!
//! Owns their paths and schemas. Must never describe how a delivery is shown: that is
//! `deliveries`.

use serde_json::{Value, json};

use super::manage::Part;
use super::operation::{Operation, Path, json_content};
use super::schemas::{self, Schemas, in_path, object, object_with, or_null, reference, request};
use crate::model::delivery::Status;
use crate::model::job::{Asker, JobKind, JobState, Only};

const TAG: &str = "deliveries";
const STATES: [JobState; 4] =
    [JobState::Running, JobState::Done, JobState::Cancelled, JobState::Failed];
const KINDS: [JobKind; 3] = [JobKind::Resend, JobKind::Cancel, JobKind::Recover(Only::Failed)];
const ASKERS: [Asker; 2] = [Asker::Project, Asker::Operator];

/// The paths of a part.
pub(super) fn paths(part: Part) -> Vec<Path> {
    let event = in_path("event", "The event's id.", schemas::crockford("evt_"));
    let webhook = in_path("id", "The webhook's id.", schemas::integer_id());
    let delivery = in_path("delivery", "The delivery's id.", schemas::crockford("dlv_"));
    let job = in_path("job", "The job's id.", schemas::crockford("job_"));
    let one = |action: &str, id: &str, summary: &str, refusals: &[u16]| {
        let path = format!("/deliveries/{{delivery}}/{action}/");
        let operation = part.operation(id, summary);
        let content = json_content("DeliveryNow");
        let operation = operation.answers(200, "The delivery as it is now.", &content);
        part.path(&path, TAG, [delivery.clone()]).on("post", operation.refuses(refusals))
    };
    let replay = part
        .operation("replayEvent", "Send an event to all who subscribe now, or to one of them")
        .takes_fields(false, "Replay")
        .answers(200, "What became of it.", &json_content("Replayed"))
        .refuses(&[404, 409, 410, 503]);
    let list = part
        .operation("listJobs", "Jobs, newest first")
        .answers(200, "All that are remembered.", &json_content("Jobs"))
        .refuses(&[503]);
    let show = part
        .operation("getJob", "How far a job is")
        .answers(200, "The job.", &json_content("Job"))
        .refuses(&[404, 503]);
    let stop = |id: &str| {
        part.operation(id, "Stop a job where it is")
            .answers(200, "The job as it is now.", &json_content("Job"))
            .refuses(&[404, 409, 503])
    };
    vec![
        part.path("/events/{event}/replay/", "events", [event]).on("post", replay),
        part.path("/webhooks/{id}/recover/", "webhooks", [webhook]).on(
            "post",
            begins(part, "recoverWebhook", "Bring it what it did not get", "Recovery")
                .refuses(&[404]),
        ),
        one("resend", "resendDelivery", "Send a delivery again", &[404, 409, 410, 503]),
        one("cancel", "cancelDelivery", "Make no more attempts of it", &[404, 409, 503]),
        part.path("/deliveries/resend/", TAG, [])
            .on("post", begins(part, "resendDeliveries", "Send many again", "ResendFilter")),
        part.path("/deliveries/cancel/", TAG, []).on(
            "post",
            begins(part, "cancelDeliveries", "Make no more attempts of many", "CancelFilter"),
        ),
        part.path("/jobs/", TAG, []).on("get", list),
        part.path("/jobs/{job}/", TAG, [job.clone()]).on("get", show).on("delete", stop("dropJob")),
        part.path("/jobs/{job}/cancel/", TAG, [job]).on("post", stop("cancelJob")),
    ]
}

fn begins(part: Part, id: &str, summary: &str, fields: &str) -> Operation {
    part.operation(id, summary)
        .says("With `dry_run`, what it would do, and nothing is written.")
        .takes_fields(fields == "Recovery", fields)
        .answers(200, "What it would do.", &json_content("Trial"))
        .answers(202, "The job that does it.", &json_content("Begun"))
        .refuses(&[409, 503])
}

/// The shapes of jobs, and of what begins them.
pub(super) fn schemas() -> Schemas {
    let statuses = || Status::ALL.map(Status::as_str);
    let filter = json!({
        "status": schemas::one_of(statuses()),
        "webhook": schemas::integer_id(),
        "event": schemas::event_name([]),
        "target": schemas::text(),
        "code": last_code(),
        "since": schemas::instant(),
        "until": schemas::instant(),
    });
    let names = ["status", "webhook", "event", "target", "code", "since", "until"];
    vec![
        (
            "DeliveryNow",
            object(json!({
                "id": schemas::crockford("dlv_"),
                "webhook": schemas::integer_id(),
                "status": schemas::one_of(statuses()),
                "reason": or_null(schemas::text()),
                "attempts": schemas::count(),
            })),
        ),
        ("Replay", request(json!({"webhook": schemas::integer_id()}), &[], true)),
        (
            "Replayed",
            object(json!({
                "resent": schemas::count(),
                "created": schemas::count(),
                "waiting": schemas::count(),
            })),
        ),
        ("ResendFilter", selection(|status| *status != Status::Pending)),
        ("CancelFilter", selection(|status| *status == Status::Pending)),
        (
            "Recovery",
            request(
                json!({
                    "since": instant(),
                    "until": instant(),
                    "only": schemas::one_of(Only::ALL.map(Only::as_str)),
                    "dry_run": schemas::flag(),
                }),
                &["since"],
                true,
            ),
        ),
        (
            "Trial",
            object(json!({
                "dry_run": {"const": true},
                "matched": schemas::count(),
                "skipped": schemas::count(),
                "complete": schemas::flag(),
            })),
        ),
        (
            "Job",
            object(json!({
                "id": schemas::crockford("job_"),
                "kind": schemas::one_of(KINDS.map(JobKind::as_str)),
                "only": or_null(schemas::one_of(Only::ALL.map(Only::as_str))),
                "filter": object_with(filter, &names),
                "state": schemas::one_of(STATES.map(JobState::as_str)),
                "matched": schemas::count(),
                "done": schemas::count(),
                "skipped": schemas::count(),
                "who": schemas::one_of(ASKERS.map(Asker::as_str)),
                "created_at": schemas::instant(),
                "updated_at": schemas::instant(),
                "finished_at": or_null(schemas::instant()),
            })),
        ),
        ("Jobs", object(json!({"results": schemas::array_of(&reference("Job"))}))),
        ("Begun", object(json!({"job": reference("Job")}))),
    ]
}

fn selection(can: impl Fn(&Status) -> bool) -> Value {
    let fields = json!({
        "status": schemas::one_of(Status::ALL.into_iter().filter(can).map(Status::as_str)),
        "webhook": schemas::integer_id(),
        "event": schemas::event_name([]),
        "target": schemas::text(),
        "code": json!({"anyOf": [schemas::number(100, 999), last_code()]}),
        "since": instant(),
        "until": instant(),
        "all": schemas::flag(),
        "dry_run": schemas::flag(),
    });
    request(fields, &[], true)
}

/// What the last answer was: `503`, `5xx`, or `none`.
fn last_code() -> Value {
    json!({"type": "string", "pattern": "^([1-9][0-9][0-9]|[1-5]xx|none)$"})
}

/// What is taken as an instant.
fn instant() -> Value {
    json!({"type": "string", "format": "date-time"})
}
