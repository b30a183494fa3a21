//! The format `standard`: the payload that Standard Webhooks recommends, for any event.
//!
//! Owns its payload. Its webhooks are managed through Uploadcare's API. Must never look anything
//! up.

pub mod payload;
