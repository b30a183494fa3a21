"""The operator over HTTP: tokens, targets, projects and their keys, erasure, metrics.

Owns judging that each holds at once and after `kill -9`, and is the operator's alone. Must never
look into the data directory, but for the keys that a first start writes there for its owner.
"""

import json
import re
import shutil
import subprocess
import time

from api.scene import SECONDS_MAX, Configured, Project, events_of, keys, receiving, wait_events
from api.stream import follow
from harness import wire
from harness.wire import JSON

POLL_SECONDS = 0.02
FIRST = "first-start-keys"


class Desk:
    """A daemon without configured projects but one, and its operator."""

    def __init__(self, name, settings=""):
        self.daemon = Configured(name, settings, projects=[keys(0)]).start()
        text = (self.daemon.data / FIRST).read_text()
        self.token = re.search(r"operator token +(\S+)", text).group(1)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.daemon.close(keep=kind is not None)

    def call(self, method, path, fields=None, token=None):
        """One request of the operator."""
        head = {**wire.bearer(token or self.token), "Content-Type": JSON}
        body = b"" if fields is None else json.dumps(fields).encode()
        return wire.request(self.daemon.port, method, path, head, body)

    def again(self):
        """`kill -9`, and a new start."""
        self.daemon.kill()
        self.daemon.start()

    def project(self, name="shop"):
        """A new project, as its owner sees it."""
        made = self.call("POST", "/projects/", {"name": name}).json()
        return Project(self.daemon, made["id"], made["public_key"], made["secret_key"])


def tokens(report, _):
    """Several, named, revoked for good."""
    with Desk("tokens") as desk:
        listed = desk.call("GET", "/operator/tokens/").json()
        report.equal("that of the first start", [one["name"] for one in listed], ["first start"])
        made = desk.call("POST", "/operator/tokens/", {"name": "deploy"})
        report.equal("made", (made.status, made.json()["name"]), (201, "deploy"))
        other = made.json()["token"]
        report.equal("it opens", desk.call("GET", "/projects/", token=other).status, 200)
        report.check("it is shown once", other not in desk.call("GET", "/operator/tokens/").body.decode())
        for name in ("", "x" * 129, "a\nb", 7):
            refused = desk.call("POST", "/operator/tokens/", {"name": name})
            report.equal("%r is no name" % name, refused.status, 400)
        report.equal("unknown fields", desk.call("POST", "/operator/tokens/", {"nam": "x"}).status, 400)
        gone = desk.call("DELETE", "/operator/tokens/%d/" % listed[0]["id"], token=other)
        report.equal("revoked", gone.status, 204)
        report.equal("it opens nothing", desk.call("GET", "/projects/").status, 401)
        desk.again()
        report.equal("nor after a restart", desk.call("GET", "/projects/").status, 401)
        report.equal("the other still does", desk.call("GET", "/projects/", token=other).status, 200)
        report.equal("no such token", desk.call("DELETE", "/operator/tokens/99/", token=other).status,
                     404)
        last = desk.call("GET", "/operator/tokens/", token=other).json()[0]["id"]
        report.equal("the last one too", desk.call("DELETE", "/operator/tokens/%d/" % last,
                                                   token=other).status, 204)
        before = (desk.daemon.data / FIRST).read_text()
        desk.again()
        report.equal("no start makes another", (desk.daemon.data / FIRST).read_text(), before)
        report.equal("nobody is let in", desk.call("GET", "/projects/", token=other).status, 401)
        report.check("no token in the log", other not in desk.daemon.log()
                     and desk.token not in desk.daemon.log())


