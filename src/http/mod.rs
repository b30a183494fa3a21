//! HTTP in: the server, its limits, who asks, and the routes.
//!
//! Owns the accept loop, connections, the limits on clients, bodies and responses, authentication
//! before meaning, and the table of routes. Must never decide what a request means to a project:
//! that is the engine's.

pub mod api;
pub mod auth;
pub mod body;
mod deliveries;
mod dispatch;
mod events;
pub mod fresh;
mod intake;
pub mod io;
mod jobs;
mod jsonapi;
mod keys;
pub mod limits;
mod look;
mod manage;
mod metrics;
mod openapi;
mod operator;
mod ops;
pub mod peer;
mod publish;
pub mod respond;
mod rotation;
pub mod route;
mod send;
pub mod server;
mod stream;
mod targets;
mod tokens;
