//! Postrider, a webhook delivery daemon: one binary, one data directory, no database to run.
//!
//! # Bird's-eye view
//!
//! An application publishes an event over HTTP. The event and one delivery per subscribed webhook
//! are written to disk in one transaction, and only then does the publisher get its 202. A pure
//! dispatcher decides which delivery may be attempted when; the engine around it performs what was
//! decided: it renders the event in the webhook's dialect, signs it, sends it, and hands the
//! outcome back. What the dispatcher wants written goes to the store as data.
//!
//! ```text
//!   publisher -> http -> engine -> store (one writer thread, group commit) -> 202
//!                          |  ^
//!             logic decides|  |outcomes
//!                          v  |
//!                         net -> target
//! ```
//!
//! # Code map, in floor order
//!
//! A module may name modules of lower floors only; `tests/tidy.rs` holds that.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`model`] | nouns: ids, time values, payload bytes, projects, webhooks, events, deliveries |
//! | 1 | [`logic`] | decisions: dispatcher, wheel, retry table, verdicts, breaker, quotas, signing, addresses |
//! | 2 | [`dialect`], [`source`] | languages: bytes to nouns and back, one folder for each |
//! | 3 | [`clock`], [`store`], [`net`] | ports: each talks to one outside thing |
//! | 4 | [`engine`] | the loop: wait, decide, perform |
//! | 5 | [`http`] | HTTP in: limits, authentication, routes |
//! | 6 | [`app`] | the program: arguments, configuration, control socket, verbs, signals, logs |
//!
//! # Invariants, mostly of things that are absent
//!
//! * Floors 0 to 2 do no I/O, ask neither time nor chance, know no async, and iterate no hash map:
//!   `now` and random numbers are arguments, so that a run can be repeated from its seed.
//! * Only [`clock`] asks what time it is or draws entropy; only [`store`] touches the data
//!   directory; only [`net`] dials.
//! * Writes are data: a decision returns a batch with preconditions, and the store applies it
//!   whole or not at all.
//! * A request's body is read only after its key is known.
//! * Nothing retries by sleeping: what waits stands in the dispatcher's wheel.
//! * There is no crate-wide error and no `util`: each family of operations has its own enum.

#![warn(missing_docs)]

pub mod model;

pub mod logic;

pub mod dialect;
pub mod source;

pub mod clock;
pub mod net;
pub mod store;

pub mod engine;

pub mod http;

pub mod app;
