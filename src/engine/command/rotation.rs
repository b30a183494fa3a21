//! The change of a webhook's signing secret, in two phases.
//!
//! Owns what each step makes of a webhook. Must never lose the secret that receivers know: the one
//! that signs every scheme changes in one write, and the other signs beside it before and after.
//!
//! ```text
//! none --begin--> staged --promote--> promoted --finish--> none
//!                   |                    |
//!                 abort                abort: the old secret is the webhook's own again
//! ```
//!
//! `webhook-signature` holds both secrets' signatures while two are known. `X-Uc-Signature` and
//! `x-signature` can hold one alone, and receivers compare the whole: they are made with the
//! webhook's own secret, so they change with the promotion, and not before.

use super::{Change, CommandError, Own, RotationStep, next_revision};
use crate::model::time::Wall;
use crate::model::webhook::{Rotation, RotationPhase, Webhook};

/// The webhook after a step; an empty change where the step was made before.
pub fn step(old: &Webhook, step: RotationStep, now: Wall) -> Result<Change, CommandError> {
    let mut webhook = next_revision(old, now);
    let rotation = webhook.rotation.take();
    match (step, rotation) {
        (RotationStep::Begin { secret, promote_after_ms, overlap_ms }, None) => {
            if webhook.secret.as_ref() == Some(&secret) {
                return Err(CommandError::Rotation("this is the webhook's secret already"));
            }
            let next_step = promote_after_ms.map(|after_ms| now.plus(after_ms));
            let phase = RotationPhase::Staged;
            webhook.rotation = Some(Rotation { secret, phase, next_step, overlap_ms });
        }
        (RotationStep::Begin { .. }, Some(_)) => {
            let text = "a change of the secret is under way; promote and finish it, or abort it";
            return Err(CommandError::Rotation(text));
        }
        (RotationStep::Promote, Some(rotation)) if rotation.phase == RotationPhase::Staged => {
            promote(&mut webhook, rotation, now);
        }
        (RotationStep::Promote, Some(_)) => return Ok(Change::default()),
        (RotationStep::Finish, Some(rotation)) if rotation.phase == RotationPhase::Promoted => {}
        (RotationStep::Finish, Some(_)) => {
            return Err(CommandError::Rotation("the next secret is staged; promote it first"));
        }
        (RotationStep::Abort, Some(rotation)) => {
            if rotation.phase == RotationPhase::Promoted {
                webhook.secret = Some(rotation.secret);
            }
        }
        (RotationStep::Promote | RotationStep::Finish | RotationStep::Abort, None) => {
            return Err(CommandError::Rotation("no change of the secret is under way"));
        }
    }
    Ok(changed(old, webhook))
}

/// The webhook after the step that is due by itself; `None` if none is.
#[must_use]
pub fn due(old: &Webhook, now: Wall) -> Option<Change> {
    let rotation = old.rotation.as_ref()?;
    if rotation.next_step.is_none_or(|at| at > now) {
        return None;
    }
    let mut webhook = next_revision(old, now);
    webhook.rotation = None;
    if rotation.phase == RotationPhase::Staged {
        promote(&mut webhook, rotation.clone(), now);
    }
    Some(Change { own: Some(Own::Rotation), ..changed(old, webhook) })
}

fn promote(webhook: &mut Webhook, staged: Rotation, now: Wall) {
    let old = webhook.secret.replace(staged.secret);
    // Without a secret before there is nothing to overlap with.
    webhook.rotation = old.map(|secret| Rotation {
        secret,
        phase: RotationPhase::Promoted,
        next_step: Some(now.plus(staged.overlap_ms)),
        overlap_ms: staged.overlap_ms,
    });
}

fn changed(old: &Webhook, webhook: Webhook) -> Change {
    let mut change = Change::default();
    change.expect_revision(old);
    change.put(webhook);
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::catalog::tests::webhook;
    use crate::model::secret::Secret;

    const NOW: Wall = Wall(1_000);

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    fn begin(promote_after_ms: Option<u64>) -> RotationStep {
        RotationStep::Begin { secret: secret("new"), promote_after_ms, overlap_ms: 50 }
    }

    fn made(old: &Webhook, one: RotationStep) -> Webhook {
        let change = step(old, one, NOW).expect("follows");
        change.puts.into_iter().next().expect("a webhook")
    }

    /// The own secret, the other one, and when the next step is.
    fn shown(webhook: &Webhook) -> (Option<&str>, Option<&str>, Option<u64>) {
        let rotation = webhook.rotation.as_ref();
        (
            webhook.secret.as_ref().map(Secret::expose),
            rotation.map(|rotation| rotation.secret.expose()),
            rotation.and_then(|rotation| rotation.next_step).map(|at| at.0),
        )
    }

    fn old() -> Webhook {
        Webhook {
            secret: Some(secret("old")),
            ..webhook(1, 1, "file.uploaded", "http://a.example/")
        }
    }

    #[test]
    fn two_phases_and_the_way_back() {
        let staged = made(&old(), begin(None));
        assert_eq!(shown(&staged), (Some("old"), Some("new"), None));
        assert_eq!(shown(&made(&staged, RotationStep::Abort)), (Some("old"), None, None));
        let promoted = made(&staged, RotationStep::Promote);
        assert_eq!(shown(&promoted), (Some("new"), Some("old"), Some(1_050)));
        assert_eq!(shown(&made(&promoted, RotationStep::Abort)), (Some("old"), None, None));
        assert_eq!(shown(&made(&promoted, RotationStep::Finish)), (Some("new"), None, None));
        let again = step(&promoted, RotationStep::Promote, NOW).expect("said before");
        assert!(again.ops.is_empty());
    }

    #[test]
    fn steps_that_do_not_follow_are_refused() {
        let staged = made(&old(), begin(None));
        for (webhook, one) in [
            (&staged, begin(None)),
            (&staged, RotationStep::Finish),
            (&old(), RotationStep::Promote),
            (&old(), RotationStep::Finish),
            (&old(), RotationStep::Abort),
            (&made(&staged, RotationStep::Promote), begin(None)),
        ] {
            let refused = step(webhook, one.clone(), NOW);
            assert!(matches!(refused, Err(CommandError::Rotation(_))), "{one:?}");
        }
        let same =
            RotationStep::Begin { secret: secret("old"), promote_after_ms: None, overlap_ms: 1 };
        assert!(step(&old(), same, NOW).is_err());
    }

    #[test]
    fn steps_happen_by_themselves_when_they_are_due() {
        let staged = made(&old(), begin(Some(20)));
        assert!(due(&staged, Wall(1_019)).is_none());
        let promoted = due(&staged, Wall(1_020)).expect("due").puts.remove(0);
        assert_eq!(shown(&promoted), (Some("new"), Some("old"), Some(1_070)));
        assert!(due(&promoted, Wall(1_069)).is_none());
        let done = due(&promoted, Wall(1_070)).expect("due").puts.remove(0);
        assert_eq!(shown(&done), (Some("new"), None, None));
        assert!(due(&made(&old(), begin(None)), Wall(u64::MAX / 2)).is_none());
    }

    #[test]
    fn a_first_secret_needs_no_overlap() {
        let bare = Webhook { secret: None, ..old() };
        let promoted = made(&made(&bare, begin(None)), RotationStep::Promote);
        assert_eq!(shown(&promoted), (Some("new"), None, None));
    }
}
