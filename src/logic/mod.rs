//! Decisions: pure, synchronous, deterministic.
//!
//! Owns what is delivered when and why: the dispatcher with its wheel, retry table, verdicts,
//! breakers and quotas, the steady clock, the catalog and its matching, signatures, the judgement of addresses, and
//! batches (writes as data), and what jobs make of deliveries. Must never do I/O or ask for time or chance: both are arguments.

pub mod address;
pub mod batch;
pub mod breaker;
pub mod catalog;
pub mod dispatcher;
pub mod explain;
pub mod jobs;
pub mod log;
pub mod notices;
pub mod quota;
pub mod retry;
pub mod sign;
pub mod steady;
pub mod verdict;
pub mod wheel;
pub mod window;
