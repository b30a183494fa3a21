"""The intake as such: tokens, probes, answers, repeats; and `/send/`.

Owns what holds for every source, over the wire. Must never know how a source is mapped: that is
`tests/sources`.
"""

import hashlib
import hmac
import json

from harness import wire
from harness.wire import JSON
from producers.suite import SECRET, Suite

SOURCES = ("uploadcare", "tusd", "s3", "cloudevents", "seaweedfs", "nextcloud")
CONFIRM = {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:us-east-1:1:x", "Token": "t"}


def hook(kind, number, **upload):
    """A hook of tusd."""
    upload = {"ID": "%032x" % number, "Size": 8, "Offset": 8, "MetaData": {"filename": "a.png"}, **upload}
    return {"Type": kind, "Event": {"Upload": upload}}


def record(key, sequencer):
    """A record of S3."""
    return {"eventName": "ObjectCreated:Put", "eventTime": "2026-11-21T16:56:15.956Z",
            "s3": {"bucket": {"name": "b"}, "object": {"key": key, "size": 1, "sequencer": sequencer}}}


def run(report):
    """All of it, on one daemon."""
    suite = Suite(report, "intake")
    try:
        suite.subscribe("uploadcare-0.7", "file.uploaded")
        letting_in(report, suite)
        probes(report, suite)
        tusd_answers(report, suite)
        repeats(report, suite)
        relay(report, suite)
        confirmation(report, suite)
        send(report, suite)
        report.check("no token stands in the log", "in_" not in suite.daemon.log())
    finally:
        suite.close()


def letting_in(report, suite):
    """A token in each of its places; nothing else; and not after it was revoked."""
    made = suite.token(name="test")
    token, number = made["token"], 0
    listed = suite.call("GET", "/tokens/")
    report.equal("tokens are listed", [one["name"] for one in listed.json()], ["test"])
    report.check("a token is shown once", token.encode() not in listed.body)
    secret_key = wire.bearer()["Authorization"]
    places = [
        ("in the path", "/in/tusd/%s/" % token, {}),
        ("in the path, beside its user's own", "/in/tusd/" + token, {"Authorization": "Bearer x"}),
        ("in the query", "/in/tusd/?token=" + token, {}),
        ("as a bearer", "/in/tusd/", {"Authorization": "Bearer " + token}),
        ("verbatim", "/in/tusd", {"Authorization": token}),
        ("a secret key instead", "/in/tusd/", {"Authorization": secret_key}),
        ("whatever is accepted", "/in/tusd/" + token, {"Accept": "text/plain"}),
        ("by another name", "/api/v1/projects/39123/webhooks/incoming?token=" + token, None),
    ]
    for name, path, headers in places:
        number += 1
        body = hook("post-finish", number)
        if headers is None:
            body, headers = {"hook": {"event": "file.uploaded"}, "data": {"n": number}}, {}
        answer = suite.feed(path, body, headers)
        report.equal("token %s" % name, answer.status, 200)
    suite.wait("all of them are delivered", lambda paths: len(paths) == number)
    wrong = [
        ("no token", "/in/tusd/", {}),
        ("a wrong one in the path", "/in/tusd/%s0/" % token, {"Authorization": "Bearer " + token}),
        ("a wrong one in the query", "/in/tusd/?token=x", {"Authorization": secret_key}),
        ("a wrong bearer", "/in/tusd/", {"Authorization": "Bearer %s0" % token}),
        ("another project's path", "/api/v1/projects/1/webhooks/incoming?token=" + token, {}),
    ]
    for name, path, headers in wrong:
        report.equal(name, suite.feed(path, hook("post-finish", 99), headers).status, 401)
    for method, path in [("GET", "/webhooks/"), ("POST", "/events/"), ("GET", "/tokens/"),
                         ("POST", "/send/"), ("GET", "/project/"), ("GET", "/projects/")]:
        answer = suite.call(method, path, headers={"Authorization": "Bearer " + token})
        report.equal("a token is no key for %s" % path, answer.status, 401)
    report.equal("an unknown source", suite.feed("/in/tus/" + token, {}).status, 404)
    report.equal("GET", wire.request(suite.daemon.port, "GET", "/in/tusd/" + token).status, 405)
    path = "/tokens/%d/" % made["id"]
    report.equal("it is revoked", suite.call("DELETE", path).status, 204)
    report.equal("but once", suite.call("DELETE", path).status, 404)
    report.equal("and lets nobody in", suite.feed("/in/tusd/" + token, hook("post-finish", 98)).status, 401)
    for fields in ({"name": ""}, {"name": "x" * 129}, {"nam": "x"}, {"signing_secret": "x" * 33}):
        report.equal("no token of %r" % fields, suite.call("POST", "/tokens/", fields).status, 400)


def probes(report, suite):
    """HEAD, and the handshake of CloudEvents."""
    token = suite.token()["token"]
    for source in SOURCES:
        answer = wire.request(suite.daemon.port, "HEAD", "/in/%s/" % source)
        report.equal("HEAD of " + source, (answer.status, answer.body), (200, b""))
    asks = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    for name, path, status in [("let in", "/in/cloudevents/?token=" + token, 200),
                               ("unknown", "/in/cloudevents/", 401),
                               ("wrong", "/in/cloudevents/x/", 401)]:
        answer = wire.request(suite.daemon.port, "OPTIONS", path, asks)
        report.equal("a handshake that is %s" % name, answer.status, status)
        granted = answer.headers.get("webhook-allowed-origin"), answer.headers.get("webhook-allowed-rate")
        wanted = ("events.example.com", "*") if status == 200 else (None, None)
        report.equal("its grant", granted, wanted)
    plain = wire.request(suite.daemon.port, "OPTIONS", "/in/s3/")
    report.equal("OPTIONS", (plain.status, plain.headers.get("allow")), (204, "HEAD, OPTIONS, POST"))


def tusd_answers(report, suite):
    """JSON and `{}`, whatever the hook: anything else fails the user's upload."""
    token = suite.token()["token"]
    for kind in ("pre-create", "post-create", "post-receive", "pre-finish", "post-finish",
                 "pre-terminate", "post-terminate"):
        answer = suite.feed("/in/tusd/%s" % token, hook(kind, 500))
        seen = answer.status, answer.headers.get("content-type"), answer.body
        report.equal("the answer to " + kind, seen, (200, JSON, b"{}"))
    report.equal("what is no hook", suite.feed("/in/tusd/" + token, b"x").status, 400)
    big = b'{"Type":"post-finish","x":"' + b"x" * (16 << 20) + b'"}'
    report.equal("what is too large", suite.feed("/in/tusd/" + token, big).status, 413)


def repeats(report, suite):
    """What comes twice is accepted once, whatever else is in its request."""
    suite.settle()
    start = len(suite.seen("/uploadcare-0.7/file.uploaded"))
    token = suite.token()["token"]

    def feed(*records):
        answer = suite.feed("/in/s3/" + token, {"Records": list(records)}).json()
        return len(answer["events"]), answer["duplicates"], answer["events"]

    one, two, three = record("1.png", "A1"), record("2.png", "A2"), record("3.png", "A3")
    first = feed(one)
    report.equal("a first", first[:2], (1, 0))
    report.equal("again", feed(one), (1, 1, first[2]))
    both = feed(one, two)
    report.equal("and one that is new", (both[:2], both[2][0]), ((2, 1), first[2][0]))
    report.equal("twice in one request", feed(three, three)[:2], (2, 1))
    report.equal("all again", feed(three, two, one)[:2], (3, 3))
    broken = {**record("4.png", "A4"), "s3": {}}
    answer = suite.feed("/in/s3/" + token, {"Records": [record("4.png", "A4"), broken]})
    report.equal("all or nothing", answer.status, 400)
    answer = suite.feed("/in/tusd/" + token, hook("post-finish", 700))
    answer = suite.feed("/in/tusd/" + token, hook("post-finish", 700))
    report.equal("a hook again", answer.status, 200)
    suite.settle()
    names = [one["data"]["original_filename"] for one in suite.seen("/uploadcare-0.7/file.uploaded")[start:]]
    report.equal("each is delivered once", sorted(names), ["1.png", "2.png", "3.png", "a.png"])


def relay(report, suite):
    """Uploadcare's signature, where the token has a secret."""
    token = suite.token(name="relay", signing_secret=SECRET)["token"]
    body = json.dumps({"hook": {"event": "file.uploaded"}, "data": {"uuid": "relayed"}}).encode()
    right = "v1=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    for name, headers, status in [("without a signature", {}, 401),
                                  ("with a wrong one", {"X-Uc-Signature": "v1=" + "0" * 64}, 401),
                                  ("with the right one", {"X-Uc-Signature": right}, 200)]:
        report.equal("a relay " + name, suite.feed("/in/uploadcare/" + token, body, headers).status, status)


