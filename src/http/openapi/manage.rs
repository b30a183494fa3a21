//! A project's webhooks, what can be done to them, its tokens, targets and settings.
//!
//! Owns their paths, for the project itself and for the operator on its part, and their schemas.
//! Must never describe what the handlers do not do: `mod` compares it with the table of routes,
//! and the tests with a running daemon.

use serde_json::{Value, json};

use super::operation::{Access, Operation, Path, json_content, view_content};
use super::schemas::{self, Schemas, in_path, object, object_with, or_null, reference, request};
use crate::dialect::names;
use crate::dialect::uploadcare::decode::FORMATS;
use crate::dialect::uploadcare::own_fields::{
    self, BURST_MAX, IN_FLIGHT_MAX, OTHER_VERSION, RATE_PER_SECOND_MAX,
};
use crate::http::{manage, rotation, targets};
use crate::model::attempt::Failure;
use crate::model::notice::Notice;
use crate::model::project::{INTAKE_TOKENS_MAX, NAME_CHARS_MAX};
use crate::model::target::TARGET_URL_CHARS_MAX;
use crate::model::time::Wall;
use crate::model::webhook::{
    DisabledReason, FileDelete, Format, HEADER_BYTES_MAX, HEADERS_MAX, RotationPhase,
    SIGNING_SECRET_CHARS_MAX, SignatureStyle, Version, WEBHOOK_EVENTS_MAX, WebhookState,
};

/// All states, with every reason.
pub(super) const STATES: [WebhookState; 6] = [
    WebhookState::Active,
    WebhookState::Inactive,
    WebhookState::Paused { since: Wall(0) },
    WebhookState::Disabled(DisabledReason::Gone),
    WebhookState::Disabled(DisabledReason::Operator),
    WebhookState::Disabled(DisabledReason::Failing),
];
const PHASES: [RotationPhase; 2] = [RotationPhase::Staged, RotationPhase::Promoted];
const VERSIONS: [Version; 3] = [Version::V05, Version::V06, Version::V07];

/// Whose request on a project's part is described: every such path is there twice.
#[derive(Clone, Copy)]
pub(super) struct Part {
    access: Access,
    prefix: &'static str,
    suffix: &'static str,
}

impl Part {
    /// The project's own.
    pub(super) const OWN: Part = Part { access: Access::Project, prefix: "", suffix: "" };
    /// The operator's, on a project's part.
    pub(super) const OPERATOR: Part =
        Part { access: Access::Operator, prefix: "/projects/{project}", suffix: "OfProject" };

    /// Whether the operator asks.
    pub(super) fn is_operator(self) -> bool {
        self.access == Access::Operator
    }

    pub(super) fn path(
        self,
        rest: &str,
        tag: &'static str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Path {
        let project = self.is_operator().then(schemas::project_in_path);
        let parameters = project.into_iter().chain(parameters);
        Path::new(format!("{}{rest}", self.prefix), tag, parameters)
    }

    pub(super) fn operation(self, id: &str, summary: &str) -> Operation {
        self.operation_for(self.access, id, summary)
    }

    /// The same where the project's own proof is another than its key.
    pub(super) fn operation_for(self, own: Access, id: &str, summary: &str) -> Operation {
        let access = if self.is_operator() { self.access } else { own };
        let operation = Operation::new(access, format!("{id}{}", self.suffix), summary);
        // Where the path names a project, there may be none.
        if self.is_operator() { operation.refuses(&[404]) } else { operation }
    }

    /// JSON in every view. The operator's is our own.
    fn views(self, vendor: &Value, own: &Value) -> Value {
        if self.is_operator() {
            json!({"application/json": {"schema": own}})
        } else {
            view_content(vendor, own)
        }
    }

    fn webhook(self) -> Value {
        self.views(&reference("Webhook"), &reference("OwnWebhook"))
    }

    /// Anything else that is the same in every view.
    fn same(self, schema: &str) -> Value {
        self.views(&reference(schema), &reference(schema))
    }
}

