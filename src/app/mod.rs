//! The program: arguments, configuration, logs, exit codes, and the verbs that use them.
//!
//! Owns everything that a person at a terminal or a service manager sees. Must never hold a rule
//! about webhooks: those stand on the floors below.

pub mod args;
pub mod config;
mod control;
mod daemon;
pub mod exit;
mod first_start;
mod keys;
mod receiver;
pub mod telemetry;
mod terminal;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use args::{Arguments, Verb};
use config::{Config, Loaded, Sources};
use exit::Exit;
use terminal::complain;

/// A verb that did not work: what to tell, and how to end.
#[derive(Debug)]
pub(crate) struct Stop {
    exit: Exit,
    text: String,
}

impl Stop {
    fn new(exit: Exit, text: impl std::fmt::Display) -> Stop {
        Stop { exit, text: text.to_string() }
    }
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Whatever is made from here on is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed terminal is no reason to fail differently.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()));
        }
    };
    let exit = match carry_out(&arguments) {
        Ok(exit) => exit,
        Err(stop) => {
            complain(&stop.text);
            stop.exit
        }
    };
    exit.into()
}

fn carry_out(arguments: &Arguments) -> Result<Exit, Stop> {
    let json = arguments.global.json;
    match &arguments.verb {
        Verb::Version => verbs::version::run(json),
        Verb::Bench(bench) => verbs::bench::run(bench, json),
        Verb::BenchRole(role) => verbs::bench::role(&role.role),
        Verb::Verify(verify) => verbs::verify::run(verify, json),
        Verb::Config(config) => verbs::config::run(config, || load(arguments)),
        Verb::Serve(_) => verbs::serve::run(&load(arguments)?),
        Verb::Dev(dev) => verbs::dev::run(dev),
        Verb::Listen(listen) => verbs::listen::run(listen, &load(arguments)?, json),
        Verb::Send(send) => verbs::send::run(send, &load(arguments)?, json),
        Verb::Project(project) => verbs::project::run(&project.verb, &load(arguments)?, json),
        Verb::Event(event) => verbs::event::run(&event.verb, &load(arguments)?, json),
        Verb::Delivery(delivery) => verbs::delivery::run(&delivery.verb, &load(arguments)?, json),
        Verb::Job(job) => verbs::job::run(&job.verb, &load(arguments)?, json),
        Verb::Target(target) => verbs::target::run(&target.verb, &load(arguments)?, json),
        Verb::Token(token) => verbs::token::run(&token.verb, &load(arguments)?, json),
        Verb::Webhook(webhook) => verbs::webhook::run(&webhook.verb, &load(arguments)?, json),
    }
}

fn load(arguments: &Arguments) -> Result<Loaded, Stop> {
    Config::load(&Sources::of_process(arguments.config_file(), arguments.settings()))
        .map_err(|errors| Stop::new(Exit::Config, errors))
}

/// The runtime that every verb with I/O runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::new(Exit::Failure, format!("can't start: {error}")))
}
