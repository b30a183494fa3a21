//! Being built.

pub mod sign;
