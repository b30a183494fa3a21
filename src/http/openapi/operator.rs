//! The operator's own: projects, keys, tokens, targets, figures, and the control socket's sessions.
//!
//! Owns their paths and schemas. Must never describe what a project's own key can do: that is
//! `manage`.

use serde_json::{Value, json};

use super::manage::{Part, share_fields, target_id, targets_page};
use super::operation::{Access, Operation, Path, content, json_content};
use super::schemas::{self, Schemas, in_path, in_query, object, or_null, reference, request};
use crate::http::operator::LISTEN_EVENTS_MAX;
use crate::http::respond::JSON;
use crate::http::targets::LIMIT_MAX;
use crate::model::project::{KEY_BYTES_MAX, NAME_CHARS_MAX, SECRET_KEYS_MAX};

const TAG: &str = "operator";

/// The paths.
pub(super) fn paths() -> Vec<Path> {
    [projects(), keys(), tokens(), own_targets(), vec![stats(), listen()]]
        .into_iter()
        .flatten()
        .collect()
}

fn of(id: &str, summary: &str) -> Operation {
    Operation::new(Access::Operator, id, summary)
}

fn list(schema: &str) -> Value {
    content([JSON], &schemas::array_of(&reference(schema)))
}

fn projects() -> Vec<Path> {
    let rename = |id: &str| {
        of(id, "Rename a project")
            .says("One of the configuration is changed there: 409.")
            .takes_fields(true, "ProjectRename")
            .answers(200, "The project as it is now.", &json_content("OperatorProject"))
            .refuses(&[404, 409, 503])
    };
    vec![
        Path::new("/projects/", TAG, [])
            .on(
                "get",
                of("listProjects", "All projects").answers(
                    200,
                    "All of them.",
                    &list("ListedProject"),
                ),
            )
            .on(
                "post",
                of("createProject", "Create a project")
                    .takes_fields(false, "ProjectCreate")
                    .answers(
                        201,
                        "The project, and this once its key.",
                        &json_content("NewProject"),
                    )
                    .refuses(&[404, 409, 503]),
            ),
        Path::new("/projects/{project}/", TAG, [schemas::project_in_path()])
            .on(
                "get",
                of("showProject", "One project")
                    .answers(200, "The project.", &json_content("OperatorProject"))
                    .refuses(&[404]),
            )
            .on("patch", rename("renameProject"))
            .on("put", rename("renameProjectByPut"))
            .on("post", rename("renameProjectByPost"))
            .on(
                "delete",
                of("removeProject", "Remove a project with all that is pending")
                    .answers(204, "It is gone.", &Value::Null)
                    .refuses(&[404, 409, 503]),
            ),
    ]
}

fn keys() -> Vec<Path> {
    let key = in_path(
        "key",
        "The key's name: how its SHA-256 begins.",
        json!({"type": "string", "pattern": "^[0-9a-f]{8}$"}),
    );
    let project = schemas::project_in_path;
    let text = format!("A project has at most {SECRET_KEYS_MAX}.");
    vec![
        Path::new("/projects/{project}/keys/", TAG, [project()])
            .on(
                "get",
                of("listKeys", "A project's secret keys, by name")
                    .answers(200, "All of them.", &list("SecretKey"))
                    .refuses(&[404]),
            )
            .on(
                "post",
                of("addKey", "Add a secret key")
                    .says(&text)
                    .takes_fields(false, "SecretKeyCreate")
                    .answers(201, "The key, this once.", &json_content("NewSecretKey"))
                    .refuses(&[404, 409, 503]),
            ),
        Path::new("/projects/{project}/keys/{key}/", TAG, [project(), key])
            .on(
                "get",
                of("showKey", "One secret key; by the control socket, the key itself")
                    .answers(200, "The key's name.", &json_content("SecretKey"))
                    .refuses(&[404]),
            )
            .on(
                "delete",
                of("revokeKey", "Revoke a secret key; the last one stays")
                    .answers(204, "It proves nobody any more.", &Value::Null)
                    .refuses(&[404, 409, 503]),
            ),
    ]
}

