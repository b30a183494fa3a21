"""A webhook's life: test, pause, resume, inactive, disabled, changed, deleted.

Owns judging what each of these does to what is pending. Must never look into the store.
"""

import json
import time

from api.scene import (SECRET, SECONDS_MAX, Project, events_of, keys, only_arrivals, receiving,
                       wait_events)
from api.delivery import uc_signature
from harness.daemon import Daemon, free_port
from harness.wire import FORM

POLL_SECONDS = 0.01


def tests(report, stage):
    """A test event: its attempt is in the answer."""
    project = stage.project()
    statuses = {"/well": 204, "/missing": 404, "/broken": 500}
    with receiving(lambda delivery: statuses.get(delivery.path, 200)) as target:
        for path, status in statuses.items():
            made = project.subscribe(target.url(path), signing_secret=SECRET)
            answer = project.act(made["id"], "test")
            shown = answer.json()
            report.equal("test %s: 200" % path, answer.status, 200)
            report.equal("test %s: outcome" % path,
                         (shown["delivered"], shown["status"], shown["reason"]),
                         (200 <= status < 300, status, None))
            report.equal("test %s: where" % path, shown["address"].split(":")[0], "127.0.0.1")
            report.check("test %s: how long" % path, shown["duration_ms"] >= 0, shown)
            got = [d for d in target.deliveries if d.path == path]
            report.equal("test %s: one attempt, its own" % path,
                         [d.headers["webhook-id"] for d in got], [shown["delivery"]])
            report.equal("test %s: signed" % path, got[0].headers["x-uc-signature"],
                         uc_signature(SECRET, got[0].body))
        report.equal("nobody else got it", len(target.deliveries), len(statuses))
    refused = project.subscribe("http://127.0.0.1:%d/" % free_port())
    shown = project.act(refused["id"], "test").json()
    report.equal("a closed port", (shown["delivered"], shown["status"]), (False, None))
    report.check("a closed port: the reason", "refused" in shown["reason"], shown)
    unknown = project.subscribe("http://nowhere.invalid/")
    shown = project.act(unknown["id"], "test").json()
    report.equal("no such host", (shown["delivered"], shown["status"]), (False, None))
    report.check("no such host: the reason", "dns" in shown["reason"], shown)
    report.equal("no such webhook", project.act(2_000_000_000, "test").status, 404)
    custom = project.subscribe("http://127.0.0.1:%d/" % free_port(), "order.paid")
    report.equal("a custom type can be tested", project.act(custom["id"], "test").status, 200)


def pauses(report, stage):
    """Paused: events are kept, and delivered in order after the resume."""
    project = stage.project()
    with receiving() as target:
        paused = project.subscribe(target.url("/paused"))
        project.subscribe(target.url("/other"))
        answer = project.act(paused["id"], "pause")
        report.equal("pause", (answer.status, answer.json()["state"]), (200, "paused"))
        again = project.act(paused["id"], "pause")
        report.equal("pause again", (again.status, again.json()["state"]), (200, "paused"))
        ids = []
        for _ in range(3):
            said = project.accepted()
            ids.append(said["id"])
            report.equal("events are taken", said["deliveries"], 2)
        report.equal("the other goes on", wait_events(target, 3, "/other"), ids)
        report.equal("the paused one is silent", events_of(target, "/paused"), [])
        report.equal("Uploadcare's view: active", project.webhook(paused["id"], "0.7")["is_active"],
                     True)
        tested = project.act(paused["id"], "test")
        report.check("no test while paused", tested.status in (400, 409), tested)
        resumed = project.act(paused["id"], "resume")
        report.equal("resume", (resumed.status, resumed.json()["state"]), (200, "active"))
        report.equal("what was kept arrives in order", wait_events(target, 3, "/paused"), ids)
        report.check("once", only_arrivals(project, target, ids, "/paused"))
        report.equal("resume again", project.act(paused["id"], "resume").status, 200)


def pause_survives(report, _):
    """A pause, and what it keeps, outlive `kill -9`."""
    daemon = Daemon("pause", projects=[keys(0)]).start()
    project = Project(daemon, *keys(0))
    try:
        with receiving() as target:
            paused = project.subscribe(target.url("/paused"))
            project.subscribe(target.url("/other"))
            project.act(paused["id"], "pause")
            kept = project.accepted()["id"]
            wait_events(target, 1, "/other")
            daemon.kill()
            daemon.start()
            report.equal("still paused", project.webhook(paused["id"])["state"], "paused")
            later = project.accepted()["id"]
            target.wait(lambda _: later in events_of(target, "/other"), SECONDS_MAX)
            report.equal("still silent", events_of(target, "/paused"), [])
            project.act(paused["id"], "resume")
            report.equal("all of it arrives", wait_events(target, 2, "/paused"), [kept, later])
    finally:
        daemon.close(keep=report.failed > 0)


