"""Publishing: the forms of a request, the answer, the limits, and all or nothing.

Owns judging `POST /events/`. Must never publish what no publisher could mean: that is `malformed`.
"""

import json
import socket

from api.scene import Configured, Project, events_of, keys, only_arrivals, receiving, wait_events
from harness import wire
from harness.wire import FORM, JSON

NDJSON = "application/x-ndjson"
MIB = 1 << 20
BATCH_MAX = 1000
REQUEST_BYTES_MAX = 16 * MIB
BOUNDARY = "x-boundary-7"


def forms(report, stage):
    """One event, an array, NDJSON, a form, multipart: the same event each time."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url(), "order.paid")
        one = {"event": "order.paid", "data": {"order": 7}}
        text = json.dumps(one).encode()
        fields = {"event": "order.paid", "data": '{"order": 7}'}
        multipart = "".join('--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
                            % (BOUNDARY, name, value) for name, value in fields.items())
        multipart = (multipart + "--%s--\r\n" % BOUNDARY).encode()
        bodies = [
            ("JSON", JSON, text, None),
            ("no type", None, text, None),
            ("an array of one", JSON, b"[" + text + b"]", 1),
            ("an array", JSON, b" [" + text + b"," + text + b"]", 2),
            ("NDJSON", NDJSON, text + b"\n\n" + text + b"\r\n", 2),
            ("NDJSON without a last newline", NDJSON, text, 1),
            ("a form", FORM, b"event=order.paid&data=%7B%22order%22%3A+7%7D", None),
            ("multipart", "multipart/form-data; boundary=" + BOUNDARY, multipart, None),
        ]
        ids = []
        for name, content_type, body, count in bodies:
            answer = project.send("POST", "/events/", body, content_type)
            if not report.equal("%s: 202" % name, answer.status, 202):
                continue
            report.equal("%s: JSON" % name, answer.headers["content-type"], JSON)
            said = answer.json()
            report.equal("%s: a list for a batch alone" % name, isinstance(said, list),
                         count is not None)
            said = said if count is not None else [said]
            report.equal("%s: one line for each" % name, len(said), count or 1)
            for line in said:
                ids.append(line.pop("id"))
                report.equal("%s: the line" % name, line,
                             {"event": "order.paid", "deliveries": 1, "duplicate": False})
        report.check("ids of events", all(one.startswith("evt_") for one in ids), ids)
        report.equal("each id once", len(set(ids)), len(ids))
        report.equal("ids rise", ids, sorted(ids))
        report.equal("all arrive, in order", wait_events(target, len(ids)), ids)
        datas = {json.dumps(json.loads(d.body)["data"]) for d in target.deliveries}
        report.equal("with the same data", datas, {'{"order": 7}'})


def all_or_nothing(report, stage):
    """One bad event refuses its batch, and the answer names event and field."""
    project = stage.project()
    good = {"event": "file.uploaded", "data": {}}
    bad = [
        ("event", {"data": {}}),
        ("event", {"event": "no spaces here", "data": {}}),
        ("data", {"event": "file.uploaded"}),
        ("data", {"event": "file.uploaded", "data": [1]}),
        ("dialect", {**good, "dialect": "klingon"}),
        ("occurred_at", {**good, "occurred_at": "yesterday"}),
        ("previous_values", {**good, "previous_values": "x"}),
        ("file", {**good, "file": 7}),
        ("colour", {**good, "colour": "red"}),
    ]
    with receiving() as target:
        project.subscribe(target.url())
        for field, event in bad:
            name = "bad %s %s" % (field, json.dumps(event.get(field)))
            batch = project.call("POST", "/events/", [good, good, event, good])
            report.equal("%s: 400" % name, batch.status, 400)
            detail = batch.json().get("detail", "")
            report.check("%s: named" % name, "events[2].%s" % field in detail, batch)
            alone = project.call("POST", "/events/", event)
            report.equal("%s, alone: 400" % name, alone.status, 400)
            report.equal("%s, alone: named" % name, list(alone.json()), [field])
        lines = json.dumps(good).encode() + b"\n{\"event\":"
        torn = project.send("POST", "/events/", lines, NDJSON)
        report.check("a torn last line is named",
                     torn.status == 400 and "events[1]" in torn.json()["detail"], torn)
        for body in (b"[]", b""):
            empty = project.send("POST", "/events/", body)
            report.equal("no event in %r: 400" % body, empty.status, 400)
        report.check("nothing of it is delivered", only_arrivals(project, target, []),
                     events_of(target))


def strict_json(report, stage):
    """What JSON libraries disagree on is refused, not guessed."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url())
        for name, data in [
            ("a key twice", b'{"a":1,"a":2}'),
            ("a key twice, deep", b'{"a":[{"b":1,"\\u0062":2}]}'),
            ("2^53", b'{"a":9007199254740992}'),
            ("-2^53", b'{"a":-9007199254740992}'),
            ("int64", b'{"a":9223372036854775807}'),
            ("a lone surrogate", b'{"a":"\\ud800"}'),
            ("a lone low surrogate", b'{"a":"x\\udc00"}'),
            ("surrogates in the wrong order", b'{"a":"\\udc00\\ud800"}'),
            ("a lone surrogate as a key", b'{"\\ud800":1}'),
            ("no UTF-8", b'{"a":"\xff"}'),
            ("NaN", b'{"a":NaN}'),
            ("a number too large", b'{"a":1e999}'),
            ("a trailing comma", b'{"a":1,}'),
            ("a comment", b'{"a":1/**/}'),
        ]:
            body = b'{"event":"file.uploaded","data":' + data + b"}"
            answer = project.send("POST", "/events/", body)
            report.equal("%s: 400" % name, answer.status, 400)
            batch = project.send("POST", "/events/", b"[" + body + b"]")
            report.equal("%s, in a batch: 400" % name, batch.status, 400)
        twice = project.send("POST", "/events/", b'{"event":"a","event":"b","data":{}}')
        report.equal("a field twice: 400", twice.status, 400)
        edge = b'{"event":"file.uploaded","data":{"a":[9007199254740991,-9007199254740991]}}'
        answer = project.send("POST", "/events/", edge)
        report.equal("2^53 - 1: 202", answer.status, 202)
        report.check("nothing else is delivered",
                     only_arrivals(project, target, [answer.json()["id"]]), events_of(target))


