//! Paths and operations of the document, and what every one of them has to say.
//!
//! Owns who may ask, the refusals that any request may meet, and what is derived: HEAD from GET, and
//! OPTIONS. Must never know a route: that is the families' beside it.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::schemas;
use crate::dialect::jsonapi::encode::JSON_API;
use crate::dialect::uploadcare::headers::View;
use crate::http::respond::JSON;
use crate::model::webhook::Version;

/// The bodies of requests whose fields may come in any form.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

/// Who may ask, which is also how its errors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Anyone,
    /// A project's key; answers are in the view that `Accept` asks for.
    Project,
    /// The same, or the operator.
    ProjectOrOperator,
    /// A project's key, as JSON:API projects send it.
    JsonApi,
    /// A project's intake token or key.
    Intake,
    /// An operator token, or the control socket's permissions.
    Operator,
}

/// How errors look, and in which types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    /// Plain JSON.
    Plain,
    /// In the type of the view that was asked for.
    Views,
    /// JSON:API's.
    JsonApi,
}

/// All families.
pub(super) const FAMILIES: [Family; 3] = [Family::Plain, Family::Views, Family::JsonApi];
/// The vendor types of the views, and the plain one.
const VIEWS: [View; 4] =
    [View::Own, View::Vendor(Version::V05), View::Vendor(Version::V06), View::Vendor(Version::V07)];

/// The refusals that there are, and what each says.
pub(super) const REFUSALS: [(u16, &str); 14] = [
    (
        400,
        "What was sent can't be understood or is not allowed; the field, its value and what would be are named.",
    ),
    (401, "Nobody is proved by the request's credentials."),
    (403, "That is the operator's alone."),
    (404, "There is no such thing, or it is another's."),
    (406, "`Accept` asks for a version of the API that does not exist."),
    (408, "The body did not arrive in time. The connection is closed."),
    (409, "It contradicts what is there."),
    (410, "What it would need is gone for good."),
    (413, "The body, an event of it or what would become of it is too large."),
    (414, "The path or the query is too long."),
    (415, "Bodies of this type are not understood."),
    (422, "What was sent is not allowed; every problem is told."),
    (429, "Too many requests, or too many whose credentials prove nobody."),
    (
        503,
        "Nothing was stored: the store is full or can't be written, or the daemon is shutting down.",
    ),
];

impl Access {
    fn family(self) -> Family {
        match self {
            Access::Project | Access::ProjectOrOperator => Family::Views,
            Access::JsonApi => Family::JsonApi,
            Access::Anyone | Access::Intake | Access::Operator => Family::Plain,
        }
    }

    /// The refusals that a request may meet before it means anything.
    fn refusals(self) -> &'static [u16] {
        match self {
            Access::Anyone => &[400, 414, 429],
            Access::Project | Access::ProjectOrOperator => &[400, 401, 406, 408, 413, 414, 429],
            Access::JsonApi | Access::Intake | Access::Operator => &[400, 401, 408, 413, 414, 429],
        }
    }

    fn security(self) -> Value {
        let project = [json!({"simple": []}), json!({"signed": []}), json!({"secretKey": []})];
        let operator = json!({"operatorToken": []});
        let tokens = [json!({"intakeToken": []}), json!({"intakeTokenInQuery": []})];
        match self {
            Access::Anyone => json!([]),
            Access::Project => json!(project),
            Access::ProjectOrOperator => json!([&project[..], &[operator]].concat()),
            Access::JsonApi => json!([{"secretKey": []}]),
            Access::Intake => json!([&tokens[..], &project[..]].concat()),
            Access::Operator => json!([operator]),
        }
    }
}

impl Family {
    /// The name of a refusal among the components.
    pub(super) fn refusal(self, status: u16) -> String {
        match self {
            Family::Plain => format!("Refused{status}"),
            Family::Views => format!("Refused{status}InViews"),
            Family::JsonApi => format!("Refused{status}InJsonApi"),
        }
    }