def inactive(report, stage):
    """is_active=false cancels what is pending and takes nothing new."""
    project = stage.project()
    with receiving() as target:
        made = project.subscribe(target.url())
        project.act(made["id"], "pause")
        project.accepted()
        for version in ("0.7", "own"):
            off = project.call("PUT", "/webhooks/%d/" % made["id"], {"is_active": False}, version)
            report.equal("off, by " + version, (off.status, off.json()["is_active"]), (200, False))
        report.equal("state", project.webhook(made["id"])["state"], "inactive")
        report.equal("nothing new", project.accepted()["deliveries"], 0)
        for action in ("pause", "resume", "test"):
            answer = project.act(made["id"], action)
            report.check("inactive: no " + action, answer.status in (400, 409), answer)
        on = project.call("PUT", "/webhooks/%d/" % made["id"], {"is_active": True})
        report.equal("on again", (on.status, on.json()["is_active"]), (200, True))
        report.equal("state, on", project.webhook(made["id"])["state"], "active")
        report.check("what was pending is cancelled", only_arrivals(project, target, []),
                     events_of(target))


def gone(report, stage):
    """410: disabled, with its reason in our own view; is_active=true enables it again."""
    project, alive = stage.project(), []
    with receiving(lambda _: 200 if alive else 410) as target:
        made = project.subscribe(target.url())
        first = project.accepted()["id"]
        deadline = time.monotonic() + SECONDS_MAX
        while project.webhook(made["id"])["state"] == "active" and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        shown = project.webhook(made["id"])
        report.equal("410: state", (shown["state"], shown["is_active"]), ("disabled", False))
        report.check("410: reason", shown["reason"], shown)
        report.equal("410: Uploadcare's view", project.webhook(made["id"], "0.7")["is_active"],
                     False)
        report.equal("410: nothing new", project.accepted()["deliveries"], 0)
        alive.append(True)
        on = project.call("PUT", "/webhooks/%d/" % made["id"], {"is_active": True}, "own").json()
        report.equal("enabled again", (on["state"], on["reason"], on["is_active"]),
                     ("active", None, True))
        report.check("one attempt at what was gone", only_arrivals(project, target, [first]),
                     events_of(target))


def secrets(report, stage):
    """signing_secret: absent and null keep, a text replaces, an empty text clears."""
    project = stage.project()
    with receiving() as target:
        made = project.subscribe(target.url(), signing_secret=SECRET)
        for name, fields, secret in [
            ("as made", {}, SECRET),
            ("null keeps", {"signing_secret": None}, SECRET),
            ("replaced", {"signing_secret": "another"}, "another"),
            ("kept beside another change", {"event": "file.uploaded"}, "another"),
            ("cleared", {"signing_secret": ""}, None),
            ("null keeps nothing", {"signing_secret": None}, None),
            ("set again", {"signing_secret": "third"}, "third"),
        ]:
            answer = project.call("PUT", "/webhooks/%d/" % made["id"], fields)
            report.equal("secret, %s: 200" % name, answer.status, 200)
            report.equal("secret, %s: shown" % name, answer.json()["signing_secret"], secret)
            count = len(target.deliveries)
            project.accepted()
            target.wait(lambda all_, count=count: len(all_) > count, SECONDS_MAX)
            delivery = target.deliveries[count]
            wanted = uc_signature(secret, delivery.body) if secret else None
            report.equal("secret, %s: signs" % name, delivery.headers.get("x-uc-signature"), wanted)
        long = project.call("PUT", "/webhooks/%d/" % made["id"], {"signing_secret": "x" * 33})
        report.equal("33 characters: 400", long.status, 400)


def changes(report, stage):
    """An attempt is made as the webhook is then: URL, secret, version."""
    project = stage.project()
    with receiving() as target:
        made = project.subscribe(target.url("/before"), signing_secret=SECRET)
        project.act(made["id"], "pause")
        kept = project.accepted()["id"]
        changed = project.call("PUT", "/webhooks/%d/" % made["id"],
                               {"target_url": target.url("/after"), "signing_secret": "new",
                                "version": "0.6"}, "own")
        report.equal("changed while paused", (changed.status, changed.json()["state"]),
                     (200, "paused"))
        project.act(made["id"], "resume")
        report.equal("it goes to the new URL", wait_events(target, 1, "/after"), [kept])
        report.equal("not to the old one", events_of(target, "/before"), [])
        delivery = target.deliveries[0]
        hook = json.loads(delivery.body)["hook"]
        report.equal("the hook says so", (hook["target"], hook["version"]),
                     (target.url("/after"), "0.6"))
        report.equal("signed anew", delivery.headers["x-uc-signature"],
                     uc_signature("new", delivery.body))


