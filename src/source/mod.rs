//! The languages that events come in: bytes to events.
//!
//! Owns one file for each source. Must never do I/O, ask the time or store anything.

pub mod native;
pub mod sample;
mod split;
