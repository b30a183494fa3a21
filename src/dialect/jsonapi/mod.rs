//! The dialect of JSON:API projects: resources, and the event document that is delivered.
//!
//! Owns its ids, resources and payloads. Must never look anything up: webhooks and projects are
//! arguments.

pub mod ids;
pub mod payload;
pub mod resource;
