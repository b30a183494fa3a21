//! Signatures of deliveries: Uploadcare's `X-Uc-Signature`, Lancer's `x-signature` and Standard
//! Webhooks.
//!
//! Owns how one secret becomes a key for each scheme, the headers of an attempt, and the
//! verification that the CLI's receivers do, with a diagnosis of what commonly goes wrong. Must
//! never put two values into `X-Uc-Signature`: receivers compare the whole header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::model::ids::DeliveryId;
use crate::model::json::Json;
use crate::model::secret::Secret;
use crate::model::time::Wall;
use crate::model::webhook::{Format, SignatureStyle, Webhook};

/// The header of Uploadcare's scheme.
pub const UPLOADCARE_SIGNATURE: &str = "X-Uc-Signature";
/// When this attempt was made, in unix seconds, in Lancer's scheme.
pub const LANCER_TIMESTAMP: &str = "x-timestamp";
/// The header of Lancer's scheme: hexadecimal without a prefix, because its SDK compares texts of
/// one length alone.
pub const LANCER_SIGNATURE: &str = "x-signature";
/// The delivery's id, the same on every retry.
pub const WEBHOOK_ID: &str = "webhook-id";
/// When this attempt was made, in unix seconds.
pub const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
/// The header of Standard Webhooks.
pub const WEBHOOK_SIGNATURE: &str = "webhook-signature";

/// Decoded lengths of a key that Standard Webhooks knows, in bytes.
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const STANDARD_PREFIX: &str = "whsec_";
/// Bytes of an HMAC-SHA-256.
const MAC_BYTES: usize = 32;
/// Most signatures of one header that are looked at.
const SIGNATURES_MAX: usize = 16;

/// Why a signature does not verify.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The header is not of this scheme's form.
    #[error("the header is malformed: {0}")]
    Header(&'static str),
    /// The header of the timestamp is absent, or no number of unix seconds.
    #[error("{0} is not a number of unix seconds")]
    Timestamp(&'static str),
    /// Signed rightly, but too long ago or in the future: one of the clocks is wrong, or the
    /// request was replayed.
    #[error(
        "clock skew: the signature is right, but its timestamp is {off_s} s {}, and {tolerance_s} s are tolerated",
        if *.future { "in the future" } else { "old" }
    )]
    Skew {
        /// Seconds between the timestamp and now.
        off_s: u64,
        /// Whether the timestamp is ahead.
        future: bool,
        /// What was tolerated.
        tolerance_s: u64,
    },
    /// Another body or another key was signed.
    #[error("the signature does not match: {0}")]
    Mismatch(Cause),
}

/// What made a signature differ, as far as it can be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Cause {
    /// The body was parsed and printed again.
    #[error("the body was re-serialised; verify the raw bytes of the request")]
    Reserialised,
    /// White space was added or removed around the body.
    #[error("white space around the body was added or removed")]
    WhiteSpace,
    /// The secret was used in another form than the sender used it in.
    #[error(
        "the secret has the wrong form: this scheme takes {}",
        if *.base64 { "the bytes that it decodes to from base64" } else { "its text as it is" }
    )]
    SecretForm {
        /// Whether this scheme decodes the secret.
        base64: bool,
    },
    /// None of those that can be told apart.
    #[error(
        "another secret, or another body: the usual causes are a re-serialised body, changed \
         white space, a secret in the wrong form, and a clock or timestamp that differs"
    )]
    Unknown,
}

/// The signature headers of one attempt, in order. Without a secret only the id and the timestamp
/// are sent. A staged secret signs beside the current one where a header can hold both.
#[must_use]
pub fn signatures(
    webhook: &Webhook,
    id: &DeliveryId,
    timestamp_s: u64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let id = id.to_string();
    let timestamp = timestamp_s.to_string();
    let mut headers = Vec::with_capacity(6);
    if let Some(secret) = &webhook.secret {
        let style = webhook.options.signature_style;
        headers.push((UPLOADCARE_SIGNATURE, uploadcare(secret, style, body)));
        if webhook.format == Format::Lancer {
            headers.push((LANCER_TIMESTAMP, timestamp.clone()));
            headers.push((LANCER_SIGNATURE, lancer(secret, &timestamp, body)));
        }
    }
    let beside = webhook.rotation.as_ref().map(|rotation| &rotation.secret);
    let mut standard = String::new();
    for secret in webhook.secret.iter().chain(beside) {
        push_standard(&mut standard, secret, &id, &timestamp, body);
    }
    headers.push((WEBHOOK_ID, id));
    headers.push((WEBHOOK_TIMESTAMP, timestamp));
    if !standard.is_empty() {
        headers.push((WEBHOOK_SIGNATURE, standard));
    }
    headers
}

