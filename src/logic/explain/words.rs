//! The words for every [`Reason`]: what it is, what happens next, and what a person can do.
//!
//! Owns the text, in one place. Must never decide anything. The words of a reason are plain, and
//! name the setting or the request that changes it.

use super::{Ahead, Cause, Place, Reason};
use crate::logic::dispatcher::standing::Refused;
use crate::model::attempt::{self, Failure, NextWhy, Outcome};
use crate::model::delivery::Ending;
use crate::model::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Wall};

/// A reason in words and in fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its name, for programs.
    pub reason: String,
    /// What it is.
    pub explanation: String,
    /// What happens next.
    pub next: String,
    /// When, if that is known.
    pub next_at: Option<Wall>,
    /// What a person can do, if anything.
    pub action: Option<String>,
    /// All that the words hold, for programs.
    pub fields: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// An instant.
    At(Wall),
    /// An instant that is not known.
    None,
}

/// Nothing more happens.
const NOTHING: &str = "Nothing: it has ended.";

/// The words for a reason.
#[must_use]
pub fn words(reason: &Reason, place: &Place<'_>) -> Words {
    let name = name(reason);
    let (explanation, next, next_at, action) = match pending(reason, place) {
        Some((explanation, next, next_at, action)) => (explanation, next, next_at, action),
        None => {
            let (explanation, action) = finished(reason, place);
            (explanation, NOTHING.to_owned(), None, action)
        }
    };
    Words { reason: name, explanation, next, next_at, action, fields: fields(reason) }
}

/// The name of a reason, for programs.
#[must_use]
pub fn name(reason: &Reason) -> String {
    let name = match reason {
        Reason::InFlight { .. } => "in_flight",
        Reason::Settling => "settling",
        Reason::Ending(_) => "ending",
        Reason::Expiring { .. } => "expiring",
        Reason::EventErased => "event_erased",
        Reason::WebhookPaused { .. } => "webhook_paused",
        Reason::TargetPaused { .. } => "target_paused",
        Reason::Held => "held",
        Reason::RetryAfter { .. } => "retry_after",
        Reason::Retry { cause: Some(cause), .. } => {
            return format!("retry_{}", cause.reason().as_str());
        }
        Reason::Retry { cause: None, .. } => "retry",
        Reason::Again { .. } => "again",
        Reason::TargetFailing { .. } => "target_failing",
        Reason::WebhookFailing { .. } => "webhook_failing",
        Reason::WebhookConcurrency(_) => "webhook_concurrency",
        Reason::TargetConcurrency(_) => "target_concurrency",
        Reason::WebhookRate(..) => "webhook_rate",
        Reason::TargetRate(..) => "target_rate",
        Reason::TargetUnproven => "target_unproven",
        Reason::DaemonConcurrency(_) => "daemon_concurrency",
        Reason::Queued(_) => "queued",
        Reason::Delivered { .. } => "delivered",
        Reason::Expired { .. } => "expired",
        Reason::DisabledGone { .. } => "disabled_gone",
        Reason::DisabledOperator { .. } => "disabled_operator",
        Reason::DisabledFailing { .. } => "disabled_failing",
        Reason::Disabled { .. } => "disabled",
        Reason::Damaged { .. } => "damaged",
        Reason::WebhookInactive { .. } => "webhook_inactive",
        Reason::WebhookDeleted { .. } => "webhook_deleted",
        Reason::Erased { .. } => "erased",
        Reason::Requested { .. } => "requested",
    };
    name.to_owned()
}

/// What it is, what happens next and when, what can be done.
type Told = (String, String, Option<Wall>, Option<String>);

