//! The catalog: projects and webhooks in memory, and who subscribes to what.
//!
//! Owns the lookups by key, by subscription and by event name. Must never be ahead of the store:
//! the engine changes it after a commit. Must never be iterated in a random order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::event::EventName;
use crate::model::ids::{ProjectId, WebhookId};
use crate::model::operator::Operator;
use crate::model::project::{IntakeToken, Project};
use crate::model::target::Origin;
use crate::model::time::Wall;
use crate::model::webhook::Webhook;

/// All projects and webhooks.
#[derive(Debug, Default)]
pub struct Catalog {
    projects: BTreeMap<ProjectId, Arc<Project>>,
    by_public_key: BTreeMap<String, ProjectId>,
    webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    by_project: BTreeMap<ProjectId, BTreeSet<WebhookId>>,
    by_public_id: BTreeMap<String, WebhookId>,
    hidden: BTreeMap<ProjectId, BTreeMap<String, BTreeSet<WebhookId>>>,
    by_intake_token: BTreeMap<[u8; 32], ProjectId>,
    subscribers: BTreeMap<(ProjectId, EventName), BTreeSet<WebhookId>>,
    by_origin: BTreeMap<Origin, BTreeSet<WebhookId>>,
    operator: Arc<Operator>,
}

impl Catalog {
    /// Adds or replaces a project.
    pub fn put_project(&mut self, project: Project) {
        if let Some(old) = self.projects.get(&project.id) {
            self.by_public_key.remove(&old.public_key);
            for token in &old.intake_tokens {
                self.by_intake_token.remove(&token.hash);
            }
        }
        for token in &project.intake_tokens {
            self.by_intake_token.insert(token.hash, project.id);
        }
        self.by_public_key.insert(project.public_key.clone(), project.id);
        self.projects.insert(project.id, Arc::new(project));
    }

    /// Removes a project. Its webhooks are removed by themselves.
    pub fn remove_project(&mut self, id: ProjectId) {
        if let Some(old) = self.projects.remove(&id) {
            self.by_public_key.remove(&old.public_key);
            for token in &old.intake_tokens {
                self.by_intake_token.remove(&token.hash);
            }
        }
    }

    /// Replaces what is kept for the operator.
    pub fn put_operator(&mut self, operator: Arc<Operator>) {
        self.operator = operator;
    }

    /// What is kept for the operator.
    #[must_use]
    pub fn operator(&self) -> &Arc<Operator> {
        &self.operator
    }

    /// All time up to `now` that a webhook or its target spent paused, in milliseconds. Where both
    /// were paused at once it counts twice: a deadline may be later than it has to be, never
    /// earlier.
    #[must_use]
    pub fn paused_ms(&self, webhook: &Webhook, now: Wall) -> u64 {
        let target = self.operator.target(webhook.target_url.origin());
        webhook.paused_ms(now).saturating_add(target.paused_ms(now))
    }

