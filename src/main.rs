//! The binary: arguments to `app`, and its exit code back to the system.

fn main() {}
