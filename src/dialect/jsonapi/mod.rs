//! The dialect of JSON:API projects: webhooks as resources, managed under `/api/v1/projects/`.
//!
//! Owns what is asked and answered there. Must never look anything up: webhooks, projects and
//! secrets are arguments.

pub mod decode;
pub mod encode;