    /// What a refusal's body is.
    pub(super) fn refusal_content(self, status: u16) -> Value {
        let plain = schemas::reference(if status == 400 { "Refusal" } else { "Detail" });
        let errors = schemas::reference("Errors");
        match self {
            Family::Plain => content([JSON], &plain),
            Family::Views => content(VIEWS.map(View::content_type), &plain),
            // What holds for every request is refused before anybody looks at its path.
            Family::JsonApi if matches!(status, 400 | 414 | 429) => json!({
                JSON: {"schema": {"anyOf": [errors, plain]}},
                JSON_API: {"schema": errors},
            }),
            Family::JsonApi => content([JSON, JSON_API], &errors),
        }
    }
}

/// The same schema in each of these types.
pub(super) fn content(types: impl IntoIterator<Item = &'static str>, schema: &Value) -> Value {
    types.into_iter().map(|one| (one.to_owned(), json!({"schema": schema}))).collect()
}

/// JSON of this schema.
pub(super) fn json_content(schema: &str) -> Value {
    content([JSON], &schemas::reference(schema))
}

/// A webhook, or several, in every view: our own has more fields than Uploadcare's.
pub(super) fn view_content(vendor: &Value, own: &Value) -> Value {
    let types = VIEWS.map(|view| match view {
        View::Own | View::Legacy => {
            (view.content_type().to_owned(), json!({"schema": {"anyOf": [own, vendor]}}))
        }
        View::Vendor(_) => (view.content_type().to_owned(), json!({"schema": vendor})),
    });
    types.into_iter().collect()
}

/// JSON:API's two types.
pub(super) fn jsonapi_content(schema: &str) -> Value {
    content([JSON, JSON_API], &schemas::reference(schema))
}

