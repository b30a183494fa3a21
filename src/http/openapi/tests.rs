//! The document against the table of routes.
//!
//! Owns the list of what routes there are, which does not compile when one is added. Must never
//! ask the document what it should hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::http::route::{DeliveryAction, EventAction, Route, SecretStep, WebhookAction};

/// The places of [`place`].
const PLACES: usize = 54;

/// A number for everything that a path can mean: a further variant does not compile here, and its
/// number, once [`PLACES`] is raised, has to be one of a path of the document.
fn place(route: &Route) -> usize {
    match route {
        Route::Health => 0,
        Route::Ready => 1,
        Route::Webhooks => 2,
        Route::Unsubscribe => 3,
        Route::Webhook(_) => 4,
        Route::WebhookAction(_, action) => match action {
            WebhookAction::Test => 5,
            WebhookAction::Pause => 6,
            WebhookAction::Resume => 7,
            WebhookAction::Recover => 40,
        },
        Route::WebhookSecret(_, step) => match step {
            SecretStep::Rotate => 8,
            SecretStep::Promote => 9,
            SecretStep::Finish => 10,
            SecretStep::Abort => 11,
        },
        Route::Events => 12,
        Route::EventAction(_, action) => match action {
            EventAction::Erase => 13,
            EventAction::Replay => 41,
        },
        Route::Targets => 14,
        Route::Target(_) => 15,
        Route::Send => 16,
        Route::In(source) => {
            17 + crate::source::ALL.iter().position(|one| one == source).expect("a source")
        }
        Route::Incoming(_) => 23,
        Route::Tokens => 24,
        Route::Token(_) => 25,
        Route::Project => 26,
        Route::Projects => 27,
        Route::OfProject(_, None) => 28,
        Route::OfProject(_, Some(inner)) => PLACES + place(inner),
        Route::JsonApiWebhooks(_) => 29,
        Route::JsonApiWebhook(..) => 30,
        Route::Keys(_) => 31,
        Route::Key(..) => 32,
        Route::OperatorTokens => 33,
        Route::OperatorToken(_) => 34,
        Route::Metrics => 35,
        Route::Listen => 36,
        Route::Stats => 37,
        Route::OpenApi => 38,
        Route::DeliveryStream => 39,
        Route::DeliveriesAction(action) => match action {
            DeliveryAction::Resend => 42,
            DeliveryAction::Cancel => 43,
        },
        Route::DeliveryAction(_, action) => match action {
            DeliveryAction::Resend => 44,
            DeliveryAction::Cancel => 45,
        },
        Route::Jobs => 46,
        Route::Job(_) => 47,
        Route::JobCancel(_) => 48,
        Route::Event(_) => 49,
        Route::Deliveries => 50,
        Route::Delivery(_) => 51,
        Route::Explain(_) => 52,
        Route::SentRequest(..) => 53,
        // No such webhook: what its id should be is described at `Webhook`.
        Route::NoWebhook => 4,
    }
}

/// A path as a client would write it.
fn filled(template: &str) -> String {
    [
        ("{project}", "39123"),
        ("{source}", "tusd"),
        ("{token}", "in_0123"),
        ("{key}", "01234567"),
        ("{target}", "tgt_aHR0cHM6Ly9hLmV4YW1wbGU"),
        ("{event}", "evt_000T3ZXDS0J001E35A9Y5VQXYA"),
        ("{delivery}", "dlv_000T3ZXDS0J001E35A9Y5VQXYA"),
        ("{job}", "job_000T3ZXDS0J001E35A9Y5VQXYA"),
        ("{number}", "1"),
        ("{id}", "7"),
    ]
    .iter()
    .fold(template.to_owned(), |path, (name, value)| path.replace(name, value))
}

fn described() -> BTreeMap<String, BTreeSet<String>> {
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let keys = item.as_object().expect("an item").keys();
        keys.filter(|key| *key != "parameters").map(|key| key.to_uppercase()).collect()
    };
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[test]
fn every_described_method_is_known_and_every_known_one_is_described() {
    for (template, methods) in described() {
        let path = filled(&template);
        assert!(!path.contains('{'), "{template}: a parameter without a sample");
        let route =
            Route::of(&path).unwrap_or_else(|| panic!("{template}: there is no such route"));
        let known: BTreeSet<String> = route.allow().split(", ").map(str::to_owned).collect();
        assert_eq!(methods, known, "{template}");
    }
}

#[test]
fn every_route_is_described() {
    let paths: Vec<String> = described().into_keys().collect();
    let routes: Vec<Route> = paths.iter().filter_map(|path| Route::of(&filled(path))).collect();
    let places: BTreeSet<usize> = routes.iter().map(place).collect();
    for number in 0..PLACES {
        assert!(places.contains(&number), "no path of the document has place {number}");
    }
    // What a project can do, the operator can do on its part, and nothing else.
    for path in paths.iter().filter(|path| !path.starts_with("/projects/")) {
        let operators = format!("/projects/{{project}}{path}");
        let inner = matches!(Route::of(&filled(&operators)), Some(Route::OfProject(_, Some(_))));
        let is_token = path.ends_with("{token}/");
        assert_eq!(inner && !is_token, paths.contains(&operators), "{operators}");
    }
}

#[test]
fn references_lead_somewhere_and_nothing_is_left_over() {
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is unused");
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), field) {
                    ("$ref", Value::String(text)) => {
                        found.insert(text.clone());
                    }
                    _ => references(field, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn operations_have_ids_of_their_own_and_parameters_that_stand_in_their_path() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (template, item) in document["paths"].as_object().expect("paths") {
        let mut named = BTreeSet::new();
        for parameter in item["parameters"].as_array().into_iter().flatten() {
            named.insert(format!("{{{}}}", parameter["name"].as_str().expect("a name")));
        }
        let stand: BTreeSet<String> = template
            .split('/')
            .filter(|segment| segment.starts_with('{'))
            .map(str::to_owned)
            .collect();
        assert_eq!(named, stand, "{template}");
        for (method, operation) in item.as_object().expect("an item") {
            if method != "parameters" {
                let id = operation["operationId"].as_str().expect("an id").to_owned();
                assert!(ids.insert(id.clone()), "{id} is given twice");
            }
        }
    }
}

#[test]
fn a_client_that_has_it_is_not_sent_it_again() {
    let ask = |tag: Option<&str>| {
        let mut request = http::Request::builder();
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        show(&request.body(()).expect("sound").into_parts().0)
    };
    let first = ask(None);
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[header::CONTENT_TYPE], TYPE);
    let tag = first.headers()[header::ETAG].to_str().expect("ASCII").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = ask(Some(&known));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(again.headers()[header::ETAG], *tag);
    }
    assert_eq!(ask(Some("\"x\"")).status(), StatusCode::OK);
}
