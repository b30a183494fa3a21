//! Whether a lane or a target fails, as its owners are told.
//!
//! Owns the difference between an open breaker and one that is worth a word. Must never call a
//! place failing by the failures of notices alone: telling of it would be their own echo.

/// What is known of the failures behind a breaker.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// An ordinary delivery has failed since the last success.
    is_doubted: bool,
    is_failing: bool,
}

impl Health {
    /// An attempt failed.
    pub(super) fn failed(&mut self, is_notice: bool) {
        self.is_doubted |= !is_notice;
    }

    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        self.is_doubted = false;
    }

    /// What changed, given whether the breaker is open.
    pub(super) fn turned(&mut self, is_open: bool) -> Option<bool> {
        let is_failing = is_open && (self.is_doubted || self.is_failing);
        let is_news = is_failing != std::mem::replace(&mut self.is_failing, is_failing);
        is_news.then_some(is_failing)
    }

    /// Forgets everything; says whether it was failing.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(self).is_failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_alone_open_a_breaker_quietly() {
        let mut health = Health::default();
        health.failed(true);
        assert_eq!(health.turned(true), None);
        // An ordinary delivery finds it open, and fails too.
        health.failed(false);
        assert_eq!(health.turned(true), Some(true));
        assert_eq!(health.turned(true), None);
        health.failed(true);
        assert_eq!(health.turned(true), None);
        health.succeeded();
        assert_eq!(health.turned(false), Some(false));
        health.failed(false);
        assert_eq!(health.turned(false), None);
        health.succeeded();
        health.failed(true);
        assert_eq!(health.turned(true), None);
    }
}
