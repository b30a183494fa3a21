//! What supervisors, load balancers and Prometheus ask, and the document itself.
//!
//! Owns their paths and schemas. Must never need a key, but for the metrics.

use serde_json::{Value, json};

use super::operation::{Access, Operation, Path, json_content};
use super::schemas::{Schemas, in_header, object, text};
use crate::http::metrics::TEXT;

const TAG: &str = "ops";

/// The paths.
pub(super) fn paths() -> Vec<Path> {
    let metrics = Operation::new(Access::Operator, "metrics", "Figures for Prometheus")
        .says("`[metrics] public` lets everybody read them.")
        .answers(200, "The figures.", &json!({TEXT: {"schema": text()}}));
    vec![
        Path::new("/healthz", TAG, []).on(
            "get",
            Operation::new(Access::Anyone, "health", "Whether the process is alive").answers(
                200,
                "It is.",
                &json_content("Healthy"),
            ),
        ),
        Path::new("/readyz", TAG, []).on(
            "get",
            Operation::new(Access::Anyone, "ready", "Whether events are taken")
                .says("The store is writable, the loop turns, and the daemon is not draining.")
                .answers(200, "They are.", &json_content("Ready"))
                .refuses(&[503]),
        ),
        Path::new("/metrics", TAG, []).on("get", metrics),
        Path::new("/openapi.json", TAG, []).on("get", document()),
    ]
}

fn document() -> Operation {
    let etag = json!({"ETag": {"required": true, "schema": text()}});
    Operation::new(Access::Anyone, "openapi", "This document")
        .with(in_header("If-None-Match", "The `ETag` that is known.", text()))
        .responds(
            200,
            json!({
                "description": "The document.",
                "headers": etag,
                "content": {super::TYPE: {"schema": {"type": "object"}}},
            }),
        )
        .responds(304, json!({"description": "It is that one still.", "headers": etag}))
}

/// The schemas.
pub(super) fn schemas() -> Schemas {
    let status = |word: &str| -> Value { object(json!({"status": {"const": word}})) };
    vec![("Healthy", status("ok")), ("Ready", status("ready"))]
}
