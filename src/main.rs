//! The binary: arguments to `app`, and its exit code back to the system.

/// An event's buffers are a few kilobytes, which glibc's allocator keeps no cache for: with it,
/// they cost more than a quarter of an event's CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    postrider::app::run(std::env::args_os())
}
