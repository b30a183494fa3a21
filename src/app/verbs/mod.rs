//! The verbs, one file each, each with a function `run`.
//!
//! Owns what a verb does. Must never parse arguments: they come checked.

pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod delivery;
pub(crate) mod dev;
pub(crate) mod event;
pub(crate) mod job;
pub(crate) mod key;
mod list;
pub(crate) mod listen;
pub(crate) mod project;
pub(crate) mod send;
pub(crate) mod serve;
mod tail;
pub(crate) mod target;
pub(crate) mod token;
pub(crate) mod verify;
pub(crate) mod version;
pub(crate) mod webhook;
