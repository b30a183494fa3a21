//! `[[project]]` and `[[target]]`: entries of the file, each checked alone and against the others.
//!
//! Owns what an entry must have and what must differ between two. Must never show a secret key.

use toml::de::DeTable;

use super::apply::quoted;
use super::checked::{Config, ProjectEntry, TargetEntry};
use super::error::{Origin, Problem};
use super::raw::{Document, holds};
use super::settings::{PROJECT, ProjectDraft, Setting, TARGET, TargetDraft};
use super::{Effective, Loader};

impl<'s> Loader<'s> {
    /// Reads all entries into `config`.
    pub(super) fn entries(&mut self, config: &mut Config) {
        let Some(document) = self.document else { return };
        for (index, (place, table)) in document.entries("project").into_iter().enumerate() {
            let draft: ProjectDraft = self.entry("project", index, document, table, &PROJECT);
            let before = &config.projects;
            if let Some(project) = self.project(index, draft, place, table, before) {
                config.projects.push(project);
            }
        }
        for (index, (place, table)) in document.entries("target").into_iter().enumerate() {
            let draft: TargetDraft = self.entry("target", index, document, table, &TARGET);
            let before = &config.targets;
            if let Some(target) = self.target(index, draft, place, table, before) {
                config.targets.push(target);
            }
        }
    }

    fn entry<T: Default>(
        &mut self,
        section: &'static str,
        index: usize,
        document: &'s Document<'s>,
        table: &'s DeTable<'s>,
        settings: &[Setting<T>],
    ) -> T {
        let header = format!("[[{section}]]");
        let mut draft = T::default();
        for setting in settings {
            if let Some(pick) = self.in_table(&header, setting, document, table) {
                let shown = self.assign(&header, setting, &pick, &mut draft);
                self.note(section, Some(index), setting.key, shown, pick.origin);
            }
        }
        draft
    }

    fn project(
        &mut self,
        index: usize,
        draft: ProjectDraft,
        place: Origin,
        table: &DeTable<'_>,
        before: &[ProjectEntry],
    ) -> Option<ProjectEntry> {
        self.require("[[project]]", "public_key", "public_key", &place, table);
        self.require("[[project]]", "secret_key", "secret_key or secret_key_file", &place, table);
        for (other_index, other) in before.iter().enumerate() {
            let id = draft.id.filter(|id| other.id == Some(*id)).map(|id| id.to_string());
            self.differ("project", "id", index, other_index, id.map(Some));
            let key = draft.public_key.as_ref().filter(|key| **key == other.public_key);
            let key = key.map(|key| Some(quoted(key)));
            self.differ("project", "public_key", index, other_index, key);
            let secret = draft.secret_key.as_ref().filter(|key| **key == other.secret_key);
            self.differ("project", "secret_key", index, other_index, secret.map(|_| None));
        }
        Some(ProjectEntry {
            id: draft.id,
            name: draft.name,
            public_key: draft.public_key?,
            secret_key: draft.secret_key?,
            settings: draft.settings,
            place,
        })
    }

    fn target(
        &mut self,
        index: usize,
        draft: TargetDraft,
        place: Origin,
        table: &DeTable<'_>,
        before: &[TargetEntry],
    ) -> Option<TargetEntry> {
        self.require("[[target]]", "origin", "origin", &place, table);
        let origin = draft.origin?;
        for (other_index, other) in before.iter().enumerate() {
            let same = (other.origin == origin).then(|| Some(format!("\"{origin}\"")));
            self.differ("target", "origin", index, other_index, same);
        }
        Some(TargetEntry {
            origin,
            rate_per_second: draft.rate_per_second,
            burst: draft.burst,
            in_flight: draft.in_flight,
            place,
        })
    }

    fn require(
        &mut self,
        section: &'static str,
        key: &str,
        shown: &'static str,
        place: &Origin,
        table: &DeTable<'_>,
    ) {
        if !holds(table, key) {
            self.report.add(place, Problem::Missing { section, key: shown });
        }
    }

    /// Reports `same`, a value that two entries share; the inner one is what may be shown of it.
    fn differ(
        &mut self,
        section: &'static str,
        key: &'static str,
        index: usize,
        other: usize,
        same: Option<Option<String>>,
    ) {
        let Some(value) = same else { return };
        let line = self.noted(section, key, other).and_then(|noted| noted.origin.line());
        let origin = self.noted(section, key, index).map(|noted| noted.origin.clone());
        if let (Some(line), Some(origin)) = (line, origin) {
            let setting = format!("[[{section}]] {key}");
            self.report.add(&origin, Problem::Duplicate { setting, value, line });
        }
    }

    fn noted(&self, section: &str, key: &str, index: usize) -> Option<&Effective> {
        self.effective.iter().find(|e| (e.section, e.key, e.entry) == (section, key, Some(index)))
    }
}
