//! Who a request claims to be, and whether its signature proves it.
//!
//! Owns the `Authorization` schemes, the signed text and the date window. Must never look a key up
//! or read a body before its date was checked: [`SignedRequest`] can't be made without a
//! [`RequestDate`].

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use crate::logic::sign::hex;
use crate::model::project::key_is_sound;
use crate::model::secret::Secret;
use crate::model::time::{MINUTE_MS, Wall, parse_http_date};

/// How far a request's date may be from ours, either way.
pub const DATE_WINDOW_MS: u64 = 15 * MINUTE_MS;

/// What an `Authorization` header says. Nothing of it is proved yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// `Uploadcare.Simple public:secret`
    Simple {
        /// The project's public key.
        public_key: &'a str,
        /// The secret key itself.
        secret_key: &'a str,
    },
    /// `Uploadcare public:signature`
    Signed {
        /// The project's public key.
        public_key: &'a str,
        /// Lower-case hexadecimal HMAC-SHA1.
        signature: &'a str,
    },
    /// `Bearer secret`: the secret key also finds the project.
    Bearer {
        /// The secret key itself.
        secret_key: &'a str,
    },
}

/// Why a request is not who it claims to be (401). `Display` is for the log, [`AuthError::detail`]
/// for the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// No `Authorization` header.
    #[error("no Authorization header")]
    Missing,
    /// A header that is none of the three schemes.
    #[error("malformed Authorization header")]
    Malformed,
    /// No project has this public key.
    #[error("unknown public key")]
    PublicKeyUnknown(String),
    /// The secret key is not this project's, or nobody's.
    #[error("wrong secret key")]
    SecretKeyUnknown,
    /// Signed, but without a date.
    #[error("a signed request without a date")]
    DateMissing,
    /// A date in no known form.
    #[error("a signed request with a malformed date")]
    DateMalformed,
    /// A date further away than [`DATE_WINDOW_MS`].
    #[error("a signed request whose date is {off_s} s off, more than 15 minutes")]
    DateOutside {
        /// Seconds between the request's clock and ours.
        off_s: u64,
    },
    /// The signature is not that of any of the project's keys.
    #[error("wrong signature")]
    Signature,
}

/// A date header that was within the window, as it was sent: that text is signed.
#[derive(Clone, Copy, Debug)]
pub struct RequestDate<'a>(&'a str);

/// What a signature covers besides the body.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The raw `Content-Type` value, empty without one.
    pub content_type: &'a [u8],
    /// The date that was checked.
    pub date: RequestDate<'a>,
    /// Path and query exactly as in the request line.
    pub path_and_query: &'a str,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::Simple { public_key, .. } => write!(f, "Simple({public_key})"),
            Credentials::Signed { public_key, .. } => write!(f, "Signed({public_key})"),
            Credentials::Bearer { .. } => f.write_str("Bearer"),
        }
    }
}

impl AuthError {
    /// The text that Uploadcare answers with.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            AuthError::PublicKeyUnknown(key) => format!("Public key {key} not found."),
            AuthError::SecretKeyUnknown => "Secret key not found.".to_owned(),
            AuthError::Signature => "Invalid signature. Please check your Secret key.".to_owned(),
            AuthError::Missing
            | AuthError::Malformed
            | AuthError::DateMissing
            | AuthError::DateMalformed
            | AuthError::DateOutside { .. } => "Incorrect authentication credentials.".to_owned(),
        }
    }
}

/// Reads an `Authorization` header.
pub fn credentials(authorization: Option<&str>) -> Result<Credentials<'_>, AuthError> {
    let text = authorization.ok_or(AuthError::Missing)?.trim();
    let (scheme, rest) = text.split_once(' ').ok_or(AuthError::Malformed)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("Bearer") && key_is_sound(rest) {
        return Ok(Credentials::Bearer { secret_key: rest });
    }
    let (public_key, proof) = rest.split_once(':').ok_or(AuthError::Malformed)?;
    if !key_is_sound(public_key) || !key_is_sound(proof) {
        return Err(AuthError::Malformed);
    }
    if scheme.eq_ignore_ascii_case("Uploadcare.Simple") {
        Ok(Credentials::Simple { public_key, secret_key: proof })
    } else if scheme.eq_ignore_ascii_case("Uploadcare") {
        Ok(Credentials::Signed { public_key, signature: proof })
    } else {
        Err(AuthError::Malformed)
    }
}

