//! Answers of JSON:API projects: webhook resources, pages of them, and errors.
//!
//! Owns their frames and content types. Must never show a webhook but to its owner: a resource
//! here holds the signing secret.

use super::decode::{Invalid, Page};
use super::resource::webhook_resource;
use crate::dialect::object::{Object, array};
use crate::model::webhook::Webhook;

/// JSON:API's own media type, which is answered if it is asked for.
pub const JSON_API: &str = "application/vnd.api+json";

/// The content type that an `Accept` header asks for, without parameters.
#[must_use]
pub fn content_type(accept: Option<&str>) -> &'static str {
    let essence = |range: &str| {
        range.split(';').next().is_some_and(|text| text.trim().eq_ignore_ascii_case(JSON_API))
    };
    if accept.unwrap_or_default().split(',').any(essence) { JSON_API } else { "application/json" }
}

/// `{"data":{…}}`: one webhook.
#[must_use]
pub fn webhook(webhook: &Webhook, project_public_key: &str) -> Vec<u8> {
    Object::new().raw("data", &webhook_resource(webhook, project_public_key, true)).end()
}

/// `{"data":[…],"pagination":{…}}`: one page of all webhooks. A page behind the last is empty.
#[must_use]
pub fn list(webhooks: &[&Webhook], project_public_key: &str, page: Page) -> Vec<u8> {
    let Page { page, items } = page;
    let skipped = (page as usize).saturating_sub(1).saturating_mul(items as usize);
    let shown = webhooks.iter().skip(skipped).take(items as usize);
    let data = array(shown.map(|webhook| webhook_resource(webhook, project_public_key, true)));
    let pages = webhooks.len().div_ceil(items.max(1) as usize).max(1);
    let pagination = Object::new()
        .number("count", webhooks.len() as u64)
        .number("page", u64::from(page))
        .number("items", u64::from(items))
        .number("pages", pages as u64)
        .end();
    Object::new().raw("data", &data).raw("pagination", &pagination).end()
}

/// `{"errors":["…"]}`
#[must_use]
pub fn errors<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    Object::new().texts("errors", texts).end()
}

/// The body of a 422.
#[must_use]
pub fn invalid(invalid: &Invalid) -> Vec<u8> {
    errors(invalid.0.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::catalog::tests::webhook as sample;
    use crate::model::secret::Secret;

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).expect("UTF-8")
    }

    #[test]
    fn a_webhook_has_the_keys_of_the_contract_in_its_order() {
        let mut one = sample(7, 1, "file.created", "https://a.example/");
        one.secret = Some(Secret::new("whsec-x".to_owned()));
        let want = concat!(
            r#"{"data":{"type":"webhooks","id":"wh-0000000000000000000000","attributes":"#,
            r#"{"events":["file.created"],"target_url":"https://a.example/","is_active":true,"#,
            r#""version":"1","signing_secret":"whsec-x"},"relationships":{"project":{"data":"#,
            r#"{"type":"projects","id":"key"}}}}}"#
        );
        assert_eq!(text(webhook(&one, "key")), want);
    }

    #[test]
    fn pages_count_all_and_show_some() {
        let all: Vec<Webhook> =
            (1..=5).map(|i| sample(i, 1, "a", &format!("http://{i}.example/"))).collect();
        let all: Vec<&Webhook> = all.iter().collect();
        let of = |page, items| text(list(&all, "key", Page { page, items }));
        for (page, items, shown, pages) in
            [(1, 2, &[1, 2][..], 3), (3, 2, &[5], 3), (4, 2, &[], 3), (1, 5, &[1, 2, 3, 4, 5], 1)]
        {
            let body = of(page, items);
            for i in 1..=5 {
                assert_eq!(body.contains(&format!("//{i}.")), shown.contains(&i), "{body}");
            }
            let want = format!(
                r#""pagination":{{"count":5,"page":{page},"items":{items},"pages":{pages}}}}}"#
            );
            assert!(body.ends_with(&want), "{body}");
        }
        let none = text(list(&[], "key", Page { page: u32::MAX, items: 100 }));
        let want =
            r#"{"data":[],"pagination":{"count":0,"page":4294967295,"items":100,"pages":1}}"#;
        assert_eq!(none, want);
    }

    #[test]
    fn media_types_and_errors() {
        for accept in [
            "application/vnd.api+json",
            "a/b, Application/Vnd.Api+JSON; q=1",
            "*/*,application/vnd.api+json",
        ] {
            assert_eq!(content_type(Some(accept)), JSON_API, "{accept}");
        }
        for accept in [
            None,
            Some(""),
            Some("*/*"),
            Some("application/json"),
            Some("application/vnd.uploadcare-v0.7+json"),
        ] {
            assert_eq!(content_type(accept), "application/json", "{accept:?}");
        }
        assert_eq!(text(errors(["a", "\""])), r#"{"errors":["a","\""]}"#);
        assert_eq!(text(invalid(&Invalid(vec!["b".to_owned()]))), r#"{"errors":["b"]}"#);
    }
}
