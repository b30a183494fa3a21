"""Every event of every dialect through a real daemon to a webhook of every format.

Owns publishing what the golden files hold, comparing each delivered byte with them, and having
each delivery read by the libraries that receivers use: PyPI's and npm's `standardwebhooks`, `svix`
and `cloudevents`, and Lancer's check. Must never take the daemon's word for a signature.
Environment: POSTRIDER_BINARY, NODE_MODULES.
"""

import hashlib
import hmac
import json
import pathlib
import re
import subprocess

import standardwebhooks
import svix
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from formats import expected
from harness import wire
from harness.daemon import PUBLIC_KEY, Daemon
from harness.receiver import Receiver
from harness.report import Report
from harness.wire import ACCEPT, JSON

SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # 32 characters, strict base64 of 24 bytes
KEY = "whsec_" + SECRET
SECONDS_MAX = 60
CONTENT_TYPES = {"cloudevents": "application/cloudevents+json"}


class Suite:
    """One daemon, one receiver, and the webhooks by path."""

    def __init__(self, report):
        self.report = report
        self.receiver = Receiver()
        self.daemon = Daemon("formats").start()
        self.webhooks = {}
        self.events = {}

    def call(self, method, path, fields=None, accept="own"):
        """One authenticated request."""
        body = b"" if fields is None else json.dumps(fields, ensure_ascii=False).encode()
        head = {"Accept": ACCEPT[accept], "Content-Type": JSON, **wire.simple()}
        return wire.request(self.daemon.port, method, path, head, body)

    def subscribe(self, form, name, option="", **fields):
        """A webhook at a path of its own."""
        path = "/%s/%s%s" % (form, name, option)
        known, _, version = form.partition("-")
        fields = {"target_url": self.receiver.url(path), "event": name, "format": known,
                  "signing_secret": SECRET, **({"version": version} if version else {}), **fields}
        answer = self.call("POST", "/webhooks/", fields)
        if self.report.equal("create %s" % path, answer.status, 201):
            self.webhooks[path] = answer.json()
        else:
            print(answer)

    def publish(self):
        """Every event; answers with how many deliveries have to come of them."""
        count = 0
        for dialect in expected.DIALECTS:
            for place, (event, body) in enumerate(expected.published(dialect)):
                head = {"Content-Type": JSON, **wire.simple()}
                answer = wire.request(self.daemon.port, "POST", "/events/", head, body.encode())
                self.report.equal("publish %s %s" % (dialect, event), answer.status, 202)
                self.events[answer.json()["id"]] = (dialect, place, event)
                names = [expected.name_in(dialect, event, form) for form in expected.FORMATS]
                count += sum(name is not None for name in names)
                count += names[4] == "FILE_DELETE"
                count += names[3] == "file.created"
        return count

    def close(self):
        """Stops both."""
        self.receiver.close()
        self.daemon.close(keep=self.report.failed > 0)


def judge_body(suite, delivery, goldens):
    """Compares a delivered body with the golden one."""
    _, form, rest = delivery.path.split("/")
    name, _, option = rest.partition("+")
    event = delivery.headers["postrider-event"]
    dialect, place, published = suite.events[event]
    line = goldens[dialect, form].get(place)
    label = "%s %s as %s" % (dialect, published, delivery.path)
    if not suite.report.check(label + " is meant", line is not None):
        return
    if option == "array":
        file = expected.GOLDEN / ("%s-to-%s-array.json" % (dialect, form))
        line = file.read_text("utf-8")
    if option == "secret":
        line = line.replace('"signing_secret":null', '"signing_secret":"12345X"')
    public_id = ""
    if form == "jsonapi":
        shown = json.loads(delivery.body)["data"]["relationships"]["webhook"]["data"]["id"]
        suite.report.check("a public id", re.fullmatch("wh-[0-9A-Za-z]{22}", shown), shown)
        public_id = shown
    webhook = suite.webhooks[delivery.path]
    wanted = expected.fill(line, name, event, webhook, public_id, PUBLIC_KEY)
    suite.report.equal(label, delivery.body.decode(), wanted)


def judge_headers(report, delivery):
    """Content type and the single-valued signatures, by an HMAC of our own."""
    _, form, rest = delivery.path.split("/")
    seen = delivery.headers
    report.equal("content type of " + form, seen["content-type"], CONTENT_TYPES.get(form, JSON))
    own = hmac.new(SECRET.encode(), delivery.body, hashlib.sha256).hexdigest()
    bare = rest.endswith(("+array", "+secret"))
    report.equal("X-Uc-Signature", seen["x-uc-signature"], own if bare else "v1=" + own)
    lancer = {name for name in seen if name in ("x-signature", "x-timestamp")}
    report.equal("Lancer's headers", len(lancer), 2 if form == "lancer" else 0)
    if form == "lancer":
        report.equal("one timestamp", seen["x-timestamp"], seen["webhook-timestamp"])


