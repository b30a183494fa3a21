//! Notices: events by which the daemon tells a project what became of its deliveries.
//!
//! Owns their names, and the prefix that is theirs alone. Must never be published by anybody else.

use super::event::EventName;

/// What all notices' names begin with.
pub const PREFIX: &str = "postrider.";

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// A target, or one webhook at it, fails: what was not attempted yet is held back.
    TargetFailing,
    /// It takes deliveries again.
    TargetRecovered,
    /// A webhook was disabled.
    WebhookDisabled,
    /// A delivery was given up.
    DeliveryExpired,
    /// The store has no room: events are refused.
    StoreLow,
    /// It has room again.
    StoreRecovered,
}

impl Notice {
    /// All of them.
    pub const ALL: [Notice; 6] = [
        Notice::TargetFailing,
        Notice::TargetRecovered,
        Notice::WebhookDisabled,
        Notice::DeliveryExpired,
        Notice::StoreLow,
        Notice::StoreRecovered,
    ];

    /// The name that webhooks subscribe to.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Notice::TargetFailing => "postrider.target.failing",
            Notice::TargetRecovered => "postrider.target.recovered",
            Notice::WebhookDisabled => "postrider.webhook.disabled",
            Notice::DeliveryExpired => "postrider.delivery.expired",
            Notice::StoreLow => "postrider.store.low",
            Notice::StoreRecovered => "postrider.store.recovered",
        }
    }

    /// The name as events have it.
    #[must_use]
    pub fn name(self) -> EventName {
        EventName::parse(self.as_str()).expect("a literal of the right form")
    }
}

/// Whether a name is the daemon's own, in whatever case.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether a name is a notice's.
#[must_use]
pub fn is_known(name: &str) -> bool {
    Notice::ALL.iter().any(|notice| notice.as_str() == name)
}

/// What a publisher of a reserved name is told.
#[must_use]
pub fn refusal(name: &str) -> String {
    format!(
        "\"{name}\" can't be published: names that begin with \"{PREFIX}\" are the daemon's own."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_reserved_and_known() {
        for notice in Notice::ALL {
            assert_eq!(notice.name().as_str(), notice.as_str());
            assert!(is_reserved(notice.as_str()) && is_known(notice.as_str()));
        }
        for (name, reserved) in [
            ("postrider.x", true),
            ("Postrider.x", true),
            ("postrider", false),
            ("ä.postrider", false),
        ] {
            assert_eq!((is_reserved(name), is_known(name)), (reserved, false), "{name}");
        }
    }
}