/// One method of a path.
pub(super) struct Operation {
    id: String,
    family: Family,
    parameters: Vec<Value>,
    fields: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Operation {
    /// An operation with the refusals that all of its kind have.
    pub(super) fn new(access: Access, id: impl Into<String>, summary: &str) -> Operation {
        let id = id.into();
        let mut fields = Map::new();
        fields.insert("summary".to_owned(), json!(summary));
        fields.insert("security".to_owned(), access.security());
        let family = access.family();
        let operation =
            Operation { id, family, parameters: Vec::new(), fields, responses: Map::new() };
        operation.refuses(access.refusals())
    }

    /// Says more of it.
    pub(super) fn says(mut self, text: &str) -> Operation {
        self.fields.insert("description".to_owned(), json!(text));
        self
    }

    /// Takes a parameter of its own: of the query or a header.
    pub(super) fn with(mut self, parameter: Value) -> Operation {
        self.parameters.push(parameter);
        self
    }

    /// Takes fields in any form: JSON, urlencoded or multipart.
    pub(super) fn takes_fields(self, required: bool, schema: &str) -> Operation {
        let json = schemas::reference(schema);
        let form = schemas::reference(&schemas::form_name(schema));
        let mut types = content(FORMS, &form);
        types[JSON] = json!({"schema": json});
        self.takes(required, &types).refuses(&[415])
    }

    /// Takes a body of these types.
    pub(super) fn takes(mut self, required: bool, content: &Value) -> Operation {
        let body = json!({"required": required, "content": content});
        self.fields.insert("requestBody".to_owned(), body);
        self
    }

    /// Answers so.
    pub(super) fn answers(self, status: u16, text: &str, content: &Value) -> Operation {
        let mut response = json!({"description": text, "headers": headers_of(status)});
        if *content != Value::Null {
            response["content"] = content.clone();
        }
        self.responds(status, response)
    }

    /// Answers so, with this response.
    pub(super) fn responds(mut self, status: u16, response: Value) -> Operation {
        self.responses.insert(status.to_string(), response);
        self
    }

    /// May refuse so.
    pub(super) fn refuses(mut self, statuses: &[u16]) -> Operation {
        for status in statuses {
            let path = format!("#/components/responses/{}", self.family.refusal(*status));
            self.responses.insert(status.to_string(), json!({"$ref": path}));
        }
        self
    }

    /// HEAD, as it answers where there is GET: the same, without a body.
    pub(super) fn head(&self) -> Operation {
        let bare = |(status, response): (&String, &Value)| {
            let mut response = match response.get("$ref").and_then(Value::as_str) {
                None => response.clone(),
                Some(_) => refusal_head(status),
            };
            if let Some(object) = response.as_object_mut() {
                object.remove("content");
            }
            (status.clone(), response)
        };
        Operation {
            id: format!("{}Head", self.id),
            family: self.family,
            parameters: self.parameters.clone(),
            fields: self.fields.clone(),
            responses: self.responses.iter().map(bare).collect(),
        }
    }

    fn end(self, tag: &str) -> Value {
        let mut value = Value::Object(self.fields);
        value["operationId"] = json!(self.id);
        value["tags"] = json!([tag]);
        value["responses"] = Value::Object(self.responses);
        if !self.parameters.is_empty() {
            value["parameters"] = json!(self.parameters);
        }
        value
    }
}

/// A refusal of a family, for the components.
pub(super) fn refusal(family: Family, status: u16, text: &str) -> Value {
    let content = family.refusal_content(status);
    json!({"description": text, "headers": headers_of(status), "content": content})
}

fn refusal_head(status: &str) -> Value {
    let of = |(known, _): &&(u16, &str)| known.to_string() == status;
    let (status, text) = REFUSALS.iter().find(of).copied().unwrap_or((400, ""));
    json!({"description": text, "headers": headers_of(status)})
}

/// The headers of an answer: those that all have, and those of its status.
fn headers_of(status: u16) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let mut headers = json!({
        "X-Request-Id": reference("X-Request-Id"),
        "X-Content-Type-Options": reference("X-Content-Type-Options"),
    });
    let own: &[&str] = match StatusCode::from_u16(status) {
        Ok(StatusCode::UNAUTHORIZED) => &["WWW-Authenticate"],
        Ok(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => &["Retry-After"],
        _ => &[],
    };
    for name in own {
        headers[*name] = reference(name);
    }
    headers
}

/// A path with its methods.
pub(super) struct Path {
    template: String,
    tag: &'static str,
    parameters: Vec<Value>,
    methods: Vec<(&'static str, Operation)>,
}

impl Path {
    /// A path of these parameters, in the order in which they stand in it.
    pub(super) fn new(
        template: impl Into<String>,
        tag: &'static str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Path {
        let parameters = parameters.into_iter().collect();
        Path { template: template.into(), tag, parameters, methods: Vec::new() }
    }

    /// Adds a method.
    pub(super) fn on(mut self, method: &'static str, operation: Operation) -> Path {
        self.methods.push((method, operation));
        self
    }

    /// Its template and its item.
    pub(super) fn end(mut self) -> (String, Value) {
        let known = |methods: &[(&str, Operation)], method| {
            methods.iter().any(|(known, _)| *known == method)
        };
        let get = self.methods.iter().find(|(method, _)| *method == "get");
        if let Some(head) = get.map(|(_, get)| get.head())
            && !known(&self.methods, "head")
        {
            self.methods.push(("head", head));
        }
        if !known(&self.methods, "options") {
            let id = self.methods.first().map_or("", |(_, operation)| operation.id.as_str());
            let options = options(id);
            self.methods.push(("options", options));
        }
        let mut item = Map::new();
        if !self.parameters.is_empty() {
            item.insert("parameters".to_owned(), json!(self.parameters));
        }
        for (method, operation) in self.methods {
            item.insert(method.to_owned(), operation.end(self.tag));
        }
        (self.template, Value::Object(item))
    }
}

fn options(id: &str) -> Operation {
    let mut headers = headers_of(204);
    headers["Allow"] = json!({"$ref": "#/components/headers/Allow"});
    let response = json!({"description": "`Allow` names the methods.", "headers": headers});
    Operation::new(Access::Anyone, format!("{id}Options"), "Which methods there are")
        .responds(204, response)
        // Some paths have a part that is read before it is looked up.
        .refuses(&[404])
}
