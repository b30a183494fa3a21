//! Being built.
pub mod address;
