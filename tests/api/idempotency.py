"""`Idempotency-Key`: published once, however often and from how many sides it is sent.

Owns judging repeated publishing. Must never count on the order of answers.
"""

import threading

from api.scene import Project, events_of, keys, only_arrivals, receiving, wait_events
from harness import wire
from harness.daemon import Daemon

AT_ONCE = 20


def header(key):
    """The request header."""
    return {"Idempotency-Key": key}


def again(report, stage):
    """The same key and body: the same answer. Another body: 409. No second delivery of either."""
    project, other = stage.project(), stage.project()
    with receiving() as target:
        project.subscribe(target.url())
        other.subscribe(target.url("/other"))
        first = project.accepted(data={"n": 1}, headers=header("key 1"))
        report.equal("first", first["duplicate"], False)
        for _ in range(3):
            second = project.accepted(data={"n": 1}, headers=header("key 1"))
            report.equal("again", second, {**first, "duplicate": True})
        changed = project.publish(data={"n": 2}, headers=header("key 1"))
        report.equal("another body: 409", changed.status, 409)
        report.check("409 says why", "key" in changed.json()["detail"].lower(), changed)
        spaced = project.send("POST", "/events/", b'{"event": "file.uploaded", "data": {"n": 1} }',
                              headers=header("key 1"))
        report.equal("the same event in other bytes: 409", spaced.status, 409)
        elsewhere = other.accepted(data={"n": 1}, headers=header("key 1"))
        report.equal("another project's key", elsewhere["duplicate"], False)
        report.check("one delivery", only_arrivals(project, target, [first["id"]]),
                     events_of(target))
        report.equal("and the other project's", wait_events(target, 1, "/other"), [elsewhere["id"]])


def agreement(report, stage):
    """The header and the fields have to name one key; a refused request uses none up."""
    project = stage.project()
    event = {"event": "file.uploaded", "data": {}}
    named = {**event, "idempotency_key": "k"}
    differ = project.call("POST", "/events/", named, headers=header("other"))
    report.equal("header and field differ: 400", differ.status, 400)
    report.equal("it names the field", list(differ.json()), ["idempotency_key"])
    both = project.call("POST", "/events/", named, headers=header("k"))
    report.equal("they agree", (both.status, both.json()["duplicate"]), (202, False))
    field = project.call("POST", "/events/", named)
    report.equal("the field alone is the same key", field.json(),
                 {**both.json(), "duplicate": True})
    bare = project.call("POST", "/events/", event, headers=header("k"))
    report.equal("without the field it is another body", bare.status, 409)
    pair = [{**event, "idempotency_key": "a"}, {**event, "idempotency_key": "b"}]
    report.equal("two keys in a batch: 400", project.call("POST", "/events/", pair).status, 400)
    bad = project.publish("no spaces", headers=header("fresh"))
    good = project.publish("file.uploaded", headers=header("fresh"))
    report.equal("a refused request uses no key up",
                 (bad.status, good.status, good.json()["duplicate"]), (400, 202, False))
    for key in ("", "x" * 5000, "caf\u00e9"):
        odd = project.publish(headers=header(key))
        report.equal("no key: %.8r" % key, odd.status, 400)
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
    report.equal("the header twice: 400", two_headers(project, twice).status, 400)


def two_headers(project, pairs):
    """A publish request with the header given more than once."""
    head = list(wire.simple(project.public, project.secret).items()) + pairs
    body = b'{"event":"file.uploaded","data":{}}'
    return wire.exchange(project.daemon.port,
                         wire.request_bytes("POST", "/events/", head, body))


def batches(report, stage):
    """One key covers the whole batch."""
    project = stage.project()
    batch = [{"event": "file.uploaded", "data": {"n": n}} for n in range(3)]
    with receiving() as target:
        project.subscribe(target.url())
        first = project.call("POST", "/events/", batch, headers=header("batch")).json()
        second = project.call("POST", "/events/", batch, headers=header("batch")).json()
        report.equal("the same answer", second, [{**one, "duplicate": True} for one in first])
        part = project.call("POST", "/events/", batch[:1], headers=header("batch"))
        report.equal("a part of it: 409", part.status, 409)
        wanted = [one["id"] for one in first]
        report.check("each is delivered once", only_arrivals(project, target, wanted),
                     events_of(target))


def concurrent(report, stage):
    """Many at once: one is accepted, the others wait and get its answer."""
    project = stage.project()
    with receiving() as target:
        for path in ("/a", "/b"):
            project.subscribe(target.url(path))
        answers, start = [], threading.Barrier(AT_ONCE)

        def send():
            start.wait()
            answers.append(project.publish(data={"n": 1}, headers=header("race")))

        threads = [threading.Thread(target=send) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report.equal("all are answered 202", [a.status for a in answers], [202] * AT_ONCE)
        said = [answer.json() for answer in answers]
        report.equal("one is not a duplicate", sum(not one["duplicate"] for one in said), 1)
        report.equal("all name one event", len({one["id"] for one in said}), 1)
        report.equal("of two deliveries", {one["deliveries"] for one in said}, {2})
        wanted = [said[0]["id"], project.accepted()["id"]]
        for path in ("/a", "/b"):
            report.equal("one delivery to " + path, wait_events(target, 2, path), wanted)


def survival(report, _):
    """A key is remembered across `kill -9`."""
    daemon = Daemon("idempotency", projects=[keys(0)]).start()
    try:
        project = Project(daemon, *keys(0))
        first = project.accepted(data={"n": 1}, headers=header("kept"))
        daemon.kill()
        daemon.start()
        second = project.accepted(data={"n": 1}, headers=header("kept"))
        report.equal("after kill -9: the same answer", second, {**first, "duplicate": True})
        changed = project.publish(data={"n": 2}, headers=header("kept"))
        report.equal("after kill -9: another body", changed.status, 409)
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (again, agreement, batches, concurrent, survival)
