//! The format `cloudevents`: CloudEvents 1.0 in structured mode, for any event.
//!
//! Owns its payload. Its webhooks are managed through Uploadcare's API. Must never look anything
//! up.

pub mod payload;
