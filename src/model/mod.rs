//! The nouns: what Postrider talks about, and nothing that it does.
//!
//! Owns ids, time values, bounded text, payload bytes and the records of projects, webhooks,
//! events, deliveries, attempts and the operator. Must never do I/O, read a clock, draw randomness or decide.

pub mod attempt;
pub mod delivery;
pub mod draft;
pub mod event;
pub mod ids;
pub mod job;
pub mod json;
pub mod notice;
pub mod operator;
pub mod project;
pub mod secret;
pub mod target;
pub mod time;
pub mod webhook;