#[allow(clippy::too_many_lines, reason = "one arm for each reason, in one place")]
fn pending(reason: &Reason, place: &Place<'_>) -> Option<Told> {
    let id = place.webhook;
    let target = target(place);
    let told = |what: String, next: &str, at: Option<Wall>, action: Option<String>| {
        Some((what, next.to_owned(), at, action))
    };
    let by_itself = "Nothing has to be done.";
    match *reason {
        Reason::InFlight { attempt, started } => told(
            format!("Attempt {attempt} is under way since {started}."),
            "The target answers, or the attempt ends after [delivery] attempt_timeout.",
            None,
            None,
        ),
        Reason::Settling => told(
            "What came of an attempt, or a change of its webhook, is being written.".to_owned(),
            "Its new state shows in a moment.",
            None,
            Some(by_itself.to_owned()),
        ),
        Reason::Ending(ending) => told(
            format!("It won't be attempted any more: {}.", ending_words(ending)),
            "It is about to be written down as ended.",
            None,
            Some(format!(
                "Later events are delivered while webhook {id} is active: is_active=true in PUT \
                 /webhooks/{id}/."
            )),
        ),
        Reason::Expiring { deadline } => told(
            format!("Its time was over at {deadline}: 72 hours of attempts."),
            "It is about to end as failed (expired).",
            None,
            None,
        ),
        Reason::EventErased => told(
            "Its event's payload was erased: there is nothing to send.".to_owned(),
            "It ends as cancelled (erased) when its turn comes, without a request.",
            None,
            None,
        ),
        Reason::WebhookPaused { since } => told(
            format!(
                "Webhook {id} is paused since {since}. Its deliveries are kept, and their \
                     clocks stand still."
            ),
            "It goes on where it was when the webhook is resumed.",
            None,
            Some(format!("POST /webhooks/{id}/resume/, or postrider webhook resume {id}.")),
        ),
        Reason::TargetPaused { since } => told(
            format!(
                "The operator has paused {target} since {since}. Its deliveries are kept, and \
                     their clocks stand still."
            ),
            "It goes on where it was when the target is resumed.",
            None,
            Some(format!("The operator: postrider target resume {target}.")),
        ),
        Reason::Held => told(
            "The daemon makes no attempts now: it is shutting down.".to_owned(),
            "It goes on when the daemon runs again.",
            None,
            Some("Start postrider serve.".to_owned()),
        ),
        Reason::RetryAfter { until, cause } => told(
            format!(
                "The target asked by Retry-After not to be called before {until}{}.",
                cause.map(|cause| format!("; {}", cause_words(cause))).unwrap_or_default()
            ),
            "It is attempted then.",
            Some(until),
            Some("Let the receiver send a shorter Retry-After, or none.".to_owned()),
        ),
        Reason::Retry { at, cause, why } => told(
            match cause {
                Some(cause) => format!("{}.", capital(&cause_words(cause))),
                None => "Its last attempt failed; what came of it is not in the log any more."
                    .to_owned(),
            },
            why_words(why),
            Some(at),
            Some(cause.map_or("Look at the receiver's log.", cause_action).to_owned()),
        ),
        Reason::Again { at } => told(
            "It could not be attempted for want of something of the daemon's own (file \
             descriptors, ports, or a read of its store). The target is not to blame."
                .to_owned(),
            "It is tried again in seconds; this counts as no attempt.",
            Some(at),
            Some("Look at the daemon's log; raise its limit of open files.".to_owned()),
        ),
        Reason::TargetFailing { probe_at } => told(
            format!(
                "Connections to {target} failed one after another. What was never attempted \
                     waits, so that no delivery is used up on a dead target."
            ),
            match probe_at {
                Some(_) => "One delivery is tried as a probe then; if it arrives, all go on.",
                None => "A probe is under way; if it arrives, all go on.",
            },
            probe_at,
            Some("Bring the receiver back; the next probe finds it.".to_owned()),
        ),
        Reason::WebhookFailing { probe_at } => told(
            format!(
                "The receiver of webhook {id} refused one delivery after another. What was \
                     never attempted waits, so that no delivery is used up on it."
            ),
            match probe_at {
                Some(_) => "One delivery is tried as a probe then; if it arrives, all go on.",
                None => "A probe is under way; if it arrives, all go on.",
            },
            probe_at,
            Some("Repair the receiver; the next probe finds it.".to_owned()),
        ),
        Reason::WebhookConcurrency(slots) => told(
            format!("{} of webhook {id}, and no more may be at once.", under_way(slots.used)),
            "It is attempted when one of them has ended.",
            None,
            Some(format!("Raise in_flight of the webhook: PUT /webhooks/{id}/.")),
        ),
        Reason::TargetConcurrency(slots) => told(
            format!("{} to {target}, and no more may be at once.", under_way(slots.used)),
            "It is attempted when one of them has ended.",
            None,
            Some(format!(
                "The operator: postrider target set {target} --in-flight N, or [delivery] \
                 target_in_flight."
            )),
        ),
        Reason::WebhookRate(refused, ahead) => told(
            format!(
                "Webhook {id} takes {} attempts a second{}.",
                refused.rate.per_second,
                ahead_words(ahead, ", and ")
            ),
            "It is attempted in its turn, at that rate.",
            Some(turn_at(refused, ahead)),
            Some(format!("Raise rate_per_second of the webhook: PUT /webhooks/{id}/.")),
        ),
        Reason::TargetRate(refused, ahead) => told(
            format!(
                "{target} takes {} attempts a second, from all of its webhooks{}.",
                refused.rate.per_second,
                ahead_words(ahead, "; ")
            ),
            "It is attempted in its turn, at that rate.",
            Some(turn_at(refused, ahead)),
            Some(format!(
                "The operator: postrider target set {target} --rate N, or [delivery] target_rate_per_second."
            )),
        ),
        Reason::TargetUnproven => told(
            format!(
                "{target} has not answered lately. Such targets share a quarter of the \
                     daemon's attempts, and that is in use."
            ),
            "It is attempted when one of those attempts has ended.",
            None,
            Some(by_itself.to_owned()),
        ),
        Reason::DaemonConcurrency(slots) => told(
            format!("{}, and the daemon makes no more at once.", under_way(slots.used)),
            "It is attempted when one of them has ended.",
            None,
            Some("Raise [delivery] in_flight.".to_owned()),
        ),
        Reason::Queued(ahead) => told(
            format!("It is due{}.", ahead_words(ahead, "; ")),
            "It is attempted in its turn.",
            None,
            Some(by_itself.to_owned()),
        ),
        _ => None,
    }
}

