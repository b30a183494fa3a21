//! The processes that `bench` starts: roles of this binary, and the daemon itself.
//!
//! Owns their command lines, their ends and what the system says of them. Must never leave one
//! behind: whatever is dropped is killed, and roles end with their stdin.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use http::Method;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;

use super::event::{PROJECT_ID, PUBLIC_KEY, SECRET_KEY};
use super::wire::{self, Numbers};
use super::{BenchError, failed};
use crate::app::control::Control;
use crate::clock;
use crate::model::json::Json;

/// Processor time is told in these: USER_HZ, a hundredth of a second wherever Linux runs.
const TICK_US: u64 = 10_000;
/// How long a daemon may take to get ready, in milliseconds: an unclean store may need repair.
const READY_MS_MAX: u64 = 120_000;
/// How often readiness is asked for, in milliseconds.
const READY_POLL_MS: u64 = 1;
/// How long settlements may take to be written after the last delivery, in milliseconds.
const QUIET_MS_MAX: u64 = 60_000;
const QUIET_POLL_MS: u64 = 50;
/// After the last settlement: a checkpoint comes within a second.
const CHECKPOINT_MS: u64 = 1_500;

/// Standard input of a role, as a pipe that can be waited for.
pub(super) fn stdin() -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)
}

/// A process that ends with its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A role of this binary.
pub(super) struct RoleProcess {
    process: Killed,
    stdin: pipe::Sender,
    stdout: BufReader<pipe::Receiver>,
}

impl RoleProcess {
    /// Starts a role.
    pub(super) fn start(words: &[String]) -> Result<RoleProcess, BenchError> {
        let mut command = own_binary()?;
        command.arg("bench-role").args(words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("starting a role"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let process = Killed(child);
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(BenchError::Ended);
        };
        let pipes = pipe::Sender::from_owned_fd(OwnedFd::from(stdin))
            .and_then(|stdin| Ok((stdin, pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?)));
        let (stdin, stdout) = pipes.map_err(failed("talking to a role"))?;
        Ok(RoleProcess { process, stdin, stdout: BufReader::new(stdout) })
    }

    /// Tells it something, and reads what it says.
    pub(super) async fn ask(&mut self, line: &str) -> Result<Numbers, BenchError> {
        let line = format!("{line}\n");
        self.stdin.write_all(line.as_bytes()).await.map_err(failed("talking to a role"))?;
        self.hear().await
    }

    /// Reads what it says next.
    pub(super) async fn hear(&mut self) -> Result<Numbers, BenchError> {
        let line = wire::next_line(&mut self.stdout).await.map_err(failed("hearing a role"))?;
        if line.is_empty() { Err(BenchError::Ended) } else { Ok(Numbers::parse(&line)) }
    }

    /// Its processor time so far.
    pub(super) fn cpu_us(&self) -> Result<u64, BenchError> {
        cpu_us(self.process.0.id())
    }

    /// The most memory that it had.
    pub(super) fn rss_peak_bytes(&self) -> Result<u64, BenchError> {
        status_bytes(self.process.0.id(), "VmHWM:")
    }
}

/// The role that takes deliveries, and its ports.
pub(super) struct Receiver {
    pub(super) role: RoleProcess,
    pub(super) port: u16,
    /// The one that can die.
    pub(super) mortal_port: u16,
}

impl Receiver {
    pub(super) async fn start() -> Result<Receiver, BenchError> {
        let mut role = RoleProcess::start(&["receiver".to_owned()])?;
        let ports = role.hear().await?;
        let port = |key| u16::try_from(ports.get(key)?).map_err(|_| BenchError::Ended);
        Ok(Receiver { port: port("port")?, mortal_port: port("mortal_port")?, role })
    }
}

/// A daemon with its limits lifted, in a directory of its own.
pub(super) struct Daemon {
    process: Killed,
    home: Home,
    pub(super) at: SocketAddr,
    pub(super) control: Arc<Control>,
    /// From the start of the process to its readiness.
    pub(super) ready_us: u64,
}

/// A directory that is removed at the end, and the socket that is not in it: paths of sockets
/// have to be short.
struct Home {
    directory: PathBuf,
    socket: PathBuf,
}

impl Drop for Home {
    fn drop(&mut self) {
        // What can't be removed is seen where it lies.
        let _ = std::fs::remove_dir_all(&self.directory);
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Daemon {
    /// Starts one in a fresh directory below `place`.
    pub(super) async fn start(place: &Path) -> Result<Daemon, BenchError> {
        let name = format!("postrider-bench-{:016x}", clock::random_u64());
        let home = Home {
            directory: place.join(&name),
            socket: std::env::temp_dir().join(format!("{name}.sock")),
        };
        std::fs::create_dir_all(&home.directory)
            .and_then(|()| std::fs::write(home.config(), config_text()))
            .map_err(failed("making a directory"))?;
        let at = free_address().map_err(failed("finding a port"))?;
        Daemon::launch(home, at).await
    }

    /// Kills it as a power cut would, and starts it again.
    pub(super) async fn kill_and_start(self) -> Result<Daemon, BenchError> {
        let Daemon { process, home, at, .. } = self;
        drop(process);
        Daemon::launch(home, at).await
    }

    async fn launch(home: Home, at: SocketAddr) -> Result<Daemon, BenchError> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.log());
        let log = log.map_err(failed("making a log"))?;
        let mut command = own_binary()?;
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("POSTRIDER_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").arg("--config").arg(home.config());
        command.arg("--data").arg(home.directory.join("data"));
        command.arg("--control").arg(&home.socket);
        command.args(["--listen".to_owned(), at.to_string()]);
        let started_us = clock::wall_us();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed("starting a daemon"))?;
        let mut process = Killed(child);
        let ready = clock::within(READY_MS_MAX, ready(&mut process.0, at)).await;
        if !matches!(ready, Ok(true)) {
            let log = std::fs::read_to_string(home.log()).unwrap_or_default();
            return Err(BenchError::NotReady(log));
        }
        let ready_us = clock::wall_us().saturating_sub(started_us);
        let control = Arc::new(Control::at(home.socket.clone()));
        Ok(Daemon { process, home, at, control, ready_us })
    }