/// The paths of a part.
pub(super) fn paths(part: Part) -> Vec<Path> {
    [webhooks(part), actions(part), rotations(part), tokens(part), others(part)]
        .into_iter()
        .flatten()
        .collect()
}

fn webhook_id() -> Value {
    in_path("id", "The webhook's id.", schemas::integer_id())
}

fn webhooks(part: Part) -> Vec<Path> {
    let list = |schema: &str| schemas::array_of(&reference(schema));
    let lists = part.views(&list("Webhook"), &list("OwnWebhook"));
    let update = |id: &str| {
        part.operation(id, "Change a webhook")
            .says("What is not given stays. `signing_secret`: `null` keeps it, an empty text takes it away.")
            .takes_fields(false, "WebhookUpdate")
            .answers(200, "The webhook as it is now.", &part.webhook())
            .refuses(&[404, 503])
    };
    let unsubscribe = |id: &str| {
        part.operation(id, "Delete the webhooks of a target")
            .takes_fields(true, "Unsubscribe")
            .answers(204, "There is none of them any more, if there was.", &Value::Null)
            .refuses(&[503])
    };
    vec![
        part.path("/webhooks/", "webhooks", [])
            .on(
                "get",
                part.operation("listWebhooks", "All webhooks of the project")
                    .says("Uploadcare's view shows webhooks of its own format and events alone.")
                    .answers(200, "A bare array, without pages.", &lists),
            )
            .on(
                "post",
                part.operation("createWebhook", "Create a webhook")
                    .takes_fields(true, "WebhookCreate")
                    .answers(201, "The webhook.", &part.webhook())
                    .refuses(&[503]),
            ),
        part.path("/webhooks/unsubscribe/", "webhooks", [])
            .on("delete", unsubscribe("unsubscribe"))
            .on("post", unsubscribe("unsubscribeByPost")),
        part.path("/webhooks/{id}/", "webhooks", [webhook_id()])
            .on(
                "get",
                part.operation("getWebhook", "One webhook")
                    .answers(200, "The webhook.", &part.webhook())
                    .refuses(&[404]),
            )
            .on("put", update("updateWebhook"))
            .on("post", update("updateWebhookByPost"))
            .on(
                "delete",
                part.operation("deleteWebhook", "Delete a webhook")
                    .says("What was pending of it ends as cancelled.")
                    .answers(204, "It is gone.", &Value::Null)
                    .refuses(&[404, 503]),
            ),
    ]
}

fn actions(part: Part) -> Vec<Path> {
    let act = |action: &str, id: &str, summary: &str| {
        part.path(&format!("/webhooks/{{id}}/{action}/"), "webhooks", [webhook_id()]).on(
            "post",
            part.operation(id, summary)
                .answers(200, "The webhook as it is now.", &part.webhook())
                .refuses(&[404, 409, 503]),
        )
    };
    vec![
        act("pause", "pauseWebhook", "Keep its events, send none"),
        act("resume", "resumeWebhook", "Send again, what was kept included"),
        part.path("/webhooks/{id}/test/", "webhooks", [webhook_id()]).on(
            "post",
            part.operation("testWebhook", "Send it a test event, and wait for the attempt")
                .answers(200, "What came of the attempt.", &part.same("Tested"))
                .answers(202, "The event is accepted; its attempt waits.", &part.same("Detail"))
                .refuses(&[404, 409, 503]),
        ),
    ]
}

