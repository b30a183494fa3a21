//! The event that is measured with: 1,200 bytes of request that say when they were sent.
//!
//! Owns its form and how a delivery is recognised. Must never depend on the dialect's order of
//! keys: the mark is searched for.

/// Bytes of a request that publishes one event.
pub(super) const EVENT_BYTES: usize = 1_200;

/// The project that bench's daemon has.
pub(super) const PROJECT_ID: u32 = 1;
pub(super) const PUBLIC_KEY: &str = "benchpublickey000000";
pub(super) const SECRET_KEY: &str = "benchsecretkey000000";

const NUMBER: &[u8] = br#""bench_n":"#;
const START: &[u8] = br#""bench_us":"#;
/// What fills an event up: text as data has it, that no coder could make short.
const FILLER: &[u8] = b"17be4678dab74bc7875328914a22960a";

/// The events' names, by number.
pub(super) fn name(number: u64) -> String {
    format!("bench.e{number}")
}

/// A request that publishes event `n` by its name's number, sent at `start_us`.
pub(super) fn request(n: u64, start_us: u64, name: u64) -> Vec<u8> {
    let mut out = format!(
        r#"{{"event":"{}","data":{{"bench_n":{n},"bench_us":{start_us},"text":""#,
        self::name(name)
    )
    .into_bytes();
    let end = br#""}}"#;
    while out.len() + end.len() < EVENT_BYTES {
        let left = EVENT_BYTES - end.len() - out.len();
        out.extend_from_slice(&FILLER[..left.min(FILLER.len())]);
    }
    out.extend_from_slice(end);
    out
}

/// The event's number and when it was sent, found in what was delivered.
pub(super) fn mark(body: &[u8]) -> Option<(u64, u64)> {
    Some((number_behind(body, NUMBER)?, number_behind(body, START)?))
}

fn number_behind(body: &[u8], key: &[u8]) -> Option<u64> {
    let at = body.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::Json;

    #[test]
    fn an_event_has_its_size_and_its_mark() {
        for (n, number) in [(0, 1), (7, 3), (9_999_999, 100_000)] {
            let body = request(n, 1_795_290_989_123_456, number);
            assert_eq!(body.len(), EVENT_BYTES);
            assert_eq!(mark(&body), Some((n, 1_795_290_989_123_456)));
            let json = Json::parse(&body).expect("sound");
            assert_eq!(json.get("event").and_then(Json::as_str), Some(name(number).as_str()));
        }
        assert_eq!(mark(b"{}"), None);
        assert_eq!(mark(br#"{"bench_n":,"bench_us":1}"#), None);
    }
}
