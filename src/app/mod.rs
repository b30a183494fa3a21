//! The program: arguments, configuration, logs, exit codes, and the verbs that use them.
//!
//! Owns everything that a person at a terminal or a service manager sees. Must never hold a rule
//! about webhooks: those stand on the floors below.

pub mod args;
pub mod config;
pub mod exit;
pub mod telemetry;