fn rotations(part: Part) -> Vec<Path> {
    let path = |step: &str, operation: Operation| {
        let path = format!("/webhooks/{{id}}/secret/{step}/");
        let operation = operation.refuses(&[404, 409, 503]);
        part.path(&path, "webhooks", [webhook_id()]).on("post", operation)
    };
    let step = |id: &str, summary: &str| {
        let text = "The webhook as it is now.";
        part.operation(id, summary).takes_fields(false, "NoFields").answers(
            200,
            text,
            &part.same("Rotated"),
        )
    };
    vec![
        path(
            "rotate",
            part.operation("rotateSecret", "Make the next signing secret")
                .says("It signs beside the current one where the format's header can hold two.")
                .takes_fields(false, "Rotate")
                .answers(200, "The webhook, and this once the next secret.", &part.same("Rotated")),
        ),
        path("promote", step("promoteSecret", "Make the next secret the webhook's own")),
        path("finish", step("finishRotation", "Forget the old secret now")),
        path("abort", step("abortRotation", "Forget the next secret")),
    ]
}

fn tokens(part: Part) -> Vec<Path> {
    let list = &schemas::array_of(&reference("IntakeToken"));
    let id = in_path("id", "The token's number.", schemas::number(0, u64::from(u32::MAX)));
    vec![
        part.path("/tokens/", "intake tokens", [])
            .on(
                "get",
                part.operation("listTokens", "The project's intake tokens").answers(
                    200,
                    "All of them.",
                    &json!({"application/json": {"schema": list}}),
                ),
            )
            .on(
                "post",
                part.operation("createToken", "Make an intake token")
                    .says(&format!("A project has at most {INTAKE_TOKENS_MAX}."))
                    .takes_fields(false, "IntakeTokenCreate")
                    .answers(201, "The token, this once.", &json_content("NewIntakeToken"))
                    .refuses(&[404, 503]),
            ),
        part.path("/tokens/{id}/", "intake tokens", [id]).on(
            "delete",
            part.operation("revokeToken", "Revoke an intake token")
                .answers(204, "It lets nobody in any more.", &Value::Null)
                .refuses(&[404, 503]),
        ),
    ]
}

fn others(part: Part) -> Vec<Path> {
    let mut paths = vec![part.path("/project/", "project", []).on(
        "get",
        part.operation("getProject", "The project, in Uploadcare's shape").answers(
            200,
            "The project.",
            &part.same("Project"),
        ),
    )];
    // A project's share of the targets, as the operator sees it; the paths without a project are
    // the operator's own as well, and are described there.
    if part.is_operator() {
        paths.extend(super::operator::targets(part));
    }
    paths
}

/// The schemas.
pub(super) fn schemas() -> Schemas {
    let token = json!({
        "id": schemas::count(),
        "name": schemas::text(),
        "signed": schemas::flag(),
        "created": schemas::instant(),
    });
    let mut new_token = token.clone();
    new_token["token"] = json!({"type": "string", "pattern": "^in_[0-9a-f]{32}$"});
    let secret = schemas::text_of(1, SIGNING_SECRET_CHARS_MAX);
    let seconds = or_null(schemas::number(0, rotation::STEP_S_MAX));
    vec![
        ("Webhook", object(webhook_fields())),
        ("OwnWebhook", object_with(own_webhook_fields(), &["statistics"])),
        ("Rotation", rotation_schema()),
        ("WebhookCreate", request(webhook_request(), &["target_url"], false)),
        ("WebhookUpdate", request(webhook_request(), &[], false)),
        ("Unsubscribe", unsubscribe()),
        ("Tested", tested()),
        (
            "Rotated",
            object_with(
                json!({
                    "webhook": reference("OwnWebhook"),
                    "next_secret": schemas::text(),
                    "next_secret_standard": schemas::text(),
                }),
                &["next_secret", "next_secret_standard"],
            ),
        ),
        (
            "Rotate",
            request(
                json!({
                    "signing_secret": or_null(secret.clone()),
                    "promote_after_seconds": seconds,
                    "overlap_seconds": seconds,
                }),
                &[],
                true,
            ),
        ),
        ("NoFields", request(json!({}), &[], false)),
        ("IntakeToken", object(token)),
        ("NewIntakeToken", object(new_token)),
        (
            "IntakeTokenCreate",
            request(
                json!({
                    "name": or_null(schemas::text_of(1, NAME_CHARS_MAX)),
                    "signing_secret": or_null(secret),
                }),
                &[],
                true,
            ),
        ),
        (
            "Project",
            object(json!({
                "name": schemas::text(),
                "pub_key": schemas::text(),
                "collaborators": {"type": "array", "maxItems": 0},
                "autostore_enabled": schemas::flag(),
            })),
        ),
        ("Share", object(share_fields())),
        ("Shares", targets_page("Share")),
    ]
}