    /// The targets that webhooks point to or that have settings, in order, after one of them.
    pub fn targets(&self, after: Option<&Origin>) -> impl Iterator<Item = &Origin> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut pointed = self.by_origin.range((from, Bound::Unbounded)).map(|(o, _)| o).peekable();
        let set = self.operator.targets.range((from, Bound::Unbounded)).map(|(origin, _)| origin);
        let mut set = set.peekable();
        std::iter::from_fn(move || match (pointed.peek(), set.peek()) {
            (Some(a), Some(b)) if a == b => {
                set.next();
                pointed.next()
            }
            (Some(a), Some(b)) if b < a => set.next(),
            (Some(_), _) => pointed.next(),
            (None, _) => set.next(),
        })
    }

    /// The webhooks that point to a target, by id, hidden ones among them.
    pub fn webhooks_at(&self, origin: &Origin) -> impl Iterator<Item = &Arc<Webhook>> {
        let ids = self.by_origin.get(origin).into_iter().flatten();
        ids.filter_map(|id| self.webhooks.get(id))
    }

    /// Adds or replaces a webhook.
    pub fn put_webhook(&mut self, webhook: Webhook) {
        self.remove_webhook(webhook.id);
        if webhook.hidden {
            let of_project = self.hidden.entry(webhook.project).or_default();
            let target = webhook.target_url.as_str().to_owned();
            of_project.entry(target).or_default().insert(webhook.id);
        } else {
            self.by_public_id.insert(webhook.public_id.clone(), webhook.id);
            self.by_project.entry(webhook.project).or_default().insert(webhook.id);
        }
        let origin = webhook.target_url.origin().clone();
        self.by_origin.entry(origin).or_default().insert(webhook.id);
        for event in &webhook.events {
            let key = (webhook.project, event.clone());
            self.subscribers.entry(key).or_default().insert(webhook.id);
        }
        self.webhooks.insert(webhook.id, Arc::new(webhook));
    }

    /// Removes a webhook.
    pub fn remove_webhook(&mut self, id: WebhookId) -> Option<Arc<Webhook>> {
        let webhook = self.webhooks.remove(&id)?;
        if self.by_public_id.get(&webhook.public_id) == Some(&id) {
            self.by_public_id.remove(&webhook.public_id);
        }
        if let Some(ids) = self.by_project.get_mut(&webhook.project) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_project.remove(&webhook.project);
            }
        }
        if let Some(of_project) = self.hidden.get_mut(&webhook.project)
            && let Some(ids) = of_project.get_mut(webhook.target_url.as_str())
        {
            ids.remove(&id);
            if ids.is_empty() {
                of_project.remove(webhook.target_url.as_str());
            }
            if of_project.is_empty() {
                self.hidden.remove(&webhook.project);
            }
        }
        let origin = webhook.target_url.origin();
        if let Some(ids) = self.by_origin.get_mut(origin) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_origin.remove(origin);
            }
        }
        for event in &webhook.events {
            let key = (webhook.project, event.clone());
            if let Some(ids) = self.subscribers.get_mut(&key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.subscribers.remove(&key);
                }
            }
        }
        Some(webhook)
    }

    /// A project.
    #[must_use]
    pub fn project(&self, id: ProjectId) -> Option<&Arc<Project>> {
        self.projects.get(&id)
    }

    /// The project with this public key.
    #[must_use]
    pub fn project_by_public_key(&self, key: &str) -> Option<&Arc<Project>> {
        self.by_public_key.get(key).and_then(|id| self.projects.get(id))
    }

    /// The project that this secret key belongs to. Every key is compared, in constant time.
    #[must_use]
    pub fn project_by_secret_key(&self, key: &str) -> Option<&Arc<Project>> {
        let mut found = None;
        for project in self.projects.values() {
            for secret in &project.secret_keys {
                if secret.matches(key) {
                    found = Some(project);
                }
            }
        }
        found
    }

    /// The intake token with this SHA-256, and whose it is.
    #[must_use]
    pub fn intake_token(&self, hash: &[u8; 32]) -> Option<(&Arc<Project>, &IntakeToken)> {
        let project = self.by_intake_token.get(hash).and_then(|id| self.projects.get(id))?;
        let token = project.intake_tokens.iter().find(|token| token.hash == *hash)?;
        Some((project, token))
    }

    /// All projects, by id.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }

    /// A webhook.
    #[must_use]
    pub fn webhook(&self, id: WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&id)
    }

    /// The webhook with this `wh-…` id; the hidden ones of `/send/` are not found by it.
    #[must_use]
    pub fn webhook_by_public_id(&self, public_id: &str) -> Option<&Arc<Webhook>> {
        self.by_public_id.get(public_id).and_then(|id| self.webhooks.get(id))
    }

    /// All webhooks, by id.
    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }

    /// A project's webhooks, by id; the hidden ones of `/send/` are not among them.
    pub fn webhooks_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Webhook>> {
        self.by_project.get(&project).into_iter().flatten().filter_map(|id| self.webhooks.get(id))
    }

    /// All hidden webhooks.
    pub fn hidden(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        let ids = self.hidden.values().flat_map(BTreeMap::values).flatten();
        ids.filter_map(|id| self.webhooks.get(id))
    }

    /// All hidden webhooks of a project.
    pub fn all_hidden_of(&self, project: ProjectId) -> impl Iterator<Item = &Arc<Webhook>> {
        let targets = self.hidden.get(&project).into_iter();
        let ids = targets.flat_map(BTreeMap::values).flatten();
        ids.filter_map(|id| self.webhooks.get(id))
    }

    /// A project's hidden webhooks with exactly this target, by id.
    pub fn hidden_of(
        &self,
        project: ProjectId,
        target_url: &str,
    ) -> impl Iterator<Item = &Arc<Webhook>> {
        let ids = self.hidden.get(&project).and_then(|targets| targets.get(target_url));
        ids.into_iter().flatten().filter_map(|id| self.webhooks.get(id))
    }

    /// How many targets of a project have hidden webhooks.
    #[must_use]
    pub fn hidden_count(&self, project: ProjectId) -> usize {
        self.hidden.get(&project).map_or(0, BTreeMap::len)
    }

    /// How many webhooks a project has; hidden ones don't count.
    #[must_use]
    pub fn webhooks_count(&self, project: ProjectId) -> usize {
        self.by_project.get(&project).map_or(0, BTreeSet::len)
    }

    /// The webhooks that take a new event of this name, by id.
    pub fn subscribers(
        &self,
        project: ProjectId,
        event: &EventName,
    ) -> impl Iterator<Item = &Arc<Webhook>> {
        self.subscribers
            .get(&(project, event.clone()))
            .into_iter()
            .flatten()
            .filter_map(|id| self.webhooks.get(id))
            .filter(|webhook| webhook.takes_events())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::operator::TargetSettings;
    use crate::model::secret::Secret;
    use crate::model::target::TargetUrl;
    use crate::model::time::Wall;
    use crate::model::webhook::{Format, Limits, Version, WebhookState};

    pub(crate) fn webhook(id: u32, project: u32, event: &str, url: &str) -> Webhook {
        Webhook {
            id: WebhookId::new(id).expect("an id"),
            project: ProjectId::new(project).expect("an id"),
            target_url: TargetUrl::parse(url).expect("a URL"),
            events: vec![EventName::parse(event).expect("a name")],
            format: Format::Uploadcare(Version::V07),
            state: WebhookState::Active,
            secret: None,
            rotation: None,
            headers: Vec::new(),
            limits: Limits::default(),
            created: Wall(1),
            updated: Wall(1),
            revision: 1,
            paused_total_ms: 0,
            failing_since: None,
            listener: None,
            hidden: false,
            public_id: "wh-0000000000000000000000".to_owned(),
            options: Default::default(),
        }
    }

    pub(crate) fn project(id: u32) -> Project {
        Project {
            id: ProjectId::new(id).expect("an id"),
            name: format!("project {id}"),
            public_key: format!("public{id}"),
            secret_keys: vec![Secret::new(format!("secret{id}"))],
            created: Wall(1),
            settings: Default::default(),
            intake_tokens: Vec::new(),
        }
    }

    #[test]
    fn follows_changes() {
        let mut catalog = Catalog::default();
        catalog.put_project(project(1));
        catalog.put_project(project(2));
        catalog.put_webhook(webhook(1, 1, "file.uploaded", "http://a.example/"));
        catalog.put_webhook(webhook(2, 2, "file.uploaded", "http://a.example/"));
        let mut paused = webhook(3, 1, "file.uploaded", "http://b.example/");
        paused.state = WebhookState::Inactive;
        catalog.put_webhook(paused);
        let one = ProjectId::new(1).expect("an id");
        let name = EventName::parse("file.uploaded").expect("a name");
        let ids = |catalog: &Catalog| -> Vec<u32> {
            catalog.subscribers(one, &name).map(|w| w.id.get()).collect()
        };
        assert_eq!(ids(&catalog), [1]);
        catalog.put_webhook(webhook(1, 1, "file.stored", "http://a.example/"));
        assert!(ids(&catalog).is_empty());
        assert_eq!(catalog.webhooks_of(one).count(), 2);
        catalog.remove_webhook(WebhookId::new(1).expect("an id"));
        assert_eq!(catalog.webhooks_count(one), 1);
        assert_eq!(catalog.project_by_secret_key("secret2").map(|p| p.id.get()), Some(2));
        assert_eq!(catalog.project_by_public_key("public1").map(|p| p.id.get()), Some(1));
        assert!(catalog.project_by_secret_key("secret").is_none());
    }

    #[test]
    fn targets_are_those_pointed_to_and_those_set() {
        let mut catalog = Catalog::default();
        catalog.put_project(project(1));
        catalog.put_webhook(webhook(1, 1, "file.uploaded", "http://b.example/1"));
        catalog.put_webhook(webhook(2, 1, "file.uploaded", "http://b.example/2"));
        catalog.put_webhook(webhook(3, 1, "file.uploaded", "http://d.example/"));
        let origin = |text: &str| Origin::parse(text).expect("an origin");
        let targets = ["http://a.example", "http://b.example", "http://c.example"];
        let targets = targets.map(|text| (origin(text), TargetSettings::default())).into();
        let operator = Operator { targets, ..Operator::default() };
        catalog.put_operator(Arc::new(operator));
        let listed = |catalog: &Catalog, after: Option<&str>| -> String {
            let after = after.map(origin);
            let all = catalog.targets(after.as_ref()).map(|one| one.to_string());
            all.map(|text| text["http://".len()..][..1].to_owned()).collect()
        };
        assert_eq!(listed(&catalog, None), "abcd");
        assert_eq!(listed(&catalog, Some("http://a.example")), "bcd");
        assert_eq!(listed(&catalog, Some("http://bb.example")), "cd");
        assert_eq!(catalog.webhooks_at(&origin("http://b.example")).count(), 2);
        catalog.remove_webhook(WebhookId::new(3).expect("an id"));
        assert_eq!(listed(&catalog, Some("http://b.example")), "c");
        catalog.remove_project(ProjectId::new(1).expect("an id"));
        assert!(catalog.project_by_public_key("public1").is_none());
    }

    #[test]
    fn public_ids_are_found_until_their_webhook_goes() {
        let mut catalog = Catalog::default();
        let mut one = webhook(1, 1, "file.created", "http://a.example/");
        one.public_id = "wh-1".to_owned();
        let two = Webhook {
            public_id: "wh-2".to_owned(),
            ..webhook(2, 1, "file.created", "http://a.example/")
        };
        let hidden = Webhook {
            public_id: "wh-3".to_owned(),
            hidden: true,
            ..webhook(3, 1, "file.created", "http://a.example/")
        };
        for webhook in [one.clone(), two, hidden] {
            catalog.put_webhook(webhook);
        }
        let found = |catalog: &Catalog, id: &str| {
            catalog.webhook_by_public_id(id).map(|webhook| webhook.id.get())
        };
        assert_eq!(
            ["wh-1", "wh-2", "wh-3", "wh-"].map(|id| found(&catalog, id)),
            [Some(1), Some(2), None, None]
        );
        one.public_id = "wh-9".to_owned();
        catalog.put_webhook(one);
        assert_eq!((found(&catalog, "wh-1"), found(&catalog, "wh-9")), (None, Some(1)));
        catalog.remove_webhook(WebhookId::new(1).expect("an id"));
        assert_eq!((found(&catalog, "wh-9"), found(&catalog, "wh-2")), (None, Some(2)));
        // Where two have one id (a test's, never the engine's), the one that goes is its own.
        catalog.put_webhook(webhook(4, 1, "a", "http://a.example/"));
        catalog.put_webhook(webhook(5, 1, "a", "http://b.example/"));
        catalog.remove_webhook(WebhookId::new(4).expect("an id"));
        assert_eq!(found(&catalog, "wh-0000000000000000000000"), Some(5));
    }

    #[test]
    fn hidden_webhooks_stand_apart() {
        let mut catalog = Catalog::default();
        catalog.put_project(project(1));
        let mut hidden = webhook(1, 1, "file.uploaded", "http://a.example/");
        hidden.hidden = true;
        hidden.events.clear();
        catalog.put_webhook(hidden.clone());
        // A changed one replaces itself.
        catalog.put_webhook(hidden);
        let one = ProjectId::new(1).expect("an id");
        assert_eq!((catalog.webhooks_of(one).count(), catalog.webhooks_count(one)), (0, 0));
        assert_eq!(catalog.hidden_of(one, "http://a.example/").count(), 1);
        assert_eq!(catalog.hidden_of(one, "http://a.example").count(), 0);
        assert_eq!((catalog.hidden().count(), catalog.hidden_count(one)), (1, 1));
        catalog.remove_webhook(WebhookId::new(1).expect("an id"));
        assert_eq!((catalog.hidden().count(), catalog.hidden_count(one)), (0, 0));
    }

    #[test]
    fn intake_tokens_are_found_until_they_are_revoked() {
        let mut catalog = Catalog::default();
        let mut with = project(1);
        let token = |id: u32| IntakeToken {
            id,
            name: String::new(),
            hash: [id as u8; 32],
            secret: None,
            created: Wall(1),
        };
        with.intake_tokens = vec![token(1), token(2)];
        catalog.put_project(with.clone());
        let found = |catalog: &Catalog, id: u8| {
            catalog.intake_token(&[id; 32]).map(|(project, token)| (project.id.get(), token.id))
        };
        assert_eq!(found(&catalog, 1), Some((1, 1)));
        assert_eq!(found(&catalog, 2), Some((1, 2)));
        assert_eq!(found(&catalog, 3), None);
        with.intake_tokens = vec![token(2)];
        catalog.put_project(with);
        assert_eq!(found(&catalog, 1), None);
        assert_eq!(found(&catalog, 2), Some((1, 2)));
    }
}