fn finished(reason: &Reason, place: &Place<'_>) -> (String, Option<String>) {
    let id = place.webhook;
    match *reason {
        Reason::Delivered { at, after_ms, cause } => {
            let answer = match cause.map(|cause| cause.outcome) {
                Some(Outcome::Status(code)) => format!(" with {code}"),
                _ => String::new(),
            };
            let attempt = match cause.map(|cause| cause.number) {
                Some(1) => "the first attempt".to_owned(),
                Some(number) => format!("attempt {number}"),
                None => "an attempt".to_owned(),
            };
            let after = span(after_ms);
            let what = format!(
                "It arrived at {at}: {} answered {attempt}{answer}, {after} after the event was \
                 accepted.",
                target(place)
            );
            (what, None)
        }
        Reason::Expired { at, cause } => {
            let cause = match cause {
                Some(cause) => format!("; {}", cause_words(cause)),
                None => "; no attempt is in its log".to_owned(),
            };
            let what = format!("It was given up at {at}, after 72 hours{cause}.");
            (
                what,
                Some(
                    "Repair the receiver, then send it again: POST /deliveries/{id}/resend/."
                        .to_owned(),
                ),
            )
        }
        Reason::DisabledGone { at, by_this } => {
            let whom = if by_this { "this delivery" } else { "another delivery" };
            let what = format!(
                "It was given up at {at}: the target answered {whom} with 410 Gone, which says \
                 that it wants none of webhook {id} any more."
            );
            (what, Some(activate(id)))
        }
        Reason::DisabledOperator { at } => (
            format!("It was given up at {at}: the operator disabled webhook {id}."),
            Some(activate(id)),
        ),
        Reason::DisabledFailing { at } => (
            format!(
                "It was given up at {at}: no attempt of webhook {id} had succeeded for longer than \
                 [delivery] disable_failing_after, which disabled it."
            ),
            Some(activate(id)),
        ),
        Reason::Disabled { at } => (
            format!("It was given up at {at}: webhook {id} was disabled then, and is not now."),
            Some("Send it again: POST /deliveries/{id}/resend/.".to_owned()),
        ),
        Reason::Damaged { at } => (
            format!(
                "It was given up at {at}: its record or its event's was found damaged on disk, and \
                 set aside."
            ),
            Some("Look at the disk and the daemon's log; send it again.".to_owned()),
        ),
        Reason::WebhookInactive { at } => (
            format!("It was cancelled at {at}: webhook {id} was made inactive."),
            Some(format!(
                "{} To keep what waits, pause a webhook instead: POST /webhooks/{id}/pause/.",
                activate(id)
            )),
        ),
        Reason::WebhookDeleted { at } => (
            format!("It was cancelled at {at}: webhook {id} was deleted or unsubscribed."),
            Some("Make the webhook again, and publish the event again.".to_owned()),
        ),
        Reason::Erased { at } => {
            (format!("It was cancelled at {at}: its event's payload was erased."), None)
        }
        Reason::Requested { at } => (
            format!("It was cancelled at {at}, as somebody asked."),
            Some("Send it after all: POST /deliveries/{id}/resend/.".to_owned()),
        ),
        _ => (String::new(), None),
    }
}

fn activate(id: u32) -> String {
    format!("Make it active again: is_active=true in PUT /webhooks/{id}/.")
}

fn target(place: &Place<'_>) -> String {
    place.target.map_or_else(|| "its target".to_owned(), ToString::to_string)
}