fn tokens() -> Vec<Path> {
    let id = in_path("id", "The token's number.", schemas::number(0, u64::from(u32::MAX)));
    vec![
        Path::new("/operator/tokens/", TAG, [])
            .on(
                "get",
                of("listOperatorTokens", "The operator's tokens").answers(
                    200,
                    "All of them.",
                    &list("OperatorToken"),
                ),
            )
            .on(
                "post",
                of("createOperatorToken", "Make an operator token")
                    .takes_fields(false, "OperatorTokenCreate")
                    .answers(201, "The token, this once.", &json_content("NewOperatorToken"))
                    .refuses(&[503]),
            ),
        Path::new("/operator/tokens/{id}/", TAG, [id]).on(
            "delete",
            of("revokeOperatorToken", "Revoke an operator token")
                .answers(204, "It lets nobody in any more.", &Value::Null)
                .refuses(&[404, 409, 503]),
        ),
    ]
}

fn after() -> Value {
    in_query("after", "The last target of the page before.", target_id())
}

fn target_in_path() -> Value {
    in_path("target", "The target's id.", target_id())
}

/// A project's share of the targets, as the operator asks for it.
pub(super) fn targets(part: Part) -> Vec<Path> {
    let forbidden =
        |id: &str| part.operation(id, "A target's limits are the operator's alone").refuses(&[403]);
    vec![
        part.path("/targets/", "targets", [])
            .on(
                "get",
                part.operation("listTargets", "The targets of the project's webhooks")
                    .with(after())
                    .answers(200, "A page of them.", &json_content("Shares"))
                    .refuses(&[503]),
            )
            .on("post", forbidden("setTarget")),
        part.path("/targets/{target}/", "targets", [target_in_path()])
            .on(
                "get",
                part.operation("getTarget", "One target: the project's share of it")
                    .answers(200, "The share.", &json_content("Share"))
                    .refuses(&[404, 503]),
            )
            .on("post", forbidden("changeTarget")),
    ]
}

/// The same paths without a project: the operator sees all, a project its own share.
fn own_targets() -> Vec<Path> {
    let of = |id: &str, summary: &str| Operation::new(Access::ProjectOrOperator, id, summary);
    let either = |own: &str, share: &str| {
        content([JSON], &json!({"anyOf": [reference(own), reference(share)]}))
    };
    let set = |operation: Operation, schema: &str| {
        operation
            .says("`null` lets what the configuration says hold again.")
            .takes_fields(true, schema)
            .answers(200, "The target as it is now.", &json_content("Target"))
            .refuses(&[403, 404, 503])
    };
    vec![
        Path::new("/targets/", "targets", [])
            .on(
                "get",
                of("listTargets", "All targets; with a project's key, its share of its own")
                    .with(after())
                    .answers(200, "A page of them.", &either("Targets", "Shares"))
                    .refuses(&[503]),
            )
            .on(
                "post",
                set(of("setTarget", "Limit or pause a target, by its name"), "NamedTargetSet"),
            ),
        Path::new("/targets/{target}/", "targets", [target_in_path()])
            .on(
                "get",
                of("getTarget", "One target; with a project's key, its share of it")
                    .answers(200, "The target.", &either("Target", "Share"))
                    .refuses(&[404, 503]),
            )
            .on("post", set(of("changeTarget", "Limit or pause a target"), "TargetSet")),
    ]
}

fn stats() -> Path {
    Path::new("/stats/", TAG, []).on(
        "get",
        of("stats", "Figures of the store")
            .answers(200, "What it holds.", &json_content("Stats"))
            .refuses(&[503]),
    )
}