/// Whether a secret key is one of the project's, in a time that tells not which.
pub fn check_secret(keys: &[Secret], given: &str) -> Result<(), AuthError> {
    let found = keys.iter().fold(false, |found, key| key.matches(given) | found);
    if found { Ok(()) } else { Err(AuthError::SecretKeyUnknown) }
}

/// The first step of a signed request, before its body is read: the date that it signs
/// (`X-Uploadcare-Date` where present, for browsers can't set `Date`) has to be near ours.
pub fn request_date<'a>(
    x_uploadcare_date: Option<&'a str>,
    date: Option<&'a str>,
    now: Wall,
) -> Result<RequestDate<'a>, AuthError> {
    let text = x_uploadcare_date.or(date).ok_or(AuthError::DateMissing)?;
    let at = parse_http_date(text).ok_or(AuthError::DateMalformed)?;
    let off_ms = at.0.abs_diff(now.0);
    if off_ms > DATE_WINDOW_MS {
        return Err(AuthError::DateOutside { off_s: off_ms / 1_000 });
    }
    Ok(RequestDate(text))
}

impl SignedRequest<'_> {
    /// The second step: whether `signature` was made over this request by one of the project's
    /// keys, in a time that tells not which.
    pub fn verify(&self, keys: &[Secret], signature: &str, body: &[u8]) -> Result<(), AuthError> {
        let text = self.signed_text(body);
        let proved = keys.iter().fold(Choice::from(0), |proved, key| {
            proved | hmac_sha1(key, &text).as_bytes().ct_eq(signature.as_bytes())
        });
        if proved.into() { Ok(()) } else { Err(AuthError::Signature) }
    }

    /// The signature that a client would send.
    #[must_use]
    pub fn sign(&self, key: &Secret, body: &[u8]) -> String {
        hmac_sha1(key, &self.signed_text(body))
    }

    fn signed_text(&self, body: &[u8]) -> Vec<u8> {
        let digest = hex(&Md5::digest(body));
        let lines = [
            self.method.as_bytes(),
            digest.as_bytes(),
            self.content_type,
            self.date.0.as_bytes(),
            self.path_and_query.as_bytes(),
        ];
        lines.join(&b'\n')
    }
}