def deletions(report, stage):
    """DELETE and unsubscribe cancel what is pending."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url("/other"))
        doomed = [project.subscribe(target.url(path)) for path in ("/one", "/two")]
        for webhook in doomed:
            project.act(webhook["id"], "pause")
        report.equal("three deliveries", project.accepted()["deliveries"], 3)
        wait_events(target, 1, "/other")
        path = "/webhooks/%d/" % doomed[0]["id"]
        report.equal("DELETE", project.call("DELETE", path).status, 204)
        report.equal("DELETE again", project.call("DELETE", path).status, 404)
        for _ in range(2):
            gone_ = project.call("DELETE", "/webhooks/unsubscribe/",
                                 {"target_url": target.url("/two")})
            report.equal("unsubscribe, idempotent", gone_.status, 204)
        report.equal("resume finds nothing", project.act(doomed[0]["id"], "resume").status, 404)
        back = [project.subscribe(target.url(path)) for path in ("/one", "/two")]
        report.check("ids are not used again",
                     not {w["id"] for w in back} & {w["id"] for w in doomed}, back)
        for path in ("/one", "/two"):
            report.check("nothing of before at " + path,
                         not set(events_of(target, path)), events_of(target, path))
        last = project.accepted()["id"]
        for path in ("/one", "/two"):
            report.equal("only the new event at " + path, wait_events(target, 1, path), [last])


def several(report, stage):
    """One webhook with several events, through our own view alone; Uploadcare's shows the first."""
    project = stage.project()
    with receiving() as target:
        three = ["file.stored", "order.paid", "file.deleted"]
        made = project.call("POST", "/webhooks/", {"target_url": target.url(), "events": three,
                                                   "in_flight": 1}, "own")
        report.equal("created", made.status, 201)
        made = made.json()
        report.equal("its events", (made["event"], made["events"]), ("file.stored", three))
        path = "/webhooks/%d/" % made["id"]
        wanted = [project.accepted(event)["id"] for event in three]
        report.equal("no other event", project.accepted("file.uploaded")["deliveries"], 0)
        report.equal("each is delivered", wait_events(target, 3), wanted)
        said = [json.loads(one.body)["hook"]["event"] for one in target.deliveries]
        report.equal("under its own name", said, three)
        for name, fields, status, events in (
                ("sent back as it was read", made, 200, three),
                ("its list changed", {**made, "events": three[:2]}, 200, three[:2]),
                ("a form", None, 200, ["file.stored", "file.infected"]),
                ("event alone", {"event": "file.deleted"}, 200, ["file.deleted"]),
                ("a list again", {"events": three[::-1]}, 200, three[::-1]),
                ("none", {"events": []}, 400, three[::-1]),
                ("no list", {"events": "a"}, 400, three[::-1]),
                ("no names", {"events": ["a b"]}, 400, three[::-1]),
                ("two truths", {"events": ["a"], "event": "b"}, 400, three[::-1])):
            if fields is None:
                answer = project.send("PUT", path, b"events[]=file.stored&events[]=file.infected",
                                      FORM, "own")
            else:
                answer = project.call("PUT", path, fields, "own")
            report.equal("update: " + name, answer.status, status)
            report.equal("events after: " + name, project.webhook(made["id"])["events"], events)
        again = {"target_url": target.url(), "events": ["file.infected", "file.stored"]}
        answer = project.call("POST", "/webhooks/", again, "own")
        report.equal("another with one of them", answer.status, 400)
        report.check("says why", "already subscribed" in answer.body.decode(), answer)
        other = project.call("POST", "/webhooks/", {**again, "format": "standard"}, "own")
        report.equal("in another format", other.status, 201)
        moved = project.call("PUT", "/webhooks/%d/" % other.json()["id"], {"format": "uploadcare"},
                             "own")
        report.equal("which can't become the same", moved.status, 400)
        refused = project.call("POST", "/webhooks/", {"target_url": target.url("/v"),
                                                      "events": ["file.stored"]}, "0.7")
        report.equal("Uploadcare's view has no such field", refused.status, 400)
        gone = {"target_url": target.url(), "event": "file.stored"}
        answer = project.call("POST", "/webhooks/unsubscribe/", gone)
        report.equal("unsubscribe from one", (answer.status, answer.body), (204, b""))
        left = ["file.deleted", "order.paid"]
        report.equal("the others stay", project.webhook(made["id"])["events"], left)
        report.equal("it is delivered no more", project.accepted("file.stored")["deliveries"], 1)
        gone.pop("event")
        report.equal("from all", project.call("POST", "/webhooks/unsubscribe/", gone).status, 204)
        answer = project.call("GET", path, accept="own")
        report.equal("it is gone", answer.status, 404)


PARTS = (several, tests, pauses, pause_survives, inactive, gone, secrets, changes, deletions)