def confirmation(report, suite):
    """A topic that asks is answered, and never visited at another host."""
    token = suite.token()["token"]
    count = len(suite.receiver.deliveries)
    for url in (suite.receiver.url("/?Action=ConfirmSubscription&Token=t"), "http://169.254.169.254/"):
        answer = suite.feed("/in/s3/" + token, {**CONFIRM, "SubscribeURL": url}, {"Content-Type": "text/plain"})
        report.equal("a confirmation", answer.status, 200)
    suite.settle()
    paths = [one.path for one in suite.receiver.deliveries[count:] if "marker" not in one.path]
    report.equal("nobody was visited", [path for path in paths if "Action" in path], [])


def send(report, suite):
    """One delivery to a URL that nobody subscribed."""
    url = suite.receiver.url("/sent")
    before = suite.call("GET", "/webhooks/").json()
    fields = {"target_url": url, "event": "order.paid", "data": {"order": 7}, "signing_secret": SECRET,
              "headers": {"X-Env": "test"}}
    answer = suite.call("POST", "/send/", fields)
    report.equal("it is accepted", (answer.status, answer.json()["deliveries"]), (202, 1))
    nameless = {"target_url": url, "data": {"order": 8}, "signing_secret": SECRET, "idempotency_key": "k",
                "headers": {"X-Env": "test"}}
    report.equal("without a name", suite.call("POST", "/send/", nameless).json()["event"], "send")
    report.equal("again", suite.call("POST", "/send/", nameless).json()["duplicate"], True)
    suite.wait("they are delivered", lambda paths: paths.count("/sent") == 2)
    sent = [one for one in suite.receiver.deliveries if one.path == "/sent"]
    report.equal("each once", sorted(json.loads(one.body)["data"]["order"] for one in sent), [7, 8])
    report.equal("with its header", sent[0].headers.get("x-env"), "test")
    lanes = {one.headers["postrider-webhook"] for one in sent}
    report.equal("over one lane", len(lanes), 1)
    other = {**fields, "headers": {"X-Env": "prod"}}
    report.equal("another header", suite.call("POST", "/send/", other).status, 202)
    suite.wait("that is delivered", lambda paths: paths.count("/sent") == 3)
    sent = [one for one in suite.receiver.deliveries if one.path == "/sent"]
    report.check("over a lane of its own", sent[2].headers["postrider-webhook"] not in lanes, lanes)
    report.equal("no webhook is shown", suite.call("GET", "/webhooks/").json(), before)
    lane = lanes.pop()
    for method, path in [("GET", "/webhooks/%s/"), ("PUT", "/webhooks/%s/"), ("DELETE", "/webhooks/%s/"),
                         ("POST", "/webhooks/%s/pause/"), ("GET", "/api/v1/projects/39123/webhooks/%s")]:
        headers = wire.bearer() if "api" in path else None
        answer = suite.call(method, path % lane, {} if method == "PUT" else None, headers)
        report.equal("nor found by %s %s" % (method, path), answer.status, 404)
    for name, wrong in [("target_url", {"target_url": None}), ("target_url", {"target_url": "http://10.0.0.1/"}),
                        ("data", {"data": None}), ("events", {"events": ["x"]}), ("event", {"event": "a b"})]:
        answer = suite.call("POST", "/send/", {**fields, **wrong})
        report.equal("400 for %r" % wrong, (answer.status, name in answer.body.decode()), (400, True))
    conflict = {**nameless, "data": {"order": 9}}
    report.equal("another body", suite.call("POST", "/send/", conflict).status, 409)
    report.equal("nobody subscribed", suite.call("POST", "/webhooks/unsubscribe/", {"target_url": url}).status, 204)
    report.equal("and it goes on", suite.call("POST", "/send/", fields).status, 202)
    suite.wait("to its target", lambda paths: paths.count("/sent") == 4)
