//! `verify`: check the signatures of a request whose body is on stdin.
//!
//! Owns what is said of each signature family. Must never print the secret.

use std::io::Read;

use super::webhook::secret;
use crate::app::Stop;
use crate::app::args::Verify;
use crate::app::exit::Exit;
use crate::app::terminal::say;
use crate::clock;
use crate::dialect::object::Object;
use crate::logic::sign::{self, VerifyError};
use crate::model::time::SECOND_MS;

/// Largest body and header file, in bytes.
const INPUT_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

pub(crate) fn run(verify: &Verify, json: bool) -> Result<Exit, Stop> {
    let secret = secret(&verify.secret)?.ok_or_else(|| {
        Stop::new(Exit::Usage, "a signing secret is needed: --secret-file or --secret")
    })?;
    let text = std::fs::read_to_string(&verify.headers).map_err(|error| {
        Stop::new(Exit::Failure, format!("{}: {error}", verify.headers.display()))
    })?;
    let headers = Headers::read(&text);
    let mut body = Vec::new();
    std::io::stdin()
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(|error| Stop::new(Exit::Failure, format!("stdin: {error}")))?;
    let now = clock::now().wall;
    let uploadcare = headers
        .get(sign::UPLOADCARE_SIGNATURE)
        .map(|header| sign::verify_uc(&secret, header, &body));
    let standard = headers.get(sign::WEBHOOK_SIGNATURE).map(|header| {
        sign::verify_standard(
            &secret,
            headers.get(sign::WEBHOOK_ID).unwrap_or_default(),
            headers.get(sign::WEBHOOK_TIMESTAMP).unwrap_or_default(),
            header,
            &body,
            now,
            verify.tolerance_ms / SECOND_MS,
        )
    });
    let lancer = headers.get(sign::LANCER_SIGNATURE).map(|header| {
        let timestamp = headers.get(sign::LANCER_TIMESTAMP).unwrap_or_default();
        let tolerance_s = verify.tolerance_ms / SECOND_MS;
        sign::verify_lancer(&secret, timestamp, header, &body, now, tolerance_s)
    });
    let families = [
        (sign::UPLOADCARE_SIGNATURE, uploadcare),
        (sign::LANCER_SIGNATURE, lancer),
        (sign::WEBHOOK_SIGNATURE, standard),
    ];
    let present: Vec<_> =
        families.into_iter().filter_map(|(name, result)| Some((name, result?))).collect();
    if present.is_empty() {
        let text = format!("{} holds no signature header", verify.headers.display());
        return Err(Stop::new(Exit::Failure, text));
    }
    let sound = present.iter().all(|(_, result)| result.is_ok());
    for (name, result) in &present {
        tell(name, result, json);
    }
    Ok(if sound { Exit::Ok } else { Exit::Failure })
}

fn tell(name: &str, result: &Result<(), VerifyError>, json: bool) {
    let reason = result.as_ref().err().map(ToString::to_string);
    if json {
        let line = Object::new()
            .text("signature", name)
            .flag("verified", result.is_ok())
            .text_or_null("reason", reason.as_deref())
            .end();
        say(&String::from_utf8_lossy(&line));
    } else {
        match reason {
            None => say(&format!("{name} ✓")),
            Some(reason) => say(&format!("{name} ✗  {reason}")),
        }
    }
}

/// `Name: value` lines, as `curl -i` and proxies print them.
struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    fn read(text: &'a str) -> Headers<'a> {
        let line = |line: &'a str| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim(), value.trim()))
        };
        Headers(text.lines().filter_map(line).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}