fn hmac_sha1(key: &Secret, text: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(text);
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Mon, 05 Nov 2018 13:14:41 GMT";
    const AT: Wall = Wall(1_541_423_681_000);

    fn key(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn request(target: &str) -> SignedRequest<'_> {
        let date = request_date(Some(DATE), None, AT).expect("timely");
        let content_type = b"application/json";
        SignedRequest { method: "GET", content_type, date, path_and_query: target }
    }

    #[test]
    fn vector_of_the_rust_and_go_clients() {
        let keys = [key("other"), key("demoprivatekey")];
        let signature = "3cbc4d2cf91f80c1ba162b926f8a975e8bec7995";
        let sound = request("/files/?limit=1&stored=true");
        assert_eq!(sound.sign(&keys[1], b""), signature);
        assert_eq!(sound.verify(&keys, signature, b""), Ok(()));
        let wrong = Err(AuthError::Signature);
        assert_eq!(sound.verify(&keys, signature, b" "), wrong);
        assert_eq!(sound.verify(&keys, &signature.to_uppercase(), b""), wrong);
        assert_eq!(sound.verify(&keys, &signature[..39], b""), wrong);
        assert_eq!(sound.verify(&keys, "", b""), wrong);
        assert_eq!(sound.verify(&keys[..1], signature, b""), wrong);
        assert_eq!(sound.verify(&[], signature, b""), wrong);
        assert_eq!(request("/files/?stored=true&limit=1").verify(&keys, signature, b""), wrong);
        let method = SignedRequest { method: "HEAD", ..sound };
        assert_eq!(method.verify(&keys, signature, b""), wrong);
        let bare = SignedRequest { content_type: b"", ..sound };
        assert_eq!(bare.verify(&keys, signature, b""), wrong);
    }

    #[test]
    fn captured_requests_of_real_clients_verify() {
        let form = "application/x-www-form-urlencoded";
        let create: &[u8] = b"target_url=https%3A%2F%2Fwebhook.site%2Fpyuploadcare-28792\
                              &event=file.uploaded&is_active=true";
        let unsubscribe: &[u8] = br#"{"target_url":"https://ucarecdn.com/?id=js-31366"}"#;
        for (method, path, content_type, date, body, signature) in [
            (
                "POST",
                "/webhooks/",
                form,
                "Sat, 21 Nov 2026, 16:54:33 GMT",
                create,
                "0c24d019ac410ef06b8156e2adf58b45f8a8914f",
            ),
            (
                "DELETE",
                "/webhooks/unsubscribe/",
                "application/json",
                "Sat, 21 Nov 2026 16:56:05 GMT",
                unsubscribe,
                "5270eb7ffc211eed5e37e1826a6371b94ea5db1c",
            ),
        ] {
            let now = parse_http_date(date).expect("a date");
            let date = request_date(None, Some(date), now).expect("timely");
            let content_type = content_type.as_bytes();
            let request = SignedRequest { method, content_type, date, path_and_query: path };
            assert_eq!(request.verify(&[key("demoprivatekey")], signature, body), Ok(()));
        }
    }

    #[test]
    fn window_is_fifteen_minutes_both_ways_inclusive() {
        for (now, timely) in [
            (AT.0, true),
            (AT.0 + DATE_WINDOW_MS, true),
            (AT.0 - DATE_WINDOW_MS, true),
            (AT.0 + DATE_WINDOW_MS + 1, false),
            (AT.0 - DATE_WINDOW_MS - 1, false),
        ] {
            assert_eq!(request_date(None, Some(DATE), Wall(now)).is_ok(), timely, "{now}");
        }
        // The header of the browser's client stands over Date.
        let old = "Mon, 05 Nov 2012 13:14:41 GMT";
        assert!(request_date(Some(DATE), Some(old), AT).is_ok());
        let outside = request_date(Some(old), Some(DATE), AT).expect_err("six years");
        assert!(matches!(outside, AuthError::DateOutside { off_s } if off_s > 1_000_000));
        assert_eq!(request_date(None, None, AT).expect_err("none"), AuthError::DateMissing);
        assert_eq!(request_date(None, Some("x"), AT).expect_err("x"), AuthError::DateMalformed);
        for comma in ["Mon, 05 Nov 2018, 13:14:41 GMT", "Mon, 05 Nov 2018 13:14:41 +0000"] {
            assert_eq!(request_date(None, Some(comma), AT).expect(comma).0, comma);
        }
    }

    #[test]
    fn schemes() {
        let simple = Credentials::Simple { public_key: "pub", secret_key: "sec" };
        assert_eq!(credentials(Some("Uploadcare.Simple pub:sec")), Ok(simple));
        let signed = Credentials::Signed { public_key: "pub", signature: "ab" };
        assert_eq!(credentials(Some("Uploadcare pub:ab")), Ok(signed));
        let bearer = Credentials::Bearer { secret_key: "sec" };
        assert_eq!(credentials(Some("bearer  sec ")), Ok(bearer));
        assert!(!format!("{simple:?} {signed:?} {bearer:?}").contains("sec"));
        assert_eq!(credentials(None), Err(AuthError::Missing));
        for text in [
            "",
            "Uploadcare",
            "Uploadcare pub",
            "Uploadcare :sig",
            "Uploadcare pub:",
            "Uploadcare pub:a:b",
            "Uploadcare p ub:a",
            "UploadCare2 pub:a",
            "Basic cHViOnNlYw==",
            "Bearer",
            "Bearer a b",
            "Bearer é",
        ] {
            assert_eq!(credentials(Some(text)), Err(AuthError::Malformed), "{text}");
        }
    }

    #[test]
    fn secrets_and_texts() {
        let keys = [key("a"), key("b")];
        assert_eq!(check_secret(&keys, "a"), Ok(()));
        assert_eq!(check_secret(&keys, "b"), Ok(()));
        assert_eq!(check_secret(&keys, "c"), Err(AuthError::SecretKeyUnknown));
        assert_eq!(check_secret(&[], ""), Err(AuthError::SecretKeyUnknown));
        for (error, text) in [
            (AuthError::Missing, "Incorrect authentication credentials."),
            (AuthError::DateOutside { off_s: 901 }, "Incorrect authentication credentials."),
            (AuthError::PublicKeyUnknown("p".to_owned()), "Public key p not found."),
            (AuthError::SecretKeyUnknown, "Secret key not found."),
            (AuthError::Signature, "Invalid signature. Please check your Secret key."),
        ] {
            assert_eq!(error.detail(), text);
        }
    }
}