fn under_way(used: u32) -> String {
    match used {
        1 => "1 attempt is under way".to_owned(),
        used => format!("{used} attempts are under way"),
    }
}

fn ahead_words(ahead: Ahead, before: &str) -> String {
    let at_least = if ahead.is_exact { "" } else { "at least " };
    match ahead.deliveries {
        0 if ahead.is_exact => String::new(),
        1 => format!("{before}{at_least}1 delivery of the webhook is before it"),
        count => format!("{before}{at_least}{count} deliveries of the webhook are before it"),
    }
}

/// When its turn comes at a rate, about.
fn turn_at(refused: Refused, ahead: Ahead) -> Wall {
    let per_second = u64::from(refused.rate.per_second.get());
    refused.until.plus(ahead.deliveries.saturating_mul(SECOND_MS) / per_second)
}

fn ending_words(ending: Ending) -> &'static str {
    match ending.words() {
        (_, Some("disabled")) => "its webhook was disabled",
        (_, Some("inactive")) => "its webhook was made inactive",
        (_, Some("deleted")) => "its webhook was deleted",
        (_, Some("erased")) => "its event was erased",
        _ => "it was given up",
    }
}

fn why_words(why: Option<NextWhy>) -> &'static str {
    match why {
        Some(NextWhy::Deadline) => "It is attempted once more, shortly before its 72 hours end.",
        Some(NextWhy::Overdue) => {
            "It is attempted at once: the attempt before took until its next slot."
        }
        _ => "It is attempted again then, by the retry table.",
    }
}

fn cause_words(cause: Cause) -> String {
    let number = cause.number;
    match cause.outcome {
        Outcome::Status(code) => {
            let meaning = match cause.reason() {
                attempt::Reason::Redirect => ", a redirect, which is never followed",
                attempt::Reason::TooManyRequests => ": it takes no more requests now",
                attempt::Reason::ServerError => ", an error of its own",
                attempt::Reason::ClientError => ": it did not accept the request",
                _ => "",
            };
            format!("attempt {number} was answered with {code}{meaning}")
        }
        Outcome::Failure(failure) => {
            format!("attempt {number} got no answer: {}", failure_words(failure))
        }
    }
}

fn failure_words(failure: Failure) -> &'static str {
    match failure {
        Failure::Dns => "the target's name does not resolve",
        Failure::DnsTimeout => "the resolver did not answer in time",
        Failure::AddressForbidden => "the target's address is private or reserved, and not allowed",
        Failure::ConnectRefused => "the target refused the connection",
        Failure::ConnectFailed => "the connection could not be made",
        Failure::ConnectTimeout => "the connection was not made in time",
        Failure::TlsCertificate => "the target's certificate is not valid for it",
        Failure::TlsVersion => "the target speaks no TLS version or cipher that is spoken here",
        Failure::TlsHandshake => "the TLS handshake failed",
        Failure::TlsTimeout => "the TLS handshake was not done in time",
        Failure::Timeout => "the target did not answer within [delivery] attempt_timeout",
        Failure::ConnectionClosed => "the target closed the connection before its answer was whole",
        Failure::ResponseMalformed => "the target's answer is not HTTP/1",
        Failure::ResponseTooLarge => "the headers of the target's answer are too large",
        Failure::TooManyInterim => "the target sent one interim answer after another",
        Failure::RequestInvalid => "the stored request can't be sent",
        Failure::Interrupted => "the daemon stopped",
        Failure::OutOfResources => "the daemon had no file descriptor or port left",
    }
}

