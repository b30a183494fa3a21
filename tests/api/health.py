"""Health and the end: probes, a stop with an attempt under way, and what a stop refuses.

Owns judging `/healthz`, `/readyz` and SIGTERM as a load balancer sees them. Must never wait for a
time to pass: a receiver holds its answer back until it is told.
"""

import signal
import threading
import time

from api.scene import (DRAIN, SECONDS_MAX, Project, events_of, keys, only_arrivals, receiving,
                       wait_events)
from harness import wire
from harness.daemon import Daemon

POLL_SECONDS = 0.01


def probes(report, stage):
    """Both answer without a key, to GET and HEAD alone."""
    port = stage.daemon.port
    for path in ("/healthz", "/readyz", "/healthz/"):
        answer = wire.request(port, "GET", path)
        report.equal("GET %s" % path, (answer.status, list(answer.json())), (200, ["status"]))
        report.equal("HEAD %s" % path, wire.request(port, "HEAD", path).status, 200)
        report.equal("POST %s" % path, wire.request(port, "POST", path).status, 405)
        report.check("%s: X-Request-Id" % path, answer.headers.get("x-request-id"), answer)
    named = wire.request(port, "GET", "/healthz", {"X-Request-Id": "job-7"})
    report.equal("a request keeps its id", named.headers["x-request-id"], "job-7")


def drains(report, _):
    """SIGTERM with an attempt under way: it is finished, nothing new is taken, the exit is 0."""
    arrived, release = threading.Event(), threading.Event()

    def hang(delivery):
        if delivery.path == "/slow":
            arrived.set()
            release.wait(SECONDS_MAX)
        return 200

    daemon = Daemon("drain", server={"drain_timeout": '"60s"'}, projects=[keys(0)]).start()
    project = Project(daemon, *keys(0))
    try:
        with receiving(hang) as target:
            project.subscribe(target.url("/slow"))
            event = project.accepted()["id"]
            report.check("an attempt is under way", arrived.wait(SECONDS_MAX))
            daemon.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + SECONDS_MAX
            while daemon.get_status("/readyz") == 200 and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            report.check("not ready any more", daemon.get_status("/readyz") in (None, 503))
            try:
                status = project.publish().status
            except OSError:
                status = None
            report.check("nothing new is taken", status in (None, 503), status)
            report.equal("it waits for the attempt", daemon.process.poll(), None)
            release.set()
            code = daemon.process.wait(timeout=SECONDS_MAX)
            report.equal("then it ends with 0", code, 0)
            report.equal("the attempt was finished", events_of(target, "/slow"), [event])
            daemon.start()
            report.check("and is not made again", only_arrivals(project, target, [event], "/slow"),
                         events_of(target, "/slow"))
            code, _ = daemon.terminate()
            report.equal("idle, it ends with 0", code, 0)
    finally:
        release.set()
        daemon.close(keep=report.failed > 0)


def hurries(report, _):
    """A second SIGTERM does not wait; what was under way comes again."""
    arrived, release = threading.Event(), threading.Event()

    def hang(_):
        arrived.set()
        release.wait(SECONDS_MAX)
        return 200

    daemon = Daemon("hurry", server={"drain_timeout": '"60s"'}, projects=[keys(0)]).start()
    project = Project(daemon, *keys(0))
    try:
        with receiving(hang) as target:
            project.subscribe(target.url())
            event = project.accepted()["id"]
            report.check("an attempt is under way", arrived.wait(SECONDS_MAX))
            daemon.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + SECONDS_MAX
            while daemon.get_status("/readyz") == 200 and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            daemon.process.send_signal(signal.SIGTERM)
            report.equal("it ends with 0", daemon.process.wait(timeout=SECONDS_MAX), 0)
            release.set()
            daemon.start()
            ids = wait_events(target, 2)
            report.equal("what was under way comes again", ids, [event, event])
    finally:
        release.set()
        daemon.close(keep=report.failed > 0)


def drain_timeout(report, _):
    """A target that never answers holds a stop up for the configured time, no longer."""
    arrived, release = threading.Event(), threading.Event()

    def hang(_):
        arrived.set()
        release.wait(SECONDS_MAX)
        return 200

    daemon = Daemon("drained", server={**DRAIN, "drain_timeout": '"1s"'}, projects=[keys(0)])
    daemon.start()
    project = Project(daemon, *keys(0))
    try:
        with receiving(hang) as target:
            project.subscribe(target.url())
            project.accepted()
            report.check("an attempt is under way", arrived.wait(SECONDS_MAX))
            code, seconds = daemon.terminate()
            report.equal("it ends with 0", code, 0)
            report.check("after its time", 1 <= seconds < 10, seconds)
            release.set()
    finally:
        release.set()
        daemon.close(keep=report.failed > 0)


PARTS = (probes, drains, hurries, drain_timeout)