    /// Waits until nothing is pending but `pending`, and the last checkpoint is written.
    pub(super) async fn quiet(&self, pending: u64) -> Result<(), BenchError> {
        let settled = async {
            while self.stats("pending").await? > pending {
                clock::sleep(QUIET_POLL_MS).await;
            }
            Ok::<(), BenchError>(())
        };
        clock::within(QUIET_MS_MAX, settled).await.map_err(|_| BenchError::NeverQuiet)??;
        clock::sleep(CHECKPOINT_MS).await;
        Ok(())
    }

    /// A figure of the store.
    pub(super) async fn stats(&self, key: &str) -> Result<u64, BenchError> {
        let stats = self.control.call(Method::GET, "/stats/", None).await?.json()?;
        match stats.get(key) {
            Some(Json::Number(number)) => Ok(*number as u64),
            _ => Err(BenchError::Ended),
        }
    }

    pub(super) fn cpu_us(&self) -> Result<u64, BenchError> {
        cpu_us(self.process.0.id())
    }

    pub(super) fn rss_peak_bytes(&self) -> Result<u64, BenchError> {
        status_bytes(self.process.0.id(), "VmHWM:")
    }

    pub(super) fn rss_bytes(&self) -> Result<u64, BenchError> {
        status_bytes(self.process.0.id(), "VmRSS:")
    }

    /// A file beside its data, for a ceiling on the same disk.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.home.directory.join(name)
    }

    /// How a path of its project begins.
    pub(super) fn project_path(path: &str) -> String {
        format!("/projects/{PROJECT_ID}{path}")
    }
}

impl Home {
    fn config(&self) -> PathBuf {
        self.directory.join("postrider.toml")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }
}

/// What holds a publisher, a target or a connection back is lifted; the rest is as by default.
fn config_text() -> String {
    format!(
        r#"[server]
connections_max = 4096
requests_per_connection_max = 1000000000
client_rate_per_second = 1000000
client_burst = 1000000

[delivery]
allow = ["127.0.0.0/8"]
target_rate_per_second = 1000000
target_burst = 1000000

[log]
level = "warn"

[[project]]
id = {PROJECT_ID}
public_key = "{PUBLIC_KEY}"
secret_key = "{SECRET_KEY}"
"#
    )
}

fn own_binary() -> Result<Command, BenchError> {
    std::env::current_exe().map(Command::new).map_err(failed("finding this binary"))
}

/// A port that nobody listens on.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Asks until it is ready; `false` if it has ended.
async fn ready(child: &mut Child, at: SocketAddr) -> bool {
    loop {
        if is_ready(at).await.unwrap_or(false) {
            return true;
        }
        if !matches!(child.try_wait(), Ok(None)) {
            return false;
        }
        clock::sleep(READY_POLL_MS).await;
    }
}

async fn is_ready(at: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let line = wire::next_line(&mut BufReader::new(stream)).await?;
    Ok(line.starts_with("HTTP/1.1 200 "))
}

/// Processor time of a process, all its threads, also those that have ended.
fn cpu_us(pid: u32) -> Result<u64, BenchError> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.map_err(failed("reading a process's figures"))?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) * TICK_US),
        _ => Err(BenchError::Ended),
    }
}

fn status_bytes(pid: u32, key: &str) -> Result<u64, BenchError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.map_err(failed("reading a process's figures"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.map(|kib| kib * 1_024).ok_or(BenchError::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_process_are_found() {
        let pid = std::process::id();
        assert!(status_bytes(pid, "VmHWM:").expect("is there") > 100_000);
        assert!(cpu_us(pid).is_ok());
        assert!(status_bytes(pid, "Nonsense:").is_err());
    }
}
