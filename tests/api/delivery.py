"""Deliveries: the bytes, the headers, the signatures, the versions, a failed attempt.

Owns judging what a receiver gets, in a second implementation of payload and signature. Must never
ask the daemon what it sent.
"""

import base64
import hashlib
import hmac
import json
import time

from api.scene import (SECRET, SECONDS_MAX, Project, events_of, keys, only_arrivals, receiving,
                       wait_events)
from harness.daemon import Daemon
from harness.wire import JSON

# As a publisher may write it, and as it is delivered: compact, integer-like keys first, numbers
# and escapes as JavaScript writes them, the order of the other keys kept.
WRITTEN = (b'{ "b": 1.0, "a" : [1e2, -0, 0.10],\n "10": "\\u00e9\\/\\u2028", "9": null,'
           b' "nested": {"z": {}, "y": []} , "text": "\\ud83d\\ude00 <&>" }')
DELIVERED = ('{"9":null,"10":"\u00e9/\u2028","b":1,"a":[100,0,0.1],"nested":{"z":{},"y":[]},'
             '"text":"\U0001f600 <&>"}')
INITIATOR = '{"type":"api","detail":{"request_id":null,"addon_name":null}}'
EXTRA = {"Authorization": "Bearer of-the-target", "X-Env": "test"}


def uc_signature(secret, body):
    """`X-Uc-Signature` of a body."""
    return "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_signature(secret, delivery):
    """`webhook-signature` of a delivery; the secret is strict base64."""
    text = "%s.%s." % (delivery.headers["webhook-id"], delivery.headers["webhook-timestamp"])
    digest = hmac.new(base64.b64decode(secret), text.encode() + delivery.body, hashlib.sha256)
    return "v1," + base64.b64encode(digest.digest()).decode()


def rendered(project, webhook, event):
    """The whole body of version 0.7, byte for byte."""
    hook = {"id": webhook["id"], "project_id": project.id, "project_pub_key": project.public,
            "target": webhook["target_url"], "event": event, "is_active": True, "version": "0.7",
            "created_at": webhook["created"], "updated_at": webhook["updated"]}
    return ('{"initiator":%s,"hook":%s,"data":%s,"file":null}'
            % (INITIATOR, json.dumps(hook, separators=(",", ":")), DELIVERED)).encode()


def bytes_and_headers(report, stage):
    """The body as rendered, the daemon's headers, the owner's headers."""
    project = stage.project()
    with receiving() as target:
        signed = project.subscribe(target.url("/signed?q=1"), "order.paid", signing_secret=SECRET,
                                   headers=EXTRA)
        bare = project.subscribe(target.url("/bare"), "order.paid")
        body = b'{"event":"order.paid","data":' + WRITTEN + b"}"
        event = project.send("POST", "/events/", body).json()
        target.wait(lambda all_: len(all_) >= 2, SECONDS_MAX)
        got = {delivery.path: delivery for delivery in target.deliveries}
        one, other = got["/signed?q=1"], got["/bare"]
        report.equal("the body, signed", one.body, rendered(project, signed, "order.paid"))
        report.equal("the body, bare", other.body, rendered(project, bare, "order.paid"))
        for webhook, delivery in ((signed, one), (bare, other)):
            head = delivery.headers
            report.equal("content-type", head.get("content-type"), JSON)
            report.equal("content-length", head.get("content-length"), str(len(delivery.body)))
            report.equal("host", head.get("host"), "127.0.0.1:%d" % target.port)
            report.equal("postrider-event", head.get("postrider-event"), event["id"])
            report.equal("postrider-webhook", head.get("postrider-webhook"), str(webhook["id"]))
            report.equal("postrider-attempt", head.get("postrider-attempt"), "1")
            report.check("postrider-sequence", head.get("postrider-sequence", "").isdigit(), head)
            report.check("webhook-id", head.get("webhook-id", "").startswith("dlv_"), head)
            stamp = int(head.get("webhook-timestamp", "0"))
            report.check("webhook-timestamp", abs(stamp - time.time()) < SECONDS_MAX, stamp)
        report.equal("X-Uc-Signature", one.headers.get("x-uc-signature"),
                     uc_signature(SECRET, one.body))
        report.equal("webhook-signature", one.headers.get("webhook-signature"),
                     standard_signature(SECRET, one))
        unsigned = {"x-uc-signature", "webhook-signature"} & set(other.headers)
        report.equal("no secret, no signature", unsigned, set())
        report.equal("the owner's headers", {name: one.headers.get(name.lower()) for name in EXTRA},
                     EXTRA)
        report.check("on no other webhook", "x-env" not in other.headers, other.headers)