/// The secret as Standard Webhooks' libraries take it: `whsec_` and the key in base64.
#[must_use]
pub fn standard_form(secret: &Secret) -> Secret {
    Secret::new(format!("{STANDARD_PREFIX}{}", STANDARD.encode(standard_key(secret.expose()))))
}

/// Checks an `X-Uc-Signature` header, with `v1=` or bare.
pub fn verify_uc(secret: &Secret, header: &str, body: &[u8]) -> Result<(), VerifyError> {
    let given = header.strip_prefix("v1=").unwrap_or(header);
    let given =
        unhex(given).ok_or(VerifyError::Header("it takes v1= and 64 lower-case hex digits"))?;
    let matches = |key: &[u8], body: &[u8]| mac(key, &[body]).ct_eq(&given).into();
    if matches(secret.expose().as_bytes(), body) {
        return Ok(());
    }
    Err(VerifyError::Mismatch(diagnose(secret, false, body, &matches)))
}

/// Checks the three `webhook-*` headers. The timestamp is judged last, so that a wrong clock is
/// told from a wrong signature.
pub fn verify_standard(
    secret: &Secret,
    id: &str,
    timestamp: &str,
    header: &str,
    body: &[u8],
    now: Wall,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    let signed_at = timestamp_s(timestamp).ok_or(VerifyError::Timestamp(WEBHOOK_TIMESTAMP))?;
    let given: Vec<Vec<u8>> = header
        .split(' ')
        .filter_map(|item| item.strip_prefix("v1,"))
        .filter_map(|text| STANDARD.decode(text).ok())
        .take(SIGNATURES_MAX)
        .collect();
    if given.is_empty() {
        return Err(VerifyError::Header("it holds no v1, signature in base64"));
    }
    let matches = |key: &[u8], body: &[u8]| {
        let want = mac(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
        given.iter().fold(false, |any, one| bool::from(want.as_slice().ct_eq(one)) | any)
    };
    if !matches(&standard_key(secret.expose()), body) {
        return Err(VerifyError::Mismatch(diagnose(secret, true, body, &matches)));
    }
    fresh(signed_at, now, tolerance_s)
}

/// Checks Lancer's two headers. As above, the timestamp is judged last.
pub fn verify_lancer(
    secret: &Secret,
    timestamp: &str,
    header: &str,
    body: &[u8],
    now: Wall,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    let signed_at = timestamp_s(timestamp).ok_or(VerifyError::Timestamp(LANCER_TIMESTAMP))?;
    let given = unhex(header)
        .ok_or(VerifyError::Header("it takes 64 lower-case hex digits, without a prefix"))?;
    let matches = |key: &[u8], body: &[u8]| -> bool {
        mac(key, &[timestamp.as_bytes(), b".", body]).ct_eq(&given).into()
    };
    if !matches(secret.expose().as_bytes(), body) {
        return Err(VerifyError::Mismatch(diagnose(secret, false, body, &matches)));
    }
    fresh(signed_at, now, tolerance_s)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
}

fn uploadcare(secret: &Secret, style: SignatureStyle, body: &[u8]) -> String {
    let prefix = match style {
        SignatureStyle::V1 => "v1=",
        SignatureStyle::Bare => "",
    };
    let mut out = String::with_capacity(prefix.len() + MAC_BYTES * 2);
    out.push_str(prefix);
    push_hex(&mut out, &mac(secret.expose().as_bytes(), &[body]));
    out
}

fn lancer(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    hex(&mac(secret.expose().as_bytes(), &[timestamp.as_bytes(), b".", body]))
}

/// Adds one signature, behind a space if there is another.
fn push_standard(out: &mut String, secret: &Secret, id: &str, timestamp: &str, body: &[u8]) {
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    out.push_str(if out.is_empty() { "v1," } else { " v1," });
    STANDARD.encode_string(mac(&standard_key(secret.expose()), &parts), out);
}

/// Strict base64 of 24 to 64 bytes is decoded; any other secret is the key as it stands, and so is
/// one with a prefix that is not followed by such base64.
fn standard_key(secret: &str) -> Zeroizing<Vec<u8>> {
    decoded(secret).unwrap_or_else(|| Zeroizing::new(secret.as_bytes().to_vec()))
}

fn decoded(secret: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
    let key = Zeroizing::new(STANDARD.decode(text).ok()?);
    STANDARD_KEY_BYTES.contains(&key.len()).then_some(key)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Tries what commonly goes wrong, one thing at a time. `matches` says whether the signature is
/// that of a key and a body.
fn diagnose(
    secret: &Secret,
    base64: bool,
    body: &[u8],
    matches: &dyn Fn(&[u8], &[u8]) -> bool,
) -> Cause {
    let text = secret.expose();
    let key = if base64 { standard_key(text) } else { Zeroizing::new(text.as_bytes().to_vec()) };
    let trimmed = body.trim_ascii();
    let ended = |end: &[u8]| [trimmed, end].concat();
    if [ended(b""), ended(b"\n"), ended(b"\r\n")].iter().any(|body| matches(&key, body)) {
        return Cause::WhiteSpace;
    }
    if Json::parse(body).is_ok_and(|json| matches(&key, &json.to_bytes())) {
        return Cause::Reserialised;
    }
    if secret_forms(text).iter().any(|key| matches(key, body)) {
        return Cause::SecretForm { base64 };
    }
    Cause::Unknown
}

/// The keys that a secret may have been taken for.
fn secret_forms(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let bare = text.trim();
    let bare = bare.strip_prefix(STANDARD_PREFIX).unwrap_or(bare);
    let prefixed = format!("{STANDARD_PREFIX}{bare}");
    let texts = [text, bare, prefixed.as_str()];
    let plain = texts.iter().map(|text| Zeroizing::new(text.as_bytes().to_vec()));
    let decoded = STANDARD.decode(bare).ok().map(Zeroizing::new);
    plain.chain(decoded).collect()
}

fn fresh(signed_at_s: u64, now: Wall, tolerance_s: u64) -> Result<(), VerifyError> {
    let now_s = now.unix_seconds();
    let off_s = now_s.abs_diff(signed_at_s);
    if off_s > tolerance_s {
        return Err(VerifyError::Skew { off_s, future: signed_at_s > now_s, tolerance_s });
    }
    Ok(())
}

fn timestamp_s(text: &str) -> Option<u64> {
    let sound = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let sound = digits.len() == 64 && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !sound {
        return None;
    }
    let nibble = |digit: u8| if digit < b'a' { digit - b'0' } else { digit - b'a' + 10 };
    Some(std::array::from_fn(|i| nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ids::{ProjectId, Seq, WebhookId};
    use crate::model::target::TargetUrl;
    use crate::model::webhook::{
        FormatOptions, Limits, Rotation, RotationPhase, Version, WebhookState,
    };

    const ID: DeliveryId = DeliveryId { seq: Seq(1_700), salt: 42 };
    const NOW: Wall = Wall(1_763_740_000_000);
    const BODY: &[u8] = br#"{"a":1,"b":"\u0001"}"#;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn webhook(secret: Option<&Secret>, next: Option<&Secret>) -> Webhook {
        Webhook {
            id: WebhookId::new(1).expect("in range"),
            public_id: String::new(),
            project: ProjectId::new(1).expect("in range"),
            target_url: TargetUrl::parse("http://a.example/").expect("a URL"),
            events: Vec::new(),
            format: Format::Uploadcare(Version::V07),
            state: WebhookState::Active,
            secret: secret.cloned(),
            rotation: next.map(|next| Rotation {
                secret: next.clone(),
                phase: RotationPhase::Staged,
                next_step: None,
                overlap_ms: 0,
            }),
            headers: Vec::new(),
            limits: Limits::default(),
            options: FormatOptions::default(),
            created: Wall(0),
            updated: Wall(0),
            revision: 0,
            paused_total_ms: 0,
            failing_since: None,
            listener: None,
            hidden: false,
        }
    }

    fn signed(secret: &Secret, timestamp_s: u64, body: &[u8]) -> Vec<(&'static str, String)> {
        signatures(&webhook(Some(secret), None), &ID, timestamp_s, body)
    }

    fn value<'a>(headers: &'a [(&str, String)], name: &str) -> &'a str {
        &headers.iter().find(|(known, _)| *known == name).expect(name).1
    }

    fn check(secret: &Secret, headers: &[(&str, String)], body: &[u8]) -> Result<(), VerifyError> {
        let standard = value(headers, WEBHOOK_SIGNATURE);
        let (id, timestamp) = (value(headers, WEBHOOK_ID), value(headers, WEBHOOK_TIMESTAMP));
        verify_standard(secret, id, timestamp, standard, body, NOW, 300)
    }

    #[test]
    fn vector_of_uploadcares_ruby_client() {
        let body = include_bytes!("../../tests/golden/uploadcare/signature_vector.json");
        assert_eq!(body.len(), 1_163);
        let header = "v1=9b31c7dd83fdbf4a2e12b19d7f2b9d87d547672a325b9492457292db4f513c70";
        let key = secret("12345X");
        assert_eq!(signed(&key, 0, body)[0].1, header);
        assert_eq!(verify_uc(&key, header, body), Ok(()));
    }

    #[test]
    fn vector_of_standard_webhooks() {
        // From the specification's own libraries.
        let key = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let header = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let standard = |key: &Secret| {
            let mut out = String::new();
            push_standard(&mut out, key, id, "1614265330", body);
            out
        };
        assert_eq!(standard(&key), header);
        let now = Wall(1_614_265_330_000);
        assert_eq!(verify_standard(&key, id, "1614265330", header, body, now, 0), Ok(()));
        let bare = secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(standard(&bare), header);
        assert_eq!(standard_form(&bare), key);
    }

    #[test]
    fn which_headers_are_sent() {
        let (one, two) = (secret("one"), secret("two"));
        let names = |headers: &[(&'static str, String)]| -> Vec<&str> {
            headers.iter().map(|(name, _)| *name).collect()
        };
        let unsigned = signatures(&webhook(None, None), &ID, 7, BODY);
        assert_eq!(names(&unsigned), [WEBHOOK_ID, WEBHOOK_TIMESTAMP]);
        assert_eq!(value(&unsigned, WEBHOOK_ID), ID.to_string());
        assert_eq!(value(&unsigned, WEBHOOK_TIMESTAMP), "7");
        let now_s = NOW.unix_seconds();
        let rotating = signatures(&webhook(Some(&one), Some(&two)), &ID, now_s, BODY);
        let all = [UPLOADCARE_SIGNATURE, WEBHOOK_ID, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE];
        assert_eq!(names(&rotating), all);
        assert_eq!(value(&rotating, WEBHOOK_SIGNATURE).split(' ').count(), 2);
        assert_eq!(check(&one, &rotating, BODY), Ok(()));
        assert_eq!(check(&two, &rotating, BODY), Ok(()));
        let uc = value(&rotating, UPLOADCARE_SIGNATURE);
        assert_eq!(verify_uc(&one, uc, BODY), Ok(()));
        assert!(verify_uc(&two, uc, BODY).is_err());
    }

    #[test]
    fn bare_and_lancer() {
        let key = secret("one");
        let mut hook = webhook(Some(&key), Some(&secret("two")));
        let digits = signatures(&hook, &ID, 7, BODY)[0].1.clone();
        hook.options.signature_style = SignatureStyle::Bare;
        let bare = signatures(&hook, &ID, 7, BODY);
        assert_eq!(digits, format!("v1={}", bare[0].1));
        assert_eq!(verify_uc(&key, &bare[0].1, BODY), Ok(()));
        assert!(!bare.iter().any(|(name, _)| *name == LANCER_SIGNATURE));
        hook.format = Format::Lancer;
        let lancer = signatures(&hook, &ID, 7, br#"{"a":1}"#);
        // Python: hmac.new(b"one", b'7.{"a":1}', "sha256").hexdigest()
        assert_eq!(value(&lancer, LANCER_SIGNATURE), PYTHON);
        assert_eq!(value(&lancer, LANCER_TIMESTAMP), "7");
        let now = Wall(307_000);
        let verify = |key: &Secret, at: &str, header: &str, body: &[u8], now| {
            verify_lancer(key, at, header, body, now, 300)
        };
        let mismatch = |cause| Err(VerifyError::Mismatch(cause));
        assert_eq!(verify(&key, "7", PYTHON, br#"{"a":1}"#, now), Ok(()));
        assert_eq!(
            verify(&key, "7", PYTHON, br#"{"a":1}"#, now.plus(1_000)),
            Err(VerifyError::Skew { off_s: 301, future: false, tolerance_s: 300 })
        );
        for (key, at, body, cause) in [
            (&key, "7", &br#"{"a": 1}"#[..], Cause::Reserialised),
            (&key, "7", b"{\"a\":1}\n", Cause::WhiteSpace),
            (&key, "8", br#"{"a":1}"#, Cause::Unknown),
            (&secret("two"), "7", br#"{"a":1}"#, Cause::Unknown),
            (&secret("one\n"), "7", br#"{"a":1}"#, Cause::SecretForm { base64: false }),
        ] {
            assert_eq!(verify(key, at, PYTHON, body, now), mismatch(cause));
        }
        let prefixed = format!("v1={PYTHON}");
        for header in ["", &prefixed, &PYTHON.to_uppercase()] {
            let got = verify(&key, "7", header, b"", now);
            assert!(matches!(got, Err(VerifyError::Header(_))), "{header}");
        }
        for at in ["", "+7", "7.0"] {
            let got = verify(&key, at, PYTHON, b"", now);
            assert_eq!(got, Err(VerifyError::Timestamp(LANCER_TIMESTAMP)));
        }
        hook.secret = None;
        hook.rotation = None;
        let unsigned = signatures(&hook, &ID, 7, BODY);
        assert_eq!(unsigned.len(), 2, "{unsigned:?}");
    }

    const PYTHON: &str = "b22aaced9b97ac5b96bd554210bb3efee93f7bc76dc7dbc138531b64d6d4c7ba";

    #[test]
    fn keys_of_standard_webhooks() {
        let bytes = |text: &str| standard_key(text).to_vec();
        let alphanumeric = "abcdefghijklmnopqrstuvwxyz012345";
        assert_eq!(bytes(alphanumeric).len(), 24);
        assert_eq!(bytes(&format!("whsec_{alphanumeric}")), bytes(alphanumeric));
        for text in [
            "12345X",
            "whsec-abcdefghijklmnopqrstuvwxyz012345",
            "whsec_12345X",
            "abcdefghijklmnopqrstuvwxyz01234", // 31 characters are no base64
            "YWJj",                            // too short once decoded
            "abcdefghijklmnopqrstuvwxyz01234_", // the URL alphabet is another one
            "",
        ] {
            assert_eq!(bytes(text), text.as_bytes(), "{text}");
        }
        assert_eq!(bytes(&STANDARD.encode([7; 64])).len(), 64);
        assert_eq!(bytes(&STANDARD.encode([7; 65])).len(), 88);
    }

    #[test]
    fn tells_the_classic_causes() {
        let key = secret("abcdefghijklmnopqrstuvwxyz012345");
        let headers = signed(&key, NOW.unix_seconds(), BODY);
        let uc = value(&headers, UPLOADCARE_SIGNATURE);
        let mismatch = |cause| Err(VerifyError::Mismatch(cause));
        for (body, cause) in [
            (&br#"{"a": 1, "b": "\u0001"}"#[..], Cause::Reserialised),
            (br#"{"a":1.0,"b":"\u0001"}"#, Cause::Reserialised),
            (b"{\"a\":1,\"b\":\"\\u0001\"}\n", Cause::WhiteSpace),
            (b"{}", Cause::Unknown),
            (b"not json", Cause::Unknown),
        ] {
            assert_eq!(verify_uc(&key, uc, body), mismatch(cause));
            assert_eq!(check(&key, &headers, body), mismatch(cause));
        }
        let prefixed = secret("whsec_abcdefghijklmnopqrstuvwxyz012345");
        assert_eq!(verify_uc(&prefixed, uc, BODY), mismatch(Cause::SecretForm { base64: false }));
        assert_eq!(check(&prefixed, &headers, BODY), Ok(()));
        let spaced = secret("abcdefghijklmnopqrstuvwxyz012345\n");
        assert_eq!(check(&spaced, &headers, BODY), mismatch(Cause::SecretForm { base64: true }));
        assert_eq!(check(&secret("other"), &headers, BODY), mismatch(Cause::Unknown));
        // A sender that signs with the text where the scheme wants the decoded bytes.
        let raw = STANDARD.encode(mac(key.expose().as_bytes(), &[b"i.1.", BODY]));
        let text = verify_standard(&key, "i", "1", &format!("v1,{raw}"), BODY, Wall(1_000), 5);
        assert_eq!(text, mismatch(Cause::SecretForm { base64: true }));
    }

    #[test]
    fn skew_and_malformed_headers() {
        let key = secret("k");
        for (signed_at, want) in [
            (NOW.unix_seconds() - 300, Ok(())),
            (NOW.unix_seconds() + 300, Ok(())),
            (
                NOW.unix_seconds() - 301,
                Err(VerifyError::Skew { off_s: 301, future: false, tolerance_s: 300 }),
            ),
            (
                NOW.unix_seconds() + 301,
                Err(VerifyError::Skew { off_s: 301, future: true, tolerance_s: 300 }),
            ),
        ] {
            let headers = signed(&key, signed_at, BODY);
            assert_eq!(check(&key, &headers, BODY), want);
        }
        let standard = |at: &str, header: &str| verify_standard(&key, "i", at, header, b"", NOW, 1);
        for at in ["", "+1", "1.0", "99999999999999999999"] {
            assert_eq!(standard(at, "v1,AA=="), Err(VerifyError::Timestamp(WEBHOOK_TIMESTAMP)));
        }
        for header in ["", "v1,", "v2,AA==", "v1=AA==", "v1,A", "v1a,AA=="] {
            let got = standard("1", header);
            let empty = header == "v1,"; // decodes to nothing, and matches nothing
            assert!(
                matches!(got, Err(VerifyError::Header(_))) || empty && got.is_err(),
                "{header}"
            );
        }
        let upper = format!("v1={}", "A".repeat(64));
        for header in ["", "v1=", "v1=ab", "v2=", &upper, "v1,AA=="] {
            assert!(matches!(verify_uc(&key, header, b""), Err(VerifyError::Header(_))));
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in "\\PC{1,40}", body in proptest::collection::vec(any::<u8>(), 0..200), flip in any::<u8>()) {
            let key = secret(&text);
            let headers = signed(&key, NOW.unix_seconds(), &body);
            prop_assert_eq!(verify_uc(&key, value(&headers, UPLOADCARE_SIGNATURE), &body), Ok(()));
            prop_assert_eq!(check(&key, &headers, &body), Ok(()));
            let mut other = body.clone();
            other.push(flip);
            prop_assert!(verify_uc(&key, value(&headers, UPLOADCARE_SIGNATURE), &other).is_err());
            prop_assert!(check(&key, &headers, &other).is_err());
        }

        #[test]
        fn never_panics(text in "\\PC*", header in "(v1[,=])?[\\PC]*", body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = verify_uc(&secret(&text), &header, &body);
            let _ = verify_standard(&secret(&text), &text, "1", &header, &body, NOW, 1);
        }
    }
}
