"""`dev`: the first minute, with a person at the keys.

Owns judging what is on the screen and what is left behind. Must never use the ports that `dev`
takes by itself: somebody may be using them.
"""

import re
import signal
import socket
import termios
import time

from cli.program import SECONDS_MAX, Folder, Running, run
from harness import wire

ANY = ["--listen", "127.0.0.1:0", "--receiver-listen", "127.0.0.1:0"]
DELIVERED = (r"^  \d\d:\d\d:\d\d → file\.uploaded  (evt_\w+)  delivered 200 in \d+ m?s{}"
             r"   X-Uc ✓  webhook-signature ✓$")
FAILED = r"^  \d\d:\d\d:\d\d → file\.uploaded  (evt_\w+)  failed 500 in \d+ m?s{}   X-Uc ✓"
PRESS_AGAIN_SECONDS = 0.5


def start(home, *words, terminal=True):
    """`dev` with its data directory below `home`."""
    return Running("dev", *words, cwd=home, terminal=terminal, env={"TMPDIR": str(home)})


def left(home):
    """What it has left behind."""
    return [path.name for path in home.iterdir()]


def first_minute(report):
    """The first lines, the first delivery, and the API that they tell of."""
    with Folder("dev") as home, start(home, *ANY) as dev:
        done = dev.wait(DELIVERED.format(""))
        if not report.check("a verified delivery", done, dev.text + dev.errors):
            return
        head = re.match(r"  postrider (\S+)  dev mode \(store: (\S+), deleted on exit\)\n"
                        r"  API        http://127\.0\.0\.1:(\d+)    Authorization: "
                        r"Uploadcare\.Simple demopublic:demosecret\n"
                        r"  Receiver   http://127\.0\.0\.1:(\d+)/hook    signing secret (\S{32})\n",
                        dev.text)
        if not report.check("the first lines", head, dev.text):
            return
        _, store, port, _, secret = head.groups()
        report.check("the keys are told", dev.wait(r"Keys: f .* r .* q "), dev.text)
        report.equal("one directory", left(home), [store.rsplit("/", 1)[1]])
        keys = wire.simple("demopublic", "demosecret")
        hooks = wire.request(int(port), "GET", "/webhooks/", keys).json()
        report.equal("its webhook", [one["signing_secret"] for one in hooks], [secret])
        hint = re.search(r"^  Try:  postrider (send .*)$", dev.text, re.M)
        sent = run(*hint[1].split(), cwd=home)
        report.check("the line to try works", sent.code == 0 and "1 deliveries" in sent.out, sent)
        event = sent.out.split()[1]
        report.check("and arrives", dev.wait(event + "  delivered 200"), dev.text)
        dev.press("q")
        report.equal("q: 0", dev.end(), 0)
        report.equal("nothing is left", left(home), [])
        report.equal("nothing was complained of", dev.errors, "")


def break_it(report):
    """f: three failures, with their attempts on screen; r retries now, until it is delivered."""
    with Folder("break") as home, start(home, *ANY) as dev:
        report.check("a first delivery", dev.wait(DELIVERED.format("")), dev.text + dev.errors)
        dev.press("f")
        first = dev.wait(FAILED.format(""))
        if not report.check("f: a failure", first, dev.text):
            return
        for attempt in (2, 3):
            failed = press_until(dev, FAILED.format("  attempt %d" % attempt))
            report.check("r: attempt %d fails" % attempt, failed and failed[1] == first[1], dev.text)
        done = press_until(dev, DELIVERED.format("  attempt 4"))
        report.check("r: attempt 4 is delivered", done and done[1] == first[1], dev.text)
        report.equal("three failures", len(re.findall(" failed 500 ", dev.text)), 3)
        dev.press("\x03")
        report.equal("Ctrl-C: 0", dev.end(), 0)
        report.equal("nothing is left", left(home), [])


def press_until(dev, pattern):
    """Presses r until the screen shows it: the answer to the last attempt may still be under way
    when its line is shown, and then there is nothing to retry yet."""
    deadline = time.monotonic() + SECONDS_MAX
    found = None
    while not found and time.monotonic() < deadline:
        dev.press("r")
        found = dev.wait(pattern, PRESS_AGAIN_SECONDS)
    return found


def keyboard(report):
    """The terminal is as it was when `dev` ends."""
    with Folder("keyboard") as home, start(home, *ANY) as dev:
        before = termios.tcgetattr(dev.terminal)
        report.check("keys are told", dev.wait("Keys:"), dev.text)
        report.check("keys are read one by one", wait_for(
            lambda: not termios.tcgetattr(dev.terminal)[3] & termios.ICANON))
        dev.press("x")
        dev.press("q")
        report.equal("q: 0", dev.end(), 0)
        report.equal("the terminal is as it was", termios.tcgetattr(dev.terminal), before)


def wait_for(holds):
    """Waits until it holds."""
    deadline = time.monotonic() + SECONDS_MAX
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def busy_ports(report):
    """Ports that are in use are no obstacle."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(
            ("127.0.0.1", 0)) as two, Folder("busy") as home:
        taken = ["127.0.0.1:%d" % taken.getsockname()[1] for taken in (one, two)]
        with start(home, "--listen", taken[0], "--receiver-listen", taken[1]) as dev:
            report.check("it delivers", dev.wait(DELIVERED.format("")), dev.text + dev.errors)
            for address in taken:
                report.check("it says that %s is in use" % address.split(":")[0],
                             "%s is in use; taking a free port" % address in dev.text, dev.text)
            dev.press("q")
            report.equal("q: 0", dev.end(), 0)


def without_a_terminal(report):
    """In a script: no keys, and SIGTERM or `--once` ends it."""
    with Folder("pipe") as home:
        with start(home, *ANY, terminal=False) as dev:
            report.check("it delivers", dev.wait(DELIVERED.format("")), dev.text + dev.errors)
            report.check("a line to try", dev.wait("Try:"), dev.text)
            report.check("no keys", "Keys:" not in dev.text, dev.text)
            report.equal("SIGTERM: 0", dev.terminate(), 0)
            report.equal("nothing is left", left(home), [])
        with start(home, *ANY, terminal=False) as dev:
            dev.wait(DELIVERED.format(""))
            dev.process.send_signal(signal.SIGINT)
            report.equal("SIGINT: 0", dev.end(), 0)
            report.equal("nothing is left by it either", left(home), [])
        with start(home, "--once", *ANY, terminal=False) as dev:
            report.equal("--once: 0", dev.end(), 0)
            report.equal("one delivery", len(re.findall("delivered 200", dev.text)), 1)
            report.equal("nothing is left by --once", left(home), [])
        bad = run("dev", "--listen", "nowhere", cwd=home)
        report.equal("no address: 2", bad.code, 2)
        outside = run("dev", "--listen", "192.0.2.1:80", cwd=home)
        report.equal("not this machine's address: 73", outside.code, 73)


PARTS = (first_minute, break_it, keyboard, busy_ports, without_a_terminal)