def denied_headers(report, stage):
    """The owner can't set what the daemon sets, nor break out of a header."""
    project = stage.project()
    for name, value in [("Host", "a"), ("Content-Type", "a"), ("X-Uc-Signature", "a"),
                        ("Webhook-Id", "a"), ("postrider-event", "a"), ("Content-Length", "1"),
                        ("Transfer-Encoding", "chunked"), ("X-A", "a\r\nX-B: c"), ("X A", "a"),
                        ("X-A", 7)]:
        fields = {"target_url": "http://127.0.0.1:9/", "event": "file.uploaded",
                  "headers": {name: value}}
        answer = project.call("POST", "/webhooks/", fields, "own")
        report.equal("header %s: %r: 400" % (name, value),
                     (answer.status, list(answer.json())), (400, ["headers"]))


def versions(report, stage):
    """One event, three versions; what the older two can't carry does not go there."""
    project = stage.project()
    data = {"uuid": "u", "size": 5, "is_image": False, "original_filename": "a.txt",
            "content_info": {"mime": {"mime": "text/plain"}}, "metadata": {"pet": "cat"}}
    with receiving() as target:
        for version in ("0.7", "0.6", "0.5"):
            made = project.subscribe(target.url("/" + version), accept=version)
            report.equal("%s: its version" % version, made["version"], version)
        report.equal("one event for all", project.accepted(data=data)["deliveries"], 3)
        target.wait(lambda all_: len(all_) >= 3, SECONDS_MAX)
        shown = {d.path[1:]: json.loads(d.body) for d in target.deliveries}
        report.equal("0.7: keys", list(shown["0.7"]), ["initiator", "hook", "data", "file"])
        report.equal("0.7: data", shown["0.7"]["data"], data)
        report.equal("0.6: keys", list(shown["0.6"]), ["hook", "data", "file"])
        report.equal("0.6: version", shown["0.6"]["hook"]["version"], "0.6")
        report.equal("0.6: nothing of 0.7",
                     {"content_info", "metadata"} & set(shown["0.6"]["data"]), set())
        report.equal("0.5: hook", list(shown["0.5"]["hook"]), ["id", "event", "target"])
        report.equal("0.5: names of its own",
                     [shown["0.5"]["data"].get(key) for key in ("file_id", "filename", "total")],
                     ["u", "a.txt", 5])
        for version in ("0.5", "0.6"):
            refused = project.call("POST", "/webhooks/", {"target_url": target.url("/no"),
                                                          "event": "file.stored"}, version)
            report.equal("%s: file.uploaded only" % version, refused.status, 400)
        report.equal("file.stored: nobody", project.accepted("file.stored")["deliveries"], 0)


def custom_events(report, stage):
    """Custom types are our own view's affair, in 0.7 alone."""
    project = stage.project()
    with receiving() as target:
        made = project.subscribe(target.url(), "order.paid")
        report.equal("made", (made["event"], made["version"], made["format"]),
                     ("order.paid", "0.7", "uploadcare"))
        for version in ("0.5", "0.6", "0.7"):
            refused = project.call("POST", "/webhooks/", {"target_url": target.url("/v"),
                                                          "event": "order.paid"}, version)
            report.equal("%s can't make it" % version,
                         (refused.status, list(refused.json())), (400, ["event"]))
            listed = project.call("GET", "/webhooks/", accept=version).json()
            report.equal("%s does not list it" % version, listed, [])
            hidden = project.call("GET", "/webhooks/%d/" % made["id"], accept=version)
            report.equal("%s does not show it" % version, hidden.status, 404)
        old = project.call("POST", "/webhooks/", {"target_url": target.url("/o"), "version": "0.5",
                                                  "event": "order.paid"}, "own")
        report.equal("not in 0.5, by our own view either", old.status, 400)
        wanted = project.accepted("order.paid", {"n": 1})["id"]
        project.accepted("order.unpaid")
        report.check("it gets its own event alone",
                     only_arrivals(project, target, [wanted], event="order.paid"),
                     events_of(target))
        hook = json.loads(target.deliveries[0].body)["hook"]
        report.equal("its name", hook["event"], "order.paid")


def failed_attempt(report, _):
    """A 503 is tried again a minute later, not at once, and not by a restart either."""
    daemon = Daemon("failed", projects=[keys(0)]).start()
    project = Project(daemon, *keys(0))
    try:
        with receiving(lambda delivery: 503 if delivery.path == "/busy" else 200) as target:
            project.subscribe(target.url("/busy"), "file.stored")
            project.subscribe(target.url("/well"))
            first = project.accepted("file.stored")["id"]
            report.equal("the first attempt", wait_events(target, 1, "/busy"), [first])
            report.equal("is the first", target.deliveries[0].headers["postrider-attempt"], "1")
            report.check("others go on", only_arrivals(project, target, [], "/well"))
            daemon.kill()
            daemon.start()
            last = project.accepted()["id"]
            target.wait(lambda _: last in events_of(target, "/well"), SECONDS_MAX)
            report.check("after kill -9 too", last in events_of(target, "/well"))
            again = [d.headers["postrider-attempt"] for d in target.deliveries if d.path == "/busy"]
            # A kill may repeat an outcome of the last 200 ms, as attempt 1.
            report.check("and no retry before its time", set(again) == {"1"}, again)
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (bytes_and_headers, denied_headers, versions, custom_events, failed_attempt)