def targets(report, _):
    """Limits and pauses: at once, over restarts, before the configuration's; a project's share."""
    with receiving() as target:
        origin = "http://127.0.0.1:%d" % target.port
        limits = '[[target]]\norigin = "%s"\nin_flight = 7\n' % origin
        with Desk("targets", limits) as desk:
            project, other = desk.project(), desk.project("other")
            project.subscribe(target.url("/a"))
            other.subscribe(target.url("/b"))
            other.subscribe(target.url("/b"), "file.stored")
            listed = desk.call("GET", "/targets/").json()
            row = listed["results"][0]
            report.equal("listed", (len(listed["results"]), listed["next"], row["target"], row["state"],
                                    row["webhooks"], row["in_flight"], row["set"]["in_flight"]),
                         (1, None, origin, "active", 3, 7, None))
            path = "/targets/%s/" % row["id"]
            fields = {"rate_per_second": 50, "burst": 60, "in_flight": 3}
            changed = desk.call("POST", path, fields).json()
            report.equal("set", {key: changed[key] for key in fields}, fields)
            desk.again()
            shown = desk.call("GET", path).json()
            report.equal("still set", ({key: shown[key] for key in fields}, shown["set"]),
                         (fields, fields))
            back = desk.call("POST", path, {"in_flight": None}).json()
            report.equal("the configuration's again", (back["in_flight"], back["burst"]), (7, 60))
            for bad in ({"burst": 0}, {"rate_per_second": "x"}, {"in_flight": 1.5}, {"paused": "x"},
                        {"rate": 5}, {"target": origin}):
                answer = desk.call("POST", path, bad)
                report.equal("%r: 400 that names it" % bad, (answer.status, list(answer.json())),
                             (400, list(bad)))
            share(report, desk, project, path, row["id"])
            paused_target(report, desk, project, target, path)
            unknown = desk.call("POST", "/targets/", {"target": "https://example.com", "burst": 5})
            report.equal("one that nobody points to", (unknown.status, unknown.json()["burst"]), (200, 5))
            listed = [one["target"] for one in desk.call("GET", "/targets/").json()["results"]]
            report.check("is listed", "https://example.com" in listed, listed)
            report.equal("no target", desk.call("POST", "/targets/", {"target": "x"}).status, 400)
            report.equal("no such target", desk.call("GET", "/targets/tgt_x/").status, 404)


def share(report, desk, project, path, number):
    """What a project sees of a target, and may not set."""
    mine = project.call("GET", "/targets/", accept="own").json()["results"]
    report.equal("its share", [(one["id"], one["webhooks"]) for one in mine], [(number, 1)])
    shown = project.call("GET", path, accept="own").json()
    report.equal("no limits of the target's", sorted(shown),
                 ["backlog", "id", "paused_since", "state", "target", "under_way", "webhooks"])
    for of in (path, "/targets/"):
        report.equal("it may not set %s" % of, project.call("POST", of, {"burst": 5}).status, 403)
    stranger = desk.project("stranger")
    report.equal("a stranger has no share", stranger.call("GET", "/targets/").json()["results"], [])
    report.equal("and finds none", stranger.call("GET", path).status, 404)


def paused_target(report, desk, project, target, path):
    """Paused: events are kept over a restart, and sent when it is resumed."""
    paused = desk.call("POST", path, {"paused": True}).json()
    report.equal("paused", paused["state"], "paused")
    report.equal("the project is told", project.call("GET", path).json()["state"], "paused")
    webhook = project.call("GET", "/webhooks/", accept="own").json()[0]["id"]
    report.equal("a test says so", project.act(webhook, "test").status, 409)
    first = project.accepted()["id"]
    desk.again()
    second = project.accepted()["id"]
    with receiving() as elsewhere:
        # Somebody else's delivery comes and goes meanwhile.
        other = desk.project("elsewhere")
        other.subscribe(elsewhere.url())
        sent = other.accepted()["id"]
        report.equal("others go on", wait_events(elsewhere, 1), [sent])
    report.equal("nothing was sent", events_of(target, "/a"), [])
    resumed = desk.call("POST", path, {"paused": False}).json()
    report.equal("resumed", (resumed["state"], resumed["paused_since"]), ("active", None))
    report.equal("all of it arrives", wait_events(target, 2, "/a"), [first, second])


def projects(report, _):
    """Renamed, its keys changed, removed with all that is its own."""
    with Desk("projects") as desk, receiving() as target:
        project = desk.project()
        path = "/projects/%d/" % project.id
        report.equal("renamed", desk.call("POST", path, {"name": "Laden"}).json()["name"], "Laden")
        report.equal("its owner sees it", project.call("GET", "/project/").json()["name"], "Laden")
        for bad in ({"name": ""}, {"id": 5}):
            report.equal("%r: 400" % bad, desk.call("PATCH", path, bad).status, 400)
        secret_keys(report, desk, project, path + "keys/")
        configured = "/projects/%d/" % keys(0)[0]
        for method, of, fields in (("DELETE", "", None), ("POST", "", {"name": "x"}),
                                   ("POST", "keys/", {})):
            answer = desk.call(method, configured + of, fields)
            report.check("one of the configuration: %s %s" % (method, of), answer.status == 409
                         and "[[project]]" in answer.json()["detail"], answer)
        removed(report, desk, project, target, path)


