"""A real daemon under test: the release binary in a directory of its own.

Owns configuration files, starting, waiting for readiness, killing and the log. Must never look
into the data directory: what a test knows of the daemon comes over HTTP, signals and exit codes.
"""

import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PUBLIC_KEY = "0123456789abcdef0123"
SECRET_KEY = "demosecretkey0000001"
PROJECT_ID = 39123
READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 40
POLL_SECONDS = 0.01

# Nothing but the suites about limits should meet one.
LIMITS = {
    "client_rate_per_second": "1000000",
    "client_burst": "1000000",
    "auth_failures_per_minute": "1000000",
}


def binary():
    """The binary under test, as `tests/run` names it."""
    path = os.environ.get("POSTRIDER_BINARY")
    if not path or not os.access(path, os.X_OK):
        raise SystemExit("POSTRIDER_BINARY does not name an executable; use tests/run")
    return path


def free_port():
    """A port of loopback that nobody listens on. It stays the daemon's own across restarts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon:
    """One daemon: a home with its config, its data and its log."""

    def __init__(self, name, server=None, delivery=None, allow=("127.0.0.0/8",), projects=None):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="postrider-%s-" % name))
        self.data = self.home / "data"
        self.log_path = self.home / "log"
        self.port = free_port()
        self.process = None
        self._config = self.home / "postrider.toml"
        self._write_config({**LIMITS, **(server or {})}, delivery or {}, allow, projects)

    @property
    def base(self):
        """`http://127.0.0.1:PORT`, without a slash behind it."""
        return "http://127.0.0.1:%d" % self.port

    def _write_config(self, server, delivery, allow, projects):
        projects = projects or [(PROJECT_ID, PUBLIC_KEY, SECRET_KEY)]
        lines = ["[server]"] + ["%s = %s" % pair for pair in server.items()]
        lines += ["[delivery]", "allow = [%s]" % ", ".join('"%s"' % entry for entry in allow)]
        lines += ["%s = %s" % pair for pair in delivery.items()]
        lines += ["[log]", 'format = "json"']
        for project, public, secret in projects:
            lines += ["[[project]]", "id = %d" % project, 'name = "project %d"' % project]
            lines += ['public_key = "%s"' % public, 'secret_key = "%s"' % secret]
        self._config.write_text("\n".join(lines) + "\n")
        self._config.chmod(0o600)

    def command(self):
        """The command line of `serve`."""
        listen = "127.0.0.1:%d" % self.port
        line = [binary(), "serve", "--config", str(self._config)]
        return line + ["--listen", listen, "--data", str(self.data)]

    @staticmethod
    def environment():
        """The environment without what this project's tests set: the daemon reads POSTRIDER_*."""
        return {k: v for k, v in os.environ.items() if not k.startswith("POSTRIDER_")}

    def spawn(self):
        """Starts the process without waiting for it."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.home, env=self.environment(),
            )
        return self

    def start(self):
        """Starts the process and waits until it is ready."""
        self.spawn()
        return self.wait_ready()

    def wait_ready(self):
        """Waits until `/readyz` answers 200."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    "the daemon ended with %s:\n%s" % (self.process.returncode, self.log()[-4000:])
                )
            if self.get_status("/readyz") == 200:
                return self
            time.sleep(POLL_SECONDS)
        raise RuntimeError("not ready in time:\n" + self.log()[-4000:])

    def get_status(self, path):
        """The status of an unauthenticated GET, or None where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def kill(self):
        """`kill -9`."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        """SIGTERM; answers with the exit code and the seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_SECONDS_MAX)
        return code, time.monotonic() - started

    def log(self):
        """What the daemon has logged so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def close(self, keep=False):
        """Ends the process and removes its home, unless a failure is to be looked into."""
        if self.process and self.process.poll() is None:
            self.kill()
        if keep:
            print("# kept for a look: %s" % self.home, flush=True)
        else:
            shutil.rmtree(self.home, ignore_errors=True)