def judge_in_python(report, delivery):
    """The libraries of PyPI."""
    for library in (standardwebhooks, svix):
        for body, good in ((delivery.body, True), (delivery.body + b" ", False)):
            try:
                library.Webhook(KEY).verify(body, delivery.headers)
                accepted = True
            except library.WebhookVerificationError:
                accepted = False
            report.equal("%s: %s" % (library.__name__, delivery.path), accepted, good)
    if delivery.path.startswith("/cloudevents/"):
        event = from_structured_event(HTTPMessage(delivery.headers, delivery.body))
        shown = json.loads(delivery.body)
        seen = (event.get_id(), event.get_source(), event.get_type(), event.get_subject())
        wanted = (shown["id"], shown["source"], shown["type"], shown.get("subject"))
        report.equal("cloudevents: attributes", seen, wanted)
        report.equal("cloudevents: data", event.get_data(), shown["data"])
        report.equal("cloudevents: id", event.get_id(), delivery.headers["postrider-event"])


def judge_in_node(report, deliveries):
    """The libraries of npm, all deliveries in one process."""
    lines = [json.dumps({"format": one.path.split("/")[1], "secret": SECRET, "key": KEY,
                         "headers": one.headers, "body": one.body.decode()}) for one in deliveries]
    script = str(pathlib.Path(__file__).with_name("verify.mjs"))
    done = subprocess.run(["node", script], input="\n".join(lines) + "\n", text=True,
                          capture_output=True, timeout=SECONDS_MAX)
    report.equal("node ran", (done.returncode, done.stderr), (0, ""))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    report.equal("node answered for each", len(answers), len(lines))
    for delivery, answer in zip(deliveries, answers):
        for name, holds in answer.items():
            report.check("node: %s: %s" % (name, delivery.path), holds)


def management(suite):
    """What the webhook API shows of formats that are not Uploadcare's."""
    report = suite.report
    shown = suite.call("GET", "/webhooks/").json()
    report.equal("our view lists all", len(shown), len(suite.webhooks))
    listed = suite.call("GET", "/webhooks/", accept="0.7").json()
    custom = ("order.paid", "card.moved")
    own = [one for one in shown if one["format"] == "uploadcare" and one["event"] not in custom]
    report.equal("Uploadcare's view lists its own", sorted(one["id"] for one in listed),
                 sorted(one["id"] for one in own))
    other = next(one for one in shown if one["format"] == "lancer")
    path = "/webhooks/%d/" % other["id"]
    report.equal("shown in our view", suite.call("GET", path).json()["format"], "lancer")
    report.equal("not in Uploadcare's", suite.call("GET", path, accept="0.7").status, 404)
    target = {"target_url": other["target_url"]}
    suite.call("DELETE", "/webhooks/unsubscribe/", target, accept="0.7")
    report.equal("untouched by unsubscribe", suite.call("GET", path).status, 200)
    refused = suite.call("PUT", path, {"event": "file.uploaded"})
    report.equal("an event of another format", (refused.status, list(refused.json())),
                 (400, ["event"]))
    same = suite.call("PUT", path, other)
    report.equal("what was read can be sent back", (same.status, same.json()["format"]),
                 (200, "lancer"))
    for body, field in (({"id": "f", "file_size": "1"}, "data.file_size"),
                        ({"id": "f", "checksum": "abc"}, "data.checksum"),
                        ({"id": "f", "uploaded_at": "now"}, "data.uploaded_at"),
                        ({"id": "f", "is_deleted": 1}, "data.is_deleted"), ({}, "data.id")):
        answer = suite.call("POST", "/events/", {"event": "FILE_UPLOAD", "data": body})
        report.equal("refused: " + field, (answer.status, list(answer.json())), (400, [field]))


def main(report):
    """All of it."""
    suite = Suite(report)
    try:
        for form in expected.FORMATS:
            for name in expected.names_of(form):
                suite.subscribe(form, name)
        suite.subscribe("lancer", "FILE_DELETE", "+array", file_delete="array",
                        signature_style="bare")
        suite.subscribe("jsonapi", "file.created", "+secret", include_secret=True,
                        signature_style="bare")
        count = suite.publish()
        came = suite.receiver.wait(lambda deliveries: len(deliveries) >= count, SECONDS_MAX)
        deliveries = list(suite.receiver.deliveries)
        report.check("%d deliveries came" % count, came, len(deliveries))
        report.equal("and none more", len(deliveries), count)
        goldens = {(dialect, form): expected.golden(dialect, form)
                   for dialect in expected.DIALECTS for form in expected.FORMATS}
        for delivery in deliveries:
            judge_body(suite, delivery, goldens)
            judge_headers(report, delivery)
            judge_in_python(report, delivery)
        judge_in_node(report, deliveries)
        management(suite)
    finally:
        suite.close()


if __name__ == "__main__":
    suite_report = Report("formats")
    suite_report.run(lambda: main(suite_report))
    suite_report.close()
