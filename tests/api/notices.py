"""Notices: events by which the daemon tells a project what became of its deliveries.

Owns judging who is told, what it says, and that nobody else can say it. Must never wait for a time
to pass: every wait is for a request at a receiver.
"""

import json
import time

from api.scene import SECONDS_MAX, Configured, Project, keys, receiving
from harness.daemon import free_port

NAMES = ["postrider.target.failing", "postrider.target.recovered", "postrider.webhook.disabled",
         "postrider.delivery.expired", "postrider.store.low", "postrider.store.recovered"]
SECRET = "notice-signing-secret"


def subscribe(project, target, path):
    """A webhook that hears all notices."""
    fields = {"target_url": target.url(path), "format": "standard", "events": NAMES}
    answer = project.call("POST", "/webhooks/", fields, "own")
    if answer.status != 201:
        raise RuntimeError(repr(answer))
    return answer.json()


def heard(target, path, count=0):
    """The notices that came to a path, once there are so many: names and data."""
    at = lambda all_: [one for one in all_ if one.path == path]  # noqa: E731
    target.wait(lambda all_: len(at(all_)) >= count, SECONDS_MAX)
    bodies = [json.loads(one.body) for one in at(list(target.deliveries))]
    return [(body["type"], body["data"]) for body in bodies]


def reserved(report, stage):
    """Nobody publishes them, and no webhook subscribes to one that there is none of."""
    project = stage.project()
    event = {"event": "postrider.target.failing", "data": {}}
    refused = {
        "/events/": project.call("POST", "/events/", event),
        "a batch": project.call("POST", "/events/", [{"event": "order.paid", "data": {}}, event]),
        "another case": project.call("POST", "/events/", {**event, "event": "Postrider.own"}),
        "as custom": project.call("POST", "/events/", {**event, "dialect": "custom"}),
        "/send/": project.call("POST", "/send/", {**event, "target_url": "http://127.0.0.1:9/"}),
        "/in/cloudevents/": project.call(
            "POST", "/in/cloudevents/", {"specversion": "1.0", "id": "1", "source": "x",
                                         "type": "postrider.store.low", "data": {}},
            headers={"Content-Type": "application/cloudevents+json"}),
    }
    for name, answer in refused.items():
        report.equal("%s: 400" % name, answer.status, 400)
        report.check("%s: it says why" % name, b"the daemon's own" in answer.body, answer)
    unknown = project.call("POST", "/webhooks/", {
        "target_url": "http://127.0.0.1:9/", "event": "postrider.target.falling"}, "own")
    report.equal("an unknown one: 400", unknown.status, 400)
    report.check("names it", b"postrider.target.falling" in unknown.body, unknown)


def targets(report, stage):
    """Who has a webhook at a target hears that it fails and recovers, and nobody else does."""
    one, other, third = stage.project(), stage.project(), stage.project()
    port = free_port()
    dead = "http://127.0.0.1:%d" % port
    with receiving() as target:
        for project, path in ((one, "/one"), (other, "/other"), (third, "/third")):
            subscribe(project, target, path)
        hook = one.subscribe(dead + "/one?token=secret", in_flight=8, signing_secret=SECRET)
        other.subscribe(dead + "/other", event="order.paid")
        for _ in range(6):
            one.accepted()
        for path in ("/one", "/other"):
            name, data = heard(target, path, 1)[0]
            report.equal(path + ": failing", name, "postrider.target.failing")
            report.equal(path + ": what it says",
                         {key: data[key] for key in sorted(data) if key != "since"},
                         {"target": dead, "webhook": None, "reason": "connection",
                          "last_code": None, "last_failure": "connect_refused"})
        said = b"".join(one.body for one in target.deliveries)
        report.check("no secret, no path, nobody's id", not any(
            word.encode() in said for word in (SECRET, "token", one.public, str(hook["id"]) + "}")))
        report.equal("who has none there hears nothing", heard(target, "/third"), [])
        # A webhook of the third fails by what its target answers.
    codes = lambda one: 500 if one.path == "/bad" else 200  # noqa: E731
    with receiving(codes) as target:
        subscribe(third, target, "/notices")
        bad = third.subscribe(target.url("/bad"), in_flight=8)
        for _ in range(12):
            third.accepted()
        name, data = heard(target, "/notices", 1)[0]
        report.equal("one webhook's own failures", (name, data["webhook"], data["reason"],
                     data["last_code"]), ("postrider.target.failing", bad["id"], "status", 500))
        report.equal("are told once", len(heard(target, "/notices")), 1)


def disabled(report, stage):
    """410 disables a webhook, and others of its project are told: not it, not another project."""
    project, other = stage.project(), stage.project()
    with receiving(lambda one: 410 if one.path == "/gone" else 200) as target:
        subscribe(project, target, "/notices")
        subscribe(other, target, "/others")
        gone = project.call("POST", "/webhooks/", {
            "target_url": target.url("/gone"), "format": "standard",
            "events": ["order.paid", "postrider.webhook.disabled"]}, "own").json()
        report.equal("published", project.accepted("order.paid")["deliveries"], 1)
        name, data = heard(target, "/notices", 1)[0]
        report.equal("disabled", (name, data["webhook"], data["reason"], data["target"]),
                     ("postrider.webhook.disabled", gone["id"], "gone",
                      target.url("").rstrip("/")))
        report.check("since when", data["since"].endswith("Z"), data)
        report.equal("not the webhook itself", len(heard(target, "/gone")), 1)
        report.equal("not another project", heard(target, "/others"), [])


def store(report, _):
    """Without room, events are refused, and that is told all the same."""
    daemon = Configured("low", projects=[keys(0)]).start()
    try:
        with receiving() as target:
            project = Project(daemon, *keys(0))
            subscribe(project, target, "/notices")
            project.subscribe(target.url())
            report.equal("with room", project.publish().status, 202)
            report.equal("it stops with 0", daemon.terminate()[0], 0)
            full = "\n[store]\nfree_min = \"1024GiB\"\n"
            daemon._config.write_text(daemon._config.read_text() + full)
            daemon.start()
            deadline = time.monotonic() + SECONDS_MAX
            statuses = set()
            while 503 not in statuses and time.monotonic() < deadline:
                statuses.add(project.publish().status)
            report.check("without: refused", 503 in statuses, statuses)
            name, data = heard(target, "/notices", 1)[0]
            report.equal("low", (name, data["reason"]), ("postrider.store.low", "full"))
            for _ in range(5):
                project.publish()
            report.equal("once", len(heard(target, "/notices")), 1)
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (reserved, targets, disabled, store)
