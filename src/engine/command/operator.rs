//! Commands of the operator: its tokens, and what it sets for targets.
//!
//! Owns what these make of the operator's record. Must never see a token: a hash comes here.

use std::sync::Arc;

use super::{Change, CommandError, TargetPatch};
use crate::logic::batch::Op;
use crate::model::operator::{
    OPERATOR_TOKENS_MAX, Operator, OperatorToken, TARGET_SETTINGS_MAX, TargetSettings,
};
use crate::model::target::Origin;
use crate::model::time::Wall;

/// One token more.
pub fn add_token(
    mut operator: Operator,
    name: String,
    hash: [u8; 32],
    now: Wall,
) -> Result<Change, CommandError> {
    if operator.tokens.len() >= OPERATOR_TOKENS_MAX {
        return Err(CommandError::TooMany(OPERATOR_TOKENS_MAX));
    }
    let id = operator.token_id_max.checked_add(1).ok_or(CommandError::NoId)?;
    operator.token_id_max = id;
    operator.tokens.push(OperatorToken { id, name, hash, created: now });
    Ok(of_operator(operator))
}

/// One token less. The last one may go too: the control socket stays.
pub fn revoke_token(mut operator: Operator, id: u32) -> Result<Change, CommandError> {
    let before = operator.tokens.len();
    operator.tokens.retain(|token| token.id != id);
    if operator.tokens.len() == before {
        return Err(CommandError::NotFound);
    }
    Ok(of_operator(operator))
}

/// Other settings of a target; an empty change where they are so already.
pub fn set_target(
    mut operator: Operator,
    origin: Origin,
    patch: TargetPatch,
    now: Wall,
) -> Result<Change, CommandError> {
    let old = operator.target(&origin);
    let new = patched(old, patch, now);
    if new == old {
        return Ok(Change::default());
    }
    if new == TargetSettings::default() {
        operator.targets.remove(&origin);
    } else {
        operator.targets.insert(origin.clone(), new);
    }
    if operator.targets.len() > TARGET_SETTINGS_MAX {
        return Err(CommandError::TooMany(TARGET_SETTINGS_MAX));
    }
    Ok(Change { targets: vec![origin], ..of_operator(operator) })
}

fn patched(old: TargetSettings, patch: TargetPatch, now: Wall) -> TargetSettings {
    let mut new = old;
    new.rate_per_second = patch.rate_per_second.apply(old.rate_per_second);
    new.burst = patch.burst.apply(old.burst);
    new.in_flight = patch.in_flight.apply(old.in_flight);
    match (patch.paused, old.paused_since) {
        (Some(true), None) => new.paused_since = Some(now),
        (Some(false), Some(_)) => {
            new.paused_total_ms = old.paused_ms(now);
            new.paused_since = None;
        }
        _ => {}
    }
    new
}

fn of_operator(operator: Operator) -> Change {
    let operator = Arc::new(operator);
    let ops = vec![Op::PutOperator(Arc::clone(&operator))];
    Change { ops, operator: Some(operator), ..Change::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::draft;

    fn after(change: Result<Change, CommandError>) -> Operator {
        let operator = change.expect("accepted").operator.expect("changed");
        Arc::unwrap_or_clone(operator)
    }

    #[test]
    fn numbers_of_tokens_are_not_given_again() {
        let one = after(add_token(Operator::default(), "a".to_owned(), [1; 32], Wall(1)));
        let none = after(revoke_token(one, 1));
        let two = after(add_token(none, "b".to_owned(), [2; 32], Wall(1)));
        assert_eq!(two.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [2]);
        assert_eq!(revoke_token(two, 1).map(|_| ()), Err(CommandError::NotFound));
    }

    #[test]
    fn pauses_add_up_and_settings_are_cleared() {
        let origin = Origin::parse("http://a.example").expect("an origin");
        let set = |operator: Operator, patch: TargetPatch, at: u64| {
            after(set_target(operator, origin.clone(), patch, Wall(at)))
        };
        let paused = |paused: bool| TargetPatch { paused: Some(paused), ..TargetPatch::default() };
        let limited = TargetPatch { in_flight: draft::Change::Set(3), ..TargetPatch::default() };
        let first = set(set(Operator::default(), limited, 1), paused(true), 10);
        assert_eq!(first.target(&origin).paused_ms(Wall(15)), 5);
        let again = set_target(first.clone(), origin.clone(), paused(true), Wall(12));
        assert!(again.expect("accepted").ops.is_empty());
        let second = set(set(set(first, paused(false), 30), paused(true), 50), paused(false), 51);
        let settings = second.target(&origin);
        assert_eq!((settings.paused_ms(Wall(99)), settings.in_flight), (21, Some(3)));
        let cleared = TargetPatch { in_flight: draft::Change::Clear, ..TargetPatch::default() };
        let settings = set(second, cleared, 60).target(&origin);
        assert_eq!((settings.paused_total_ms, settings.in_flight), (21, None));
    }
}
