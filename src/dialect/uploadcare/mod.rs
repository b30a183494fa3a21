//! Uploadcare's dialect: the webhook REST API 0.5 to 0.7 and the payloads that it delivers.
//!
//! Owns its versions, authentication, objects, error texts and payloads. Must never look anything
//! up: keys, webhooks and the time are arguments.

pub mod auth;
pub mod decode;
pub mod encode;
pub mod file;
pub mod headers;
pub mod kinds;
pub mod own_fields;
pub mod payload;
