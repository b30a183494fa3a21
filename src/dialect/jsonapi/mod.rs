//! The dialect of JSON:API projects: webhooks as resources, their management, and the event
//! document that is delivered.
//!
//! Owns its ids, requests, answers, resources and payloads. Must never look anything up: webhooks,
//! projects and secrets are arguments.

pub mod decode;
pub mod encode;
pub mod ids;
pub mod payload;
pub mod resource;