def sized(length, event="file.uploaded"):
    """An event whose request body has just so many bytes."""
    head = b'{"event":"%s","data":{"text":"' % event.encode()
    return head + b"x" * (length - len(head) - 3) + b'"}}'


def limits(report, stage):
    """1 MiB an event, 1,000 events and 16 MiB a request."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url())
        most = project.send("POST", "/events/", sized(MIB))
        report.equal("an event of 1 MiB: 202", most.status, 202)
        for name, body in [
            ("an event of 1 MiB and a byte", sized(MIB + 1)),
            ("the same in a batch", b"[" + sized(100) + b"," + sized(MIB + 1) + b"]"),
            ("1,001 events", b"[" + b",".join([sized(60)] * (BATCH_MAX + 1)) + b"]"),
            ("1,001 lines", b"\n".join([sized(60)] * (BATCH_MAX + 1))),
        ]:
            content_type = NDJSON if name.endswith("lines") else JSON
            answer = project.send("POST", "/events/", body, content_type)
            report.equal("%s: 413" % name, answer.status, 413)
            report.check("%s: it says why" % name, answer.json().get("detail"), answer)
        ids = wait_events(target, 1)
        report.equal("the large one arrives", ids, [most.json()["id"]])
        shown = json.loads(target.deliveries[0].body)["data"]
        report.equal("whole", shown, json.loads(sized(MIB))["data"])
        report.check("and nothing else", only_arrivals(project, target, ids), events_of(target))
    silent = stage.project()
    thousand = silent.send("POST", "/events/", b"[" + b",".join([sized(60)] * BATCH_MAX) + b"]")
    report.equal("1,000 events: 202", (thousand.status, len(thousand.json())), (202, BATCH_MAX))


def expectations(report, stage):
    """A request that is too large is refused before its body is sent."""
    project = stage.project()
    head = {**wire.simple(project.public, project.secret), "Content-Type": NDJSON,
            "Expect": "100-continue"}

    def first_line(length):
        head["Content-Length"] = str(length)
        raw = wire.request_bytes("POST", "/events/", head)
        with socket.create_connection(("127.0.0.1", project.daemon.port), timeout=15) as stream:
            stream.sendall(raw)
            return stream.recv(65536).split(b"\r\n")[0].decode()

    report.check("16 MiB: go on", first_line(REQUEST_BYTES_MAX).startswith("HTTP/1.1 100"))
    refused = first_line(REQUEST_BYTES_MAX + 1)
    report.check("16 MiB and a byte: 413 at once", refused.startswith("HTTP/1.1 413"), refused)
    head.update(wire.simple(project.public, "wrong"))
    refused = first_line(100)
    report.check("a wrong key: 401 at once", refused.startswith("HTTP/1.1 401"), refused)


def fields(report, stage):
    """What is said beside the data arrives as it was said."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url(), "file.info_updated")
        initiator = {"type": "addon", "detail": {"request_id": "r", "addon_name": "a"}}
        project.accepted("file.info_updated", {"uuid": "u"}, dialect="uploadcare",
                         occurred_at="2026-01-18T13:01:24.807375Z", initiator=initiator,
                         previous_values={"metadata": {"pet": None}}, file="https://a.example/f")
        wait_events(target, 1)
        shown = json.loads(target.deliveries[0].body)
        report.equal("keys", list(shown), ["initiator", "hook", "data", "file", "previous_values"])
        report.equal("initiator", shown["initiator"], initiator)
        report.equal("file", shown["file"], "https://a.example/f")
        report.equal("previous values", shown["previous_values"], {"metadata": {"pet": None}})
    odd = project.publish("order.paid", dialect="uploadcare")
    report.equal("a custom type is not of the dialect", odd.status, 400)


def closed_list(report, _):
    """A project with a closed list of event types takes no other, and says which."""
    number, public, secret = keys(0)
    daemon = Configured("closed", 'event_types = ["file.uploaded", "order.paid"]\n',
                        projects=[keys(1), (number, public, secret)]).start()
    try:
        project = Project(daemon, number, public, secret)
        for event, status in [("file.uploaded", 202), ("order.paid", 202), ("file.stored", 400),
                              ("order.unpaid", 400)]:
            answer = project.publish(event)
            report.equal("closed list: " + event, answer.status, status)
            if status == 400:
                report.check("closed list: %s is named" % event,
                             event in answer.body.decode() and "order.paid" in answer.body.decode(),
                             answer)
        batch = [{"event": "order.paid", "data": {}}, {"event": "file.stored", "data": {}}]
        report.equal("closed list: a batch", project.call("POST", "/events/", batch).status, 400)
        report.equal("another project is free", Project(daemon, *keys(1)).publish("x").status, 202)
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (forms, all_or_nothing, strict_json, limits, expectations, fields, closed_list)
