"""The program under test as a person or a script runs it: once, in the background, on a terminal.

Owns processes, their output and their terminals. Must never judge what they say. A process in the
background gets a terminal of its own on request; without one its output is a pipe.
"""

import fcntl
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import threading

from harness.daemon import Daemon, binary

SECONDS_MAX = 30
TERMINAL = {"TERM": "xterm", "COLUMNS": "200"}


class Bare(Daemon):
    """A daemon with a configuration of the test's own, as it stands."""

    def __init__(self, name, text=""):
        super().__init__(name)
        self.configure(text)

    def configure(self, text):
        """Replaces the configuration; it holds from the next start on."""
        self._config.write_text(text)

    @property
    def config(self):
        """The configuration file."""
        return self._config

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.close(keep=kind is not None)


class Folder:
    """A directory for a part, removed at its end."""

    def __init__(self, name):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="postrider-%s-" % name))

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Done:
    """How a run of the program ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def lines(self):
        """Standard output, line by line."""
        return self.out.splitlines()

    def __repr__(self):
        return "<exit %s, out %r, err %r>" % (self.code, self.out[-600:], self.err[-600:])


def run(*words, cwd=None, stdin="", env=None, user=None, program=None):
    """Runs the program to its end, with nothing of it on a terminal."""
    done = subprocess.run([program or binary(), *map(str, words)], input=stdin, text=True,
                          capture_output=True, timeout=SECONDS_MAX, cwd=cwd or "/", user=user,
                          env={**Daemon.environment(), **(env or {})})
    return Done(done.returncode, done.stdout, done.stderr)


def take_terminal():
    """In the child: its standard input becomes the terminal whose Ctrl-C is meant for it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Running:
    """The program in the background; what it says can be waited for. `terminal` is the other
    end of its terminal, if it has one."""

    def __init__(self, *words, cwd=None, terminal=False, env=None):
        self._errors = tempfile.TemporaryFile()
        self._changed = threading.Condition()
        self._text, self._ended = "", False
        environment = {**Daemon.environment(), **(env or {})}
        if terminal:
            own, theirs = pty.openpty()
            self.terminal = own
            environment.update(TERMINAL)
        else:
            own, theirs = os.pipe()
            self.terminal = None
        self._output = own
        self.process = subprocess.Popen(
            [binary(), *map(str, words)], stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs, stderr=self._errors, cwd=cwd or "/", env=environment,
            start_new_session=True, preexec_fn=take_terminal if terminal else None)
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        data = b""
        while True:
            try:
                more = os.read(self._output, 65536)
            except OSError:
                more = b""  # a terminal whose last user has gone
            data += more
            with self._changed:
                self._text = data.decode(errors="replace").replace("\r\n", "\n")
                self._ended = not more
                self._changed.notify_all()
            if not more:
                return

    @property
    def text(self):
        """What it has printed so far."""
        with self._changed:
            return self._text

    @property
    def errors(self):
        """What it has said on standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def lines(self):
        """The complete lines that it has printed so far."""
        return self.text.split("\n")[:-1]

    def wait(self, pattern, seconds=SECONDS_MAX):
        """Waits until the text holds a match; answers with it, or with None."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or re.search(pattern, self._text, re.M), timeout=seconds)
            return re.search(pattern, self._text, re.M)

    def wait_lines(self, count):
        """Waits for so many lines; answers with all."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._text.count("\n") >= count,
                                   timeout=SECONDS_MAX)
        return self.lines()

    def press(self, keys):
        """Presses keys of its terminal."""
        os.write(self.terminal, keys.encode())

    def end(self):
        """Waits for its end; answers with the exit code."""
        code = self.process.wait(timeout=SECONDS_MAX)
        self._reader.join(timeout=SECONDS_MAX)
        return code

    def terminate(self):
        """SIGTERM; answers with the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def close(self):
        """Ends it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(timeout=SECONDS_MAX)
        os.close(self._output)
        self._errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
