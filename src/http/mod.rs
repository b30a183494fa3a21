//! HTTP in: the server, its limits, and what all of its answers have in common.
//!
//! Owns the accept loop, connections, the limits on clients, bodies and responses. Must never
//! decide what a request means to a project: that is the engine's.

pub mod body;
pub mod io;
pub mod limits;
pub mod peer;
pub mod respond;
pub mod server;
