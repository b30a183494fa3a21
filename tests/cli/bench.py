"""`bench`: a short run of it, its output, and what it leaves behind.

Owns judging the form of the figures and that they are sane. Must never depend on speed: no figure
is compared with a bar or with the clock.
"""

import json
import os
import pathlib
import signal
import subprocess
import threading
import time

from cli.program import SECONDS_MAX, Folder, run
from harness.daemon import Daemon, binary

EVENTS = 2000
EVENT_BYTES = 1200
RUN_SECONDS_MAX = 240
POLL_SECONDS = 0.01
CASES = [("accept", "64 publishers"), ("end-to-end", "64 publishers"), ("end-to-end", "1 publisher")]
SYSTEMS = ["daemon", "memory", "fdatasync"]
BARS = {
    "end to end 1:1, CPU per event": (2.5, "x memory", "at most"),
    "end to end 1:1, events/s": (0.6, "x fdatasync", "at least"),
    "written for an event of 1.2 KB, 64 publishers": (1.6, "KB", "at most"),
    "written for an event of 1.2 KB, 1 publisher": (2.2, "KB", "at most"),
}
NOT_DURABLE = ("tmpfs", "ramfs")


def bench(*words):
    """Starts `bench` in the background."""
    return subprocess.Popen([binary(), "bench", *map(str, words)], text=True, cwd="/",
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=Daemon.environment())


def with_words(*words):
    """Processes whose command line holds one of these words."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
        found += [line.replace("\0", " ")] if any(word in line for word in words) else []
    return found


def short_run(report):
    """Every figure of a short run: all events arrived, no figure is impossible."""
    with Folder("bench") as home:
        words = ("accept", "end-to-end", "--rounds", 1, "--events", EVENTS, "--json", "--dir", home)
        process = bench(*words)
        out, err = process.communicate(timeout=RUN_SECONDS_MAX)
        report.equal("exit", (process.returncode, err), (0, ""))
        machine, *lines = [json.loads(line) for line in out.splitlines()]
        kind = subprocess.run(["stat", "-f", "-c", "%T", str(home)], text=True, check=True,
                              capture_output=True).stdout.strip()
        report.equal("it says whether the disk is one", machine["durable"], kind not in NOT_DURABLE)
        report.equal("and where it is", machine["directory"], os.path.realpath(home))
        figures = [line for line in lines if "figure" in line]
        bars = {line["bar"]: line for line in lines if "bar" in line}
        report.equal("figures", [(f["figure"], f["case"], f["system"]) for f in figures],
                     [(*case, system) for case in CASES for system in SYSTEMS])
        for figure in figures:
            judge(report, figure)
        report.equal("bars", {name: (bar["limit"], bar["unit"], bar["wanted"])
                              for name, bar in bars.items()}, BARS)
        for name, bar in bars.items():
            below = bar["value"] <= bar["limit"]
            report.check("a bar is sane: " + name, bar["value"] > 0, bar)
            report.equal("and judged: " + name, bar["reached"], below == (bar["wanted"] == "at most"))
        report.equal("nothing is left behind", os.listdir(home), [])


def judge(report, figure):
    """One figure."""
    name = "%s, %s, %s" % (figure["figure"], figure["case"], figure["system"])
    arrived = EVENTS * figure["fan_out"]
    report.equal(name + ": every event arrived", figure["arrived"], arrived)
    report.equal(name + ": of so many", (figure["rounds"], figure["events"]), (1, EVENTS))
    report.check(name + ": it took time", figure["events_per_s"] > 0, figure)
    report.check(name + ": latency", 0 < figure["p50_ms"] <= figure["p99_ms"], figure)
    report.check(name + ": CPU", 0 <= figure["cpu_us_per_event"] < 1e6, figure)
    report.check(name + ": memory", figure["rss_peak_bytes"] > 1 << 20, figure)
    of_bytes = [figure["bytes_per_event"], figure["bytes_per_event_of_round"]]
    if figure["system"] == "daemon":
        report.check(name + ": more is written than came", min(of_bytes) > EVENT_BYTES, figure)
        report.check(name + ": CPU is counted", figure["cpu_us_per_event"] > 0, figure)
    else:
        report.equal(name + ": no store", of_bytes, [None, None])


def for_people(report):
    """A table, and the bar that a binary and a start have."""
    with Folder("bench") as home:
        done = run("bench", "start", "--rounds", 1, "--dir", home)
        report.equal("exit", (done.code, done.err), (0, ""))
        for word in ("idle RSS", "cold start to ready", "binary", "WANTED"):
            report.check("it tells of " + word, word in done.out, done)


def is_stopped(report):
    """SIGTERM in the middle: its processes and its directory are gone."""
    with Folder("bench") as home:
        process = bench("end-to-end", "--events", 10000000, "--dir", home)
        # Its output is read, or it would wait for the reader.
        reader = threading.Thread(target=process.communicate, daemon=True)
        reader.start()
        deadline = time.monotonic() + SECONDS_MAX
        loading = lambda: with_words("--events=2000000")  # a warm-up is a fifth of a round
        while not loading() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        report.check("it publishes", loading())
        report.equal("in a directory of its own", len(os.listdir(home)), 1)
        process.send_signal(signal.SIGTERM)
        reader.join(timeout=SECONDS_MAX)
        report.equal("it ends", process.poll(), 1)
        report.equal("nothing is left behind", os.listdir(home), [])
        deadline = time.monotonic() + SECONDS_MAX
        while with_words(str(home), "--events=2000000") and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        report.equal("nobody is", with_words(str(home), "--events=2000000"), [])


def refusals(report):
    """What can't be measured, or not there."""
    for words, code in ((["bench", "frob"], 2), (["bench", "--rounds", "0"], 2),
                        (["bench", "accept", "--events", "1"], 2),
                        (["bench", "start", "--dir", "/nowhere/at/all"], 73)):
        done = run(*words)
        report.equal("exit %s" % words, done.code, code)
        report.check("said on stderr %s" % words, done.err and not done.out, done)
    done = run("bench", "--help")
    for name in ("accept", "end-to-end", "fan-out", "gentle", "start", "dead", "million", "growth"):
        report.check("its help tells of " + name, "\n  %s " % name in done.out, done)
    report.check("roles are not for people", "bench-role" not in run("--help").out)


PARTS = (short_run, for_people, is_stopped, refusals)