/// Uploadcare's nine.
fn webhook_fields() -> Value {
    let versions = VERSIONS.map(Version::as_str).into_iter().chain([OTHER_VERSION]);
    json!({
        "id": schemas::integer_id(),
        "project": schemas::integer_id(),
        "created": schemas::instant(),
        "updated": schemas::instant(),
        "event": schemas::event_name(subscribed_names()),
        "target_url": {"type": "string", "maxLength": TARGET_URL_CHARS_MAX},
        "is_active": schemas::flag(),
        "version": schemas::one_of(versions),
        "signing_secret": or_null(schemas::text()),
    })
}

fn own_webhook_fields() -> Value {
    let mut fields = webhook_fields();
    let reasons: Vec<_> = STATES.into_iter().filter_map(WebhookState::reason).collect();
    let mut states = STATES.map(WebhookState::as_str).to_vec();
    states.dedup();
    fields["format"] = schemas::one_of(FORMATS.map(Format::name));
    fields["state"] = schemas::one_of(states);
    fields["reason"] = or_null(schemas::one_of(reasons));
    fields["headers"] = json!({"type": "object", "additionalProperties": schemas::text()});
    for (name, max) in LIMITS {
        fields[name] = or_null(schemas::number(1, u64::from(max)));
    }
    let events = schemas::array_of(&schemas::event_name(subscribed_names()));
    fields["events"] = events;
    fields["signature_style"] = schemas::one_of(STYLES.map(own_fields::style_name));
    fields["include_secret"] = schemas::flag();
    fields["file_delete"] = schemas::one_of(FILE_DELETES.map(own_fields::file_delete_name));
    fields["rotation"] = or_null(reference("Rotation"));
    fields["statistics"] = reference("Statistics");
    fields
}

const LIMITS: [(&str, u32); 3] =
    [("rate_per_second", RATE_PER_SECOND_MAX), ("burst", BURST_MAX), ("in_flight", IN_FLIGHT_MAX)];
const STYLES: [SignatureStyle; 2] = [SignatureStyle::V1, SignatureStyle::Bare];
const FILE_DELETES: [FileDelete; 2] = [FileDelete::Object, FileDelete::Array];

/// What webhooks of the views can be given.
pub(super) fn webhook_request() -> Value {
    let mut fields = own_request();
    let event = schemas::event_name(subscribed_names());
    fields["event"] = or_null(event.clone());
    let events = json!({
        "type": ["array", "null"],
        "description": "In our own view alone; `event` is the first of them.",
        "minItems": 1,
        "maxItems": WEBHOOK_EVENTS_MAX,
        "items": event,
    });
    fields["events"] = events;
    fields["signing_secret"] = or_null(schemas::text_of(0, SIGNING_SECRET_CHARS_MAX));
    fields["format"] = or_null(schemas::one_of(FORMATS.map(Format::name)));
    let versions = VERSIONS.map(Version::as_str).into_iter().chain([OTHER_VERSION]);
    fields["version"] = or_null(schemas::one_of(versions));
    fields["file_delete"] =
        or_null(schemas::one_of(FILE_DELETES.map(own_fields::file_delete_name)));
    fields
}

