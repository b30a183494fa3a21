//! Commands about projects: their keys and tokens, and their end.
//!
//! Owns what of a project may change, and what has to go with it. Must never write.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, CommandError};
use crate::logic::batch::Op;
use crate::logic::catalog::Catalog;
use crate::model::draft::ProjectDraft;
use crate::model::ids::{ProjectId, Seq};
use crate::model::operator::{Operator, REMOVED_PROJECTS_MAX};
use crate::model::project::{INTAKE_TOKENS_MAX, IntakeToken, Project, SECRET_KEYS_MAX};
use crate::model::secret::Secret;
use crate::model::time::Wall;

/// A project as the draft wants it: a new one, or the one with the draft's id or public key.
/// `planned` are projects whose last change is on its way to disk.
pub fn put_project(
    catalog: &Catalog,
    planned: &BTreeMap<ProjectId, Project>,
    draft: ProjectDraft,
    free_id: Option<ProjectId>,
    now: Wall,
) -> Result<Change, CommandError> {
    if let Some(id) = draft.id
        && catalog.operator().removed_projects.contains(&id)
    {
        return Err(CommandError::IdUsed(id));
    }
    let by_key = catalog.project_by_public_key(&draft.public_key);
    let old = draft.id.and_then(|id| catalog.project(id)).or(by_key);
    let id = draft.id.or(old.map(|old| old.id)).or(free_id).ok_or(CommandError::NoId)?;
    if by_key.is_some_and(|other| other.id != id) {
        return Err(CommandError::KeyTaken("public key"));
    }
    let taken = |secret: &Secret| {
        catalog.project_by_secret_key(secret.expose()).is_some_and(|other| other.id != id)
    };
    if draft.secret_keys.iter().any(taken) {
        return Err(CommandError::KeyTaken("secret key"));
    }
    let old = planned.get(&id).or(old.map(|old| &**old));
    let project = Project {
        id,
        name: draft.name,
        public_key: draft.public_key,
        secret_keys: draft.secret_keys,
        created: old.map_or(now, |old| old.created),
        settings: draft.settings,
        intake_tokens: old.map_or_else(Vec::new, |old| old.intake_tokens.clone()),
    };
    let mut change = Change::default();
    if old.is_none_or(|old| *old != project) {
        change.ops.push(Op::PutProject(project.clone()));
    }
    change.project = Some(project);
    Ok(change)
}

/// A project with one intake token more.
pub fn add_intake_token(
    mut project: Project,
    name: String,
    hash: [u8; 32],
    secret: Option<Secret>,
    now: Wall,
) -> Result<Change, CommandError> {
    if project.intake_tokens.len() >= INTAKE_TOKENS_MAX {
        return Err(CommandError::NoId);
    }
    let last = project.intake_tokens.iter().map(|token| token.id).max().unwrap_or(0);
    let id = last.checked_add(1).ok_or(CommandError::NoId)?;
    project.intake_tokens.push(IntakeToken { id, name, hash, secret, created: now });
    Ok(of_project(project))
}

/// A project with one intake token less.
pub fn revoke_intake_token(mut project: Project, id: u32) -> Result<Change, CommandError> {
    let before = project.intake_tokens.len();
    project.intake_tokens.retain(|token| token.id != id);
    if project.intake_tokens.len() == before {
        return Err(CommandError::NotFound);
    }
    Ok(of_project(project))
}

/// A project with another name.
#[must_use]
pub fn rename(project: Project, name: String) -> Change {
    of_project(Project { name, ..project })
}

/// A project with one secret key more.
pub fn add_secret_key(
    catalog: &Catalog,
    planned: &BTreeMap<ProjectId, Project>,
    mut project: Project,
    key: Secret,
) -> Result<Change, CommandError> {
    if project.secret_keys.len() >= SECRET_KEYS_MAX {
        return Err(CommandError::TooMany(SECRET_KEYS_MAX));
    }
    let is_planned = planned.values().any(|other| other.secret_keys.contains(&key));
    if is_planned || catalog.project_by_secret_key(key.expose()).is_some() {
        return Err(CommandError::KeyTaken("secret key"));
    }
    project.secret_keys.push(key);
    Ok(of_project(project))
}

/// A project with one secret key less.
pub fn revoke_secret_key(mut project: Project, key: &Secret) -> Result<Change, CommandError> {
    if !project.secret_keys.contains(key) {
        return Err(CommandError::NotFound);
    }
    if project.secret_keys.len() == 1 {
        return Err(CommandError::LastKey);
    }
    project.secret_keys.retain(|other| other != key);
    Ok(of_project(project))
}

/// A project that goes, with its webhooks and what is pending for them.
pub fn remove(
    catalog: &Catalog,
    mut operator: Operator,
    id: ProjectId,
    last: Seq,
    now: Wall,
) -> Change {
    let webhooks: Vec<_> =
        catalog.webhooks_of(id).chain(catalog.all_hidden_of(id)).cloned().collect();
    operator.removed_projects.insert(id);
    if operator.removed_projects.len() > REMOVED_PROJECTS_MAX {
        operator.removed_projects.pop_first();
    }
    let mut change = super::delete(&webhooks, last, now);
    let operator = Arc::new(operator);
    change.ops.push(Op::RemoveProject(id));
    change.ops.push(Op::PutOperator(Arc::clone(&operator)));
    change.removes_project = Some(id);
    change.operator = Some(operator);
    change
}

fn of_project(project: Project) -> Change {
    let ops = vec![Op::PutProject(project.clone())];
    Change { ops, project: Some(project), ..Change::default() }
}