fn cause_action(cause: Cause) -> &'static str {
    match cause.reason() {
        attempt::Reason::Redirect => "Set the webhook's target_url to the final address.",
        attempt::Reason::TooManyRequests => {
            "Lower rate_per_second of the webhook, or let the receiver take more."
        }
        attempt::Reason::ClientError => {
            "Look at the attempt's answer in /deliveries/{id}/: path, authentication, or a \
             signature that does not verify."
        }
        attempt::Reason::Failure(failure) => match failure {
            Failure::Dns | Failure::DnsTimeout => {
                "Check the host in the webhook's target_url, and the daemon's resolver."
            }
            Failure::AddressForbidden => {
                "The operator: allow the address in [delivery] allow, or in the project's allow."
            }
            Failure::ConnectRefused | Failure::ConnectFailed | Failure::ConnectTimeout => {
                "Check that the receiver runs and listens there, and that no firewall is between."
            }
            Failure::TlsCertificate
            | Failure::TlsVersion
            | Failure::TlsHandshake
            | Failure::TlsTimeout => {
                "Repair the receiver's TLS: its certificate, chain or versions."
            }
            Failure::Timeout => {
                "Let the receiver answer at once, and do its work after the answer."
            }
            _ => "Look at the receiver's log.",
        },
        _ => "Look at the receiver's log, and at the attempt's answer in /deliveries/{id}/.",
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

/// A span of time, as people say it.
fn span(ms: u64) -> String {
    match ms {
        0..SECOND_MS => format!("{ms} ms"),
        SECOND_MS..MINUTE_MS => format!("{} s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{} min", ms / MINUTE_MS),
        _ => format!("{} h", ms / HOUR_MS),
    }
}

fn fields(reason: &Reason) -> Vec<(&'static str, Value)> {
    let at = |at: Option<Wall>| at.map_or(Value::None, Value::At);
    let number = |number: u32| Value::Number(u64::from(number));
    match *reason {
        Reason::InFlight { attempt, started } => {
            vec![("attempt", number(attempt)), ("started_at", Value::At(started))]
        }
        Reason::Ending(ending) => {
            let (status, why) = ending.words();
            let why = why.map_or(Value::None, |why| Value::Text(why.to_owned()));
            vec![("ends_as", Value::Text(status.to_owned())), ("why", why)]
        }
        Reason::Expiring { deadline } => vec![("deadline", Value::At(deadline))],
        Reason::WebhookPaused { since } | Reason::TargetPaused { since } => {
            vec![("since", Value::At(since))]
        }
        Reason::RetryAfter { until, cause } => {
            [vec![("until", Value::At(until))], cause_fields(cause)].concat()
        }
        Reason::Retry { at, cause, why } => {
            let why = why.map_or(Value::None, |why| Value::Text(why.as_str().to_owned()));
            [vec![("at", Value::At(at)), ("why_then", why)], cause_fields(cause)].concat()
        }
        Reason::Again { at } => vec![("at", Value::At(at))],
        Reason::TargetFailing { probe_at } | Reason::WebhookFailing { probe_at } => {
            vec![("probe_at", at(probe_at)), ("is_probing", Value::Flag(probe_at.is_none()))]
        }
        Reason::WebhookConcurrency(slots)
        | Reason::TargetConcurrency(slots)
        | Reason::DaemonConcurrency(slots) => {
            vec![("in_flight", number(slots.used)), ("in_flight_max", number(slots.max))]
        }
        Reason::WebhookRate(refused, ahead) | Reason::TargetRate(refused, ahead) => {
            let rate = vec![
                ("rate_per_second", number(refused.rate.per_second.get())),
                ("permit_at", Value::At(refused.until)),
            ];
            [rate, ahead_fields(ahead)].concat()
        }
        Reason::Queued(ahead) => ahead_fields(ahead),
        Reason::Delivered { at, after_ms, cause } => {
            let what = vec![("at", Value::At(at)), ("after_ms", Value::Number(after_ms))];
            [what, cause_fields(cause)].concat()
        }
        Reason::Expired { at, cause } => {
            [vec![("at", Value::At(at))], cause_fields(cause)].concat()
        }
        Reason::DisabledGone { at, by_this } => {
            vec![("at", Value::At(at)), ("by_this_delivery", Value::Flag(by_this))]
        }
        Reason::DisabledOperator { at }
        | Reason::DisabledFailing { at }
        | Reason::Disabled { at }
        | Reason::Damaged { at }
        | Reason::WebhookInactive { at }
        | Reason::WebhookDeleted { at }
        | Reason::Erased { at }
        | Reason::Requested { at } => vec![("at", Value::At(at))],
        Reason::Settling | Reason::EventErased | Reason::Held | Reason::TargetUnproven => {
            Vec::new()
        }
    }
}

fn ahead_fields(ahead: Ahead) -> Vec<(&'static str, Value)> {
    let exact = Value::Flag(ahead.is_exact);
    vec![("ahead", Value::Number(ahead.deliveries)), ("is_ahead_exact", exact)]
}

fn cause_fields(cause: Option<Cause>) -> Vec<(&'static str, Value)> {
    let Some(cause) = cause else { return vec![("last_attempt", Value::None)] };
    let (code, failure) = match cause.outcome {
        Outcome::Status(code) => (Value::Number(u64::from(code)), Value::None),
        Outcome::Failure(failure) => (Value::None, Value::Text(failure.as_str().to_owned())),
    };
    let number = Value::Number(u64::from(cause.number));
    vec![("last_attempt", number), ("last_code", code), ("last_failure", failure)]
}