def secret_keys(report, desk, project, path):
    """One more, both work; one less, it works no more, over restarts."""
    old = desk.call("GET", path).json()
    made = desk.call("POST", path).json()
    second = Project(desk.daemon, project.id, project.public, made["secret_key"])
    for one in (project, second):
        report.equal("both keys work", one.call("GET", "/project/").status, 200)
    report.check("a key is shown once", made["secret_key"] not in
                 desk.call("GET", path).body.decode() + desk.call("GET", path + made["id"] + "/").body.decode())
    second.subscribe("http://127.0.0.1:9/keys")
    with follow(project) as stream:
        second.accepted()
        report.equal("a stream tells", stream.next().name, "delivery.pending")
        report.equal("revoked", desk.call("DELETE", path + old[0]["id"] + "/").status, 204)
        second.accepted()
        left = iter(stream.next, None)
        told = [event.name for event in left if event.name == "delivery.pending"]
        report.equal("and ends with its key", told, [])
    desk.again()
    report.equal("it works no more", project.call("GET", "/project/").status, 401)
    report.equal("the other does", second.call("GET", "/project/").status, 200)
    last = desk.call("DELETE", path + made["id"] + "/")
    report.equal("the last one stays", last.status, 409)
    report.equal("no such key", desk.call("DELETE", path + "00000000/").status, 404)
    taken = desk.call("POST", path, {"secret_key": keys(0)[2]})
    report.check("another project's", taken.status == 400 and "another project" in
                 taken.json()["detail"], taken)
    report.equal("none at all", desk.call("POST", path, {"secret_key": "a:b"}).status, 400)
    own = desk.call("POST", path, {"secret_key": project.secret})
    report.equal("a key of one's own choice", own.status, 201)
    for _ in range(6):
        desk.call("POST", path)
    report.equal("eight are the most", desk.call("POST", path).status, 400)


def removed(report, desk, project, target, path):
    """Removed: nothing of it is served or sent, over restarts."""
    kept = project.subscribe(target.url("/kept"))["id"]
    project.act(kept, "pause")
    project.accepted()
    report.equal("removed", desk.call("DELETE", path).status, 204)
    for again in ("", " after a restart"):
        report.equal("its key opens nothing" + again, project.call("GET", "/webhooks/").status, 401)
        report.equal("it is not there" + again, desk.call("GET", path).status, 404)
        report.check("nor listed" + again, project.id not in
                     [one["id"] for one in desk.call("GET", "/projects/").json()])
        desk.again()
    used = desk.call("POST", "/projects/", {"id": project.id})
    report.check("its id is not given again", used.status == 400 and "removed" in
                 used.json()["detail"], used)
    deadline = time.monotonic() + SECONDS_MAX
    while sample(desk, "postrider_queue_deliveries", 'state="ready"') and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    report.equal("what was pending is over", sample(desk, "postrider_queue_deliveries", 'state="ready"'),
                 0.0)
    report.equal("and was not sent", events_of(target, "/kept"), [])


def erasure(report, _):
    """The payload goes; what waits of it is cancelled, over restarts."""
    with Desk("erasure") as desk, receiving() as target:
        project, other = desk.project(), desk.project("other")
        number = project.subscribe(target.url())["id"]
        project.act(number, "pause")
        erased = project.accepted(data={"canary": "erased-canary"})["id"]
        kept = project.accepted(data={"canary": "kept-canary"})["id"]
        report.equal("another project's: 404", other.call("POST", "/events/%s/erase/" % erased).status, 404)
        answer = project.call("POST", "/events/%s/erase/" % erased)
        report.equal("erased", (answer.status, answer.json()["id"], answer.json()["event"]),
                     (200, erased, "file.uploaded"))
        when = answer.json()["erased_at"]
        again = project.call("POST", "/events/%s/erase/" % erased)
        report.equal("again: as before", (again.status, again.json()["erased_at"]), (200, when))
        for bad in ("evt_x", "evt_" + "0" * 26, erased[:-1] + ("0" if erased[-1] != "0" else "1")):
            report.equal("%s: 404" % bad, project.call("POST", "/events/%s/erase/" % bad).status, 404)
        deadline = time.monotonic() + SECONDS_MAX
        result = 'result="cancelled"'
        while not sample(desk, "postrider_deliveries_finished_total", result) \
                and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        report.equal("it is cancelled", sample(desk, "postrider_deliveries_finished_total", result), 1.0)
        desk.again()
        project.act(number, "resume")
        report.equal("the other one arrives", wait_events(target, 1), [kept])
        report.equal("and was not sent", events_of(target), [kept])
        by_operator = desk.call("POST", "/projects/%d/events/%s/erase/" % (project.id, kept))
        report.equal("the operator may too", by_operator.status, 200)


