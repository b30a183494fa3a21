//! Lancer's dialect: five events of sessions and files.
//!
//! Owns its typed tables and its payload. It has no API of its own: webhooks of it are managed
//! through Uploadcare's. Must never look anything up.

pub mod payload;
pub mod tables;
