//! The binary: arguments to `app`, and its exit code back to the system.

fn main() -> std::process::ExitCode {
    postrider::app::run(std::env::args_os())
}