def sample(desk, name, labels=""):
    """One value of `/metrics`, or None."""
    text = desk.call("GET", "/metrics").body.decode()
    line = name + ("{%s}" % labels if labels else "")
    found = [one.rpartition(" ") for one in text.splitlines() if not one.startswith("#")]
    return next((float(value) for key, _, value in found if key == line), None)


def metrics(report, _):
    """Figures that follow what happened, text that promtool takes, and labels that stay few."""
    with Desk("metrics") as desk, receiving(lambda one: 500 if one.path == "/bad" else 200) as target:
        project = desk.project()
        report.equal("not without a token", desk.daemon.get_status("/metrics"), 401)
        report.equal("not with a project's key", project.call("GET", "/metrics").status, 401)
        before = len(lines(desk))
        project.subscribe(target.url("/good"))
        project.subscribe(target.url("/bad"))
        project.subscribe(target.url("/custom"), "order.paid")
        for number in range(3):
            project.accepted()
            project.accepted("order.paid", headers={"Idempotency-Key": str(number)})
            project.accepted("order.paid", headers={"Idempotency-Key": str(number)})
        project.publish("no event name!")
        target.wait(lambda all_: len(all_) >= 9, SECONDS_MAX)
        attempts = "postrider_delivery_attempts_total"
        wanted = {
            ("postrider_events_accepted_total", 'source="events",type="file.uploaded"'): 3.0,
            ("postrider_events_accepted_total", 'source="events",type="custom"'): 3.0,
            ("postrider_events_rejected_total", 'source="events",reason="invalid"'): 1.0,
            (attempts, 'outcome="success",code_class="2xx"'): 6.0,
            (attempts, 'outcome="http_error",code_class="5xx"'): 3.0,
            ("postrider_deliveries_finished_total", 'result="delivered"'): 6.0,
            ("postrider_delivery_attempt_duration_seconds_count", ""): 9.0,
            ("postrider_delivery_latency_seconds_count", ""): 6.0,
            ("postrider_queue_deliveries", 'state="scheduled"'): 3.0,
            ("postrider_queue_deliveries", 'state="ready"'): 0.0,
            ("postrider_webhooks", 'state="active"'): 3.0,
            ("postrider_targets", ""): 1.0,
        }
        seen = settled(desk, wanted)
        for key, value in wanted.items():
            report.equal("%s{%s}" % key, seen[key], value)
        answer = desk.call("GET", "/metrics")
        report.equal("its type", answer.headers["content-type"], "text/plain; version=0.0.4")
        for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "postrider_store_bytes",
                     "postrider_store_free_bytes", "postrider_store_commit_duration_seconds_count"):
            report.check(name, (sample(desk, name) or 0) > 0, sample(desk, name))
        tick = sample(desk, "postrider_watchdog_last_tick_timestamp_seconds")
        report.check("the loop turned just now", abs(time.time() - tick) < SECONDS_MAX, tick)
        report.check("nothing names a webhook, a target or an event",
                     not re.search(r"127\.0\.0\.1|order\.paid|/good", answer.body.decode()))
        promtool(report, answer.body)
        many = len(lines(desk))
        for number in range(40):
            project.subscribe("http://h%d.invalid/" % number, "type.%d" % number)
            project.accepted("type.%d" % number)
        report.check("lines do not grow with what there is", len(lines(desk)) <= many + 4,
                     (before, many, len(lines(desk))))
    with Desk("public", "[metrics]\npublic = true\n") as desk:
        report.equal("public where that is wanted", desk.daemon.get_status("/metrics"), 200)


def lines(desk):
    """The samples of `/metrics`."""
    text = desk.call("GET", "/metrics").body.decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def settled(desk, wanted):
    """The wanted samples, once they are so, or at the end of patience."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        seen = {key: sample(desk, *key) for key in wanted}
        if seen == wanted or time.monotonic() > deadline:
            return seen
        time.sleep(POLL_SECONDS)


def promtool(report, text):
    """`promtool check metrics` has nothing to say."""
    program = shutil.which("promtool")
    if not report.check("promtool is there", program, "install Debian's package prometheus"):
        return
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, timeout=60)
    report.equal("promtool check metrics", (done.returncode, done.stdout, done.stderr), (0, b"", b""))


PARTS = (tokens, targets, projects, erasure, metrics)