/// What webhooks of every dialect can be given.
pub(super) fn own_request() -> Value {
    let value = json!({"type": "string", "maxLength": HEADER_BYTES_MAX, "pattern": "^[ -~]*$"});
    let mut fields = json!({
        "target_url": target_url(),
        "is_active": schemas::flag(),
        "headers": {
            "type": ["object", "null"],
            "description": "Sent with every delivery. Those that the daemon sets are refused.",
            "maxProperties": HEADERS_MAX,
            "propertyNames": {"pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "maxLength": HEADER_BYTES_MAX},
            "additionalProperties": value,
        },
        "signature_style": or_null(schemas::one_of(STYLES.map(own_fields::style_name))),
        "include_secret": or_null(schemas::flag()),
    });
    for (name, max) in LIMITS {
        fields[name] = or_null(schemas::number(1, u64::from(max)));
    }
    fields
}

pub(super) fn target_url() -> Value {
    json!({
        "type": "string",
        "format": "uri",
        "minLength": 1,
        "maxLength": TARGET_URL_CHARS_MAX,
        "description": "Where deliveries go: http or https, an address that the daemon may reach.",
    })
}

fn unsubscribe() -> Value {
    let fields = json!({
        "target_url": schemas::text_of(1, TARGET_URL_CHARS_MAX),
        "event": or_null(schemas::text()),
    });
    request(fields, &["target_url"], false)
}

fn rotation_schema() -> Value {
    object(json!({
        "phase": schemas::one_of(PHASES.map(RotationPhase::as_str)),
        "next_step": or_null(schemas::instant()),
        "overlap_seconds": schemas::count(),
    }))
}

fn tested() -> Value {
    let failures = Failure::ALL.map(Failure::as_str);
    object(json!({
        "delivery": schemas::crockford("dlv_"),
        "delivered": schemas::flag(),
        "status": or_null(schemas::number(100, 999)),
        "reason": or_null(schemas::one_of(failures)),
        "address": or_null(schemas::text()),
        "duration_ms": schemas::count(),
        "response_body": schemas::text_of(0, manage::TEST_BODY_BYTES_MAX),
    }))
}

/// What a project and the operator see of a target.
pub(super) fn share_fields() -> Value {
    json!({
        "id": target_id(),
        "target": schemas::text(),
        "state": schemas::one_of(targets::STATES),
        "paused_since": or_null(schemas::instant()),
        "webhooks": schemas::count(),
        "under_way": schemas::count(),
        "backlog": reference("Backlog"),
    })
}

pub(super) fn target_id() -> Value {
    json!({"type": "string", "pattern": "^tgt_[A-Za-z0-9_-]+$"})
}

pub(super) fn targets_page(schema: &str) -> Value {
    object(json!({
        "next": {"type": ["string", "null"], "pattern": r"^\?after=tgt_"},
        "per_page": {"const": targets::PAGE_TARGETS_MAX},
        "results": {
            "type": "array",
            "maxItems": targets::PAGE_TARGETS_MAX,
            "items": reference(schema),
        },
    }))
}

/// What webhooks subscribe to: those, and the daemon's own notices.
fn subscribed_names() -> Vec<&'static str> {
    [event_names(), Notice::ALL.map(Notice::as_str).to_vec()].concat()
}

/// What events are called in some format.
pub(super) fn event_names() -> Vec<&'static str> {
    let names =
        |format: Format| schemas::named_kinds().filter_map(move |kind| names::of(format, kind));
    FORMATS.into_iter().flat_map(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_phase_and_version_is_named() {
        // A variant more does not compile here, and belongs into the lists above.
        for state in STATES {
            match state {
                WebhookState::Active
                | WebhookState::Inactive
                | WebhookState::Paused { .. }
                | WebhookState::Disabled(
                    DisabledReason::Gone | DisabledReason::Operator | DisabledReason::Failing,
                ) => {}
            }
        }
        for phase in PHASES {
            match phase {
                RotationPhase::Staged | RotationPhase::Promoted => {}
            }
        }
        for version in VERSIONS {
            match version {
                Version::V05 | Version::V06 | Version::V07 => {}
            }
        }
        assert_eq!(STATES.iter().filter_map(|state| state.reason()).count(), 3);
    }

    #[test]
    fn names_are_those_of_the_table() {
        let names = event_names();
        for name in ["file.uploaded", "file.created", "FILE_UPLOAD", "session.created"] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