fn listen() -> Path {
    Path::new("/listen/", TAG, []).on(
        "post",
        of("listen", "Temporary webhooks, which go with the connection")
            .says("By the control socket alone: over the network there is no such path.")
            .takes_fields(true, "Listen")
            .answers(
                200,
                "One line, and the end of the answer when the daemon stops. The webhooks are deleted when the client goes.",
                &json_content("Listening"),
            )
            .refuses(&[404, 503]),
    )
}

/// The schemas.
pub(super) fn schemas() -> Schemas {
    let name = || schemas::text_of(1, NAME_CHARS_MAX);
    let secret_key = || json!({"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX, "pattern": "^[!-9;-~]+$"});
    let project = json!({
        "id": schemas::integer_id(),
        "name": schemas::text(),
        "public_key": schemas::text(),
        "secret_keys": schemas::count(),
        "created": schemas::instant(),
    });
    let token = json!({
        "id": schemas::count(),
        "name": schemas::text(),
        "created": schemas::instant(),
    });
    let key = json!({"id": {"type": "string", "pattern": "^[0-9a-f]{8}$"}});
    let with = |fields: &Value, name: &str, schema: Value| {
        let mut fields = fields.clone();
        fields[name] = schema;
        object(fields)
    };
    let named = request(json!({"name": or_null(name())}), &[], true);
    let mut all = vec![
        ("OperatorProject", object(project.clone())),
        ("ListedProject", with(&project, "webhooks", schemas::count())),
        ("NewProject", with(&project, "secret_key", or_null(schemas::text()))),
        (
            "ProjectCreate",
            request(
                json!({"name": or_null(name()), "id": or_null(schemas::integer_id())}),
                &[],
                false,
            ),
        ),
        ("ProjectRename", request(json!({"name": name()}), &["name"], true)),
        ("SecretKey", object(key.clone())),
        ("NewSecretKey", with(&key, "secret_key", schemas::text())),
        ("SecretKeyCreate", request(json!({"secret_key": or_null(secret_key())}), &[], true)),
        ("OperatorToken", object(token.clone())),
        (
            "NewOperatorToken",
            with(&token, "token", json!({"type": "string", "pattern": "^op_[0-9a-f]{48}$"})),
        ),
        ("OperatorTokenCreate", named),
        ("Listen", listen_request()),
        ("Listening", object(json!({"webhooks": schemas::array_of(&schemas::integer_id())}))),
        (
            "Stats",
            object(json!({
                "pending": schemas::count(),
                "events": schemas::count(),
                "quarantined": schemas::count(),
                "bytes": schemas::count(),
                "written_bytes": schemas::count(),
            })),
        ),
    ];
    all.extend(target_schemas());
    all
}

fn target_schemas() -> Schemas {
    const LIMITS: [&str; 3] = ["rate_per_second", "burst", "in_flight"];
    let limit = || schemas::number(1, u64::from(u32::MAX));
    let mut target = share_fields();
    let mut stored = json!({});
    let mut set = json!({"paused": or_null(schemas::flag())});
    for name in LIMITS {
        target[name] = limit();
        stored[name] = or_null(limit());
        set[name] = or_null(schemas::number(1, u64::from(LIMIT_MAX)));
    }
    target["set"] = object(stored);
    target["health"] = schemas::reference("Health");
    let mut named = set.clone();
    named["target"] = json!({"type": "string", "format": "uri"});
    vec![
        ("Target", object(target)),
        ("Targets", targets_page("Target")),
        ("TargetSet", request(set, &[], true)),
        ("NamedTargetSet", request(named, &["target"], true)),
    ]
}

fn listen_request() -> Value {
    let fields = json!({
        "project": schemas::text(),
        "listener": schemas::text(),
        "each_event": {
            "type": "string",
            "description": format!("1 to {LISTEN_EVENTS_MAX} names, with commas between."),
        },
        "target_url": super::manage::target_url(),
        "event": schemas::text(),
    });
    request(fields, &["project", "listener", "each_event", "target_url", "event"], false)
}
