"""Webhooks as JSON:API projects manage them, against the release binary.

Owns sessions over the wire, and one of `jsonapi_client`, a client library that knows nothing of
this project. Must never share code with the daemon. Environment: POSTRIDER_BINARY.
"""

import json
import re
import urllib.parse

import jsonapi_client
import jsonapi_client.exceptions
from harness import readme, wire
from harness.daemon import PROJECT_ID, PUBLIC_KEY, SECRET_KEY, Daemon
from harness.report import Report
from harness.wire import ACCEPT, FORM, JSON

OTHER = (39124, "0123456789abcdef9999", "demosecretkey0000002")
VND = "application/vnd.api+json"
BASE = "/api/v1/projects/%s/webhooks"
TARGET = "http://127.0.0.1:9/hook"
EVENTS = ["file.created", "file.updated", "file.deleted", "group.created", "group.updated",
          "group.deleted", "action.created", "action.updated"]
WEBHOOK_ID = re.compile(r"wh-[A-Za-z0-9]{22}")
SECRET = re.compile(r"whsec-[A-Za-z0-9]{22}")


class Api:
    """The API as one project's owner calls it."""

    def __init__(self, port, project=PUBLIC_KEY, secret=SECRET_KEY):
        self.port = port
        self.base = BASE % project
        self.auth = wire.bearer(secret)

    def call(self, method, tail="", fields=None, headers=None):
        """One request with a JSON body."""
        body = b"" if fields is None else json.dumps(fields).encode()
        kind = {"Content-Type": JSON} if fields is not None else {}
        return self.raw(method, tail, body, {**kind, **(headers or {})})

    def raw(self, method, tail="", body=b"", headers=None):
        """One request with any body."""
        return wire.request(self.port, method, self.base + tail, {**self.auth, **(headers or {})}, body)

    def create(self, **fields):
        """A webhook; answers with its resource."""
        fields = {"target_url": TARGET, "events": ["file.created"], **fields}
        answer = self.call("POST", "", {"webhook": fields})
        if answer.status != 200:
            raise AssertionError("create: %r" % answer)
        return answer.json()["data"]


def multipart(pairs):
    """A body and its content type."""
    part = '--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return "".join(part % pair for pair in pairs).encode() + b"--x--\r\n", "multipart/form-data; boundary=x"


def resource(report, api):
    """The resource as the contract has it, whatever form the request has."""
    answer = api.call("POST", "", {"webhook": {"target_url": TARGET, "events": EVENTS,
                                               "signing_secret": "mine", "id": "wh-mine"}})
    made = answer.json()
    data = made["data"]
    report.equal("create answers 200", answer.status, 200)
    report.equal("as application/json", answer.headers["content-type"], JSON)
    report.check("wh- id", WEBHOOK_ID.fullmatch(data["id"]), data["id"])
    secret = data["attributes"]["signing_secret"]
    report.check("whsec- secret, made here", SECRET.fullmatch(secret), secret)
    report.equal("the resource, its keys in order", json.dumps(made), json.dumps({"data": {
        "type": "webhooks", "id": data["id"],
        "attributes": {"events": EVENTS, "target_url": TARGET, "is_active": True, "version": "1",
                       "signing_secret": secret},
        "relationships": {"project": {"data": {"type": "projects", "id": PUBLIC_KEY}}}}}))
    again = api.create(events=EVENTS)
    report.check("the same again is another webhook", again["id"] != data["id"])
    report.check("with another secret", again["attributes"]["signing_secret"] != secret)
    pairs = [("target_url", TARGET), ("events][", "file.created"), ("events][", "order.paid"),
             ("is_active", "false")]
    pairs = [("webhook[%s]" % name, value) for name, value in pairs]
    bare = [("target_url", TARGET), ("events[]", "file.created"), ("events[]", "order.paid"),
            ("is_active", "0")]
    wanted = (["file.created", "order.paid"], TARGET, False)
    bodies = {
        "urlencoded": (urllib.parse.urlencode(pairs).encode(), FORM),
        "urlencoded, brackets as they are": (
            "&".join("%s=%s" % pair for pair in pairs).encode(), FORM),
        "bare urlencoded": (urllib.parse.urlencode(bare).encode(), FORM),
        "multipart": multipart(pairs),
        "bare multipart": multipart(bare),
        "bare JSON": (json.dumps({"target_url": TARGET, "events": wanted[0],
                                  "is_active": False}).encode(), JSON),
        "a resource": (json.dumps({"data": {"type": "webhooks", "attributes": {
            "target_url": TARGET, "events": wanted[0], "is_active": False}}}).encode(), VND),
        "vnd.api+json": (json.dumps({"webhook": {"target_url": TARGET, "events": wanted[0],
                                                 "is_active": False, "version": "1"}}).encode(), VND),
    }
    for name, (body, kind) in bodies.items():
        answer = api.raw("POST", ".json", body, {"Content-Type": kind})
        if report.equal("create: " + name, answer.status, 200):
            seen = answer.json()["data"]["attributes"]
            seen = (seen["events"], seen["target_url"], seen["is_active"])
            report.equal("what came of it: " + name, seen, wanted)


def lifecycle(report, api):
    """Show, update and delete, by both ids, under every spelling of the path."""
    made = api.create()
    own = wire.request(api.port, "GET", "/webhooks/", {**api.auth, "Accept": JSON}).json()
    number = str(next(one["id"] for one in own if one["signing_secret"] ==
                      made["attributes"]["signing_secret"]))
    for name in (made["id"], number):
        for tail in ("", ".json", "/", ".json/"):
            answer = api.call("GET", "/" + name + tail)
            report.equal("show " + tail, (answer.status, answer.json()["data"]), (200, made))
    head = api.call("HEAD", "/" + made["id"])
    report.equal("HEAD", (head.status, head.body), (200, b""))
    by_number = Api(api.port, PROJECT_ID)
    report.equal("the project by its id", by_number.call("GET", "/" + number).json()["data"], made)
    for accept, wanted in ((VND, VND), (JSON, JSON), ("*/*", JSON), ("text/html, " + VND, VND)):
        answer = api.call("GET", "/" + made["id"], headers={"Accept": accept})
        report.equal("content type for " + accept, answer.headers["content-type"], wanted)
        report.equal("Vary", answer.headers.get("vary"), "Accept")
    changes = [("PUT", {"events": ["file.updated", "order.paid"]}), ("PATCH", {"is_active": False}),
               ("PATCH", {"target_url": TARGET + "/2", "events": ["group.created"]}),
               ("PUT", {"is_active": True, "version": "1", "events": None}), ("PATCH", {})]
    attributes = dict(made["attributes"])
    for method, change in changes:
        answer = api.call(method, "/" + made["id"] + ".json", {"webhook": change})
        attributes.update({name: value for name, value in change.items() if value is not None})
        report.equal("%s %s" % (method, sorted(change)),
                     (answer.status, answer.json()), (200, {"data": {**made, "attributes": attributes}}))
    seen = api.call("GET", "/" + made["id"]).json()["data"]["attributes"]
    report.equal("and it stays so", seen, attributes)
    answer = api.call("DELETE", "/" + made["id"])
    report.equal("delete answers 200 and what is gone", (answer.status, answer.json()["data"]["id"]),
                 (200, made["id"]))
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        for name in (made["id"], number, "wh-nothing", "0", "-1", "incoming"):
            answer = api.call(method, "/" + name, {} if method[0] == "P" else None)
            report.equal("%s what is not there" % method, (answer.status, answer.json()),
                         (404, {"errors": ["Webhook not found"]}))


def pages(report, api):
    """A project of its own, with 45 webhooks."""
    report.equal("an empty list", api.call("GET").json(),
                 {"data": [], "pagination": {"count": 0, "page": 1, "items": 20, "pages": 1}})
    made = [api.create(target_url=TARGET + "/%d" % number)["id"] for number in range(45)]
    for query, page, items, shown in (
            ("", 1, 20, made[:20]), ("?page=3", 3, 20, made[40:]), ("?page=4", 4, 20, []),
            ("?items=7&page=2", 2, 7, made[7:14]), ("?items=1000", 1, 100, made),
            ("?page=&items=", 1, 20, made[:20])):
        listed = api.call("GET", query).json()
        report.equal("list" + query, [one["id"] for one in listed["data"]], shown)
        wanted = {"count": 45, "page": page, "items": items, "pages": -(-45 // items)}
        report.equal("pagination of list" + query, listed["pagination"], wanted)
    for query, texts in (("?page=0", ["Page is invalid"]), ("?items=x", ["Items is invalid"])):
        answer = api.call("GET", ".json" + query)
        report.equal("list" + query, (answer.status, answer.json()), (422, {"errors": texts}))


def refusals(report, api):
    """Every status that is an error, each with `{"errors":[…]}`."""
    made = api.create()
    for name, auth in (
            ("no Authorization", {}), ("a wrong secret", wire.bearer("nonsense")),
            ("another project's secret", wire.bearer(OTHER[2])),
            ("an empty one", {"Authorization": ""}), ("a scheme alone", {"Authorization": "Bearer"}),
            ("a public key", wire.bearer(PUBLIC_KEY))):
        for project in (PUBLIC_KEY, PROJECT_ID):
            for method, tail in (("GET", ""), ("POST", ""), ("GET", "/" + made["id"]),
                                 ("DELETE", "/" + made["id"] + ".json")):
                answer = wire.request(api.port, method, BASE % project + tail, auth)
                report.equal("401: %s, %s" % (name, method), (answer.status, answer.json()),
                             (401, {"errors": ["Unauthorized"]}))
    report.equal("WWW-Authenticate", answer.headers.get("www-authenticate"), "Bearer")
    unknown = wire.request(api.port, "GET", BASE % "nobody", api.auth)
    report.equal("an unknown project is no other", (unknown.status, unknown.body), (401, answer.body))
    for words in ("Bearer %s", "bearer  %s ", "Token token %s", "%s"):
        answer = api.call("GET", headers={"Authorization": words % SECRET_KEY})
        report.equal("the last word counts: " + words, answer.status, 200)
    for method, tail, allow in (
            ("PUT", "", "GET, HEAD, OPTIONS, POST"), ("DELETE", ".json", "GET, HEAD, OPTIONS, POST"),
            ("POST", "/" + made["id"], "DELETE, GET, HEAD, OPTIONS, PATCH, PUT")):
        answer = api.call(method, tail, {})
        report.equal("405 for %s" % method, (answer.status, answer.headers.get("allow")), (405, allow))
        report.equal("405 has errors", list(answer.json()), ["errors"])
    options = api.call("OPTIONS", "/" + made["id"])
    report.equal("OPTIONS", (options.status, options.headers.get("allow")), (204, allow))
    blank = ["Target url can't be blank", "Events can't be blank"]
    for fields, texts in (
            ({}, blank), ({"webhook": {}}, blank),
            ({"webhook": {"target_url": "nonsense", "events": ["file.created"]}},
             ["Target url is invalid"]),
            ({"webhook": {"target_url": "nonsense", "events": [], "is_active": "maybe"}},
             ["Target url is invalid", "Events can't be blank", "Is active is invalid"]),
            ({"webhook": {"target_url": TARGET, "events": ["file.uploaded"]}},
             ['Events is invalid: "file.uploaded" is not included in the list'])):
        answer = api.call("POST", "", fields)
        report.equal("422 for %r" % fields, (answer.status, answer.json()), (422, {"errors": texts}))
    answer = api.call("PATCH", "/" + made["id"], {"webhook": {"target_url": "http://10.0.0.1/"}})
    report.equal("a refused address", answer.status, 422)
    report.check("and which setting would help", "[delivery] allow" in answer.body.decode(), answer)
    for body, kind, status in ((b"{", JSON, 400), (b"[]", JSON, 400), (b"x", "text/plain", 415),
                               (b"a=1&a=2", FORM, 400), (b"{}" + b" " * 70000, JSON, 413)):
        answer = api.raw("POST", "", body, {"Content-Type": kind, "Accept": VND})
        report.equal("%d for %r" % (status, body[:8]), answer.status, status)
        report.equal("as it was asked for", answer.headers["content-type"], VND)
        report.check("with errors", isinstance(answer.json()["errors"][0], str), answer)
    report.equal("nothing of it came to pass", api.call("GET", "/" + made["id"]).json()["data"], made)


def views(report, api):
    """The same webhook in our own view, and in Uploadcare's: not at all."""
    made = api.create(events=["file.created", "order.paid"])
    call = lambda method, path, accept, **more: wire.request(  # noqa: E731
        api.port, method, path, {**api.auth, "Accept": accept, **more.get("headers", {})},
        more.get("body", b""))
    secret = made["attributes"]["signing_secret"]
    own = [one for one in call("GET", "/webhooks/", JSON).json() if one["signing_secret"] == secret]
    report.equal("our own view", [(one["events"], one["event"], one["format"]) for one in own],
                 [(["file.created", "order.paid"], "file.created", "jsonapi")])
    for version in ("0.5", "0.6", "0.7"):
        listed = call("GET", "/webhooks/", ACCEPT[version]).body
        report.check("Uploadcare's list %s" % version, secret.encode() not in listed, listed)
        shown = call("GET", "/webhooks/%d/" % own[0]["id"], ACCEPT[version])
        report.equal("Uploadcare's view %s" % version, shown.status, 404)
    body = json.dumps({"target_url": TARGET}).encode()
    for kind in (JSON, ACCEPT["0.7"]):
        gone = call("POST", "/webhooks/unsubscribe/", kind, body=body, headers={"Content-Type": JSON})
        report.equal("unsubscribe", gone.status, 204)
    shown = api.call("GET", "/" + made["id"])
    report.equal("unsubscribe leaves it alone", shown.json(), {"data": made})
    fields = {"target_url": TARGET, "event": "file.uploaded"}
    answer = call("POST", "/webhooks/", JSON, body=json.dumps(fields).encode(),
                  headers={"Content-Type": JSON})
    report.equal("Uploadcare's webhook is not here", api.call("GET", "/%d" % answer.json()["id"]).status, 404)


def library(report, api):
    """A session of a client library, over real HTTP."""
    made = api.create(events=EVENTS)
    base = "http://127.0.0.1:%d/api/v1/projects/%s" % (api.port, PUBLIC_KEY)
    options = {"headers": {**api.auth, "Accept": VND}}
    session = jsonapi_client.Session(base, request_kwargs=options)
    listed = session.get("webhooks").resources
    report.check("library: the list", made["id"] in [one.id for one in listed], listed)
    one = session.get("webhooks", made["id"]).resource
    fields = [one[name] for name in ("events", "target_url", "is_active", "version", "signing_secret")]
    seen = (one.type, one.id, *fields)
    wanted = ("webhooks", made["id"], EVENTS, TARGET, True, "1", made["attributes"]["signing_secret"])
    report.equal("library: a resource", seen, wanted)
    seen = one.relationships["project"].as_json_resource_identifiers
    report.equal("library: its relationship", seen, {"type": "projects", "id": PUBLIC_KEY})
    # As an attribute, a name with an underscore would be sent with a dash.
    one.fields["target_url"], one.fields["is_active"] = TARGET + "/library", False
    one.commit()
    seen = api.call("GET", "/" + made["id"]).json()["data"]["attributes"]
    report.equal("library: an update", (seen["target_url"], seen["is_active"], seen["events"]),
                 (TARGET + "/library", False, EVENTS))
    one.events = ["group.created"]
    one.commit()
    seen = api.call("GET", "/" + made["id"]).json()["data"]["attributes"]
    report.equal("library: its events", seen["events"], ["group.created"])
    shown = readme.with_values(readme.block("python", "jsonapi_client"), {
        "http://127.0.0.1:8080": "http://127.0.0.1:%d" % api.port, "demopublic": PUBLIC_KEY,
        "demosecret": SECRET_KEY, "http://127.0.0.1:8081/hook": TARGET + "/readme"})
    readme.run_python(shown)
    listed = api.call("GET", "?items=100").json()["data"]
    seen = [row["attributes"]["events"] for row in listed
            if row["attributes"]["target_url"] == TARGET + "/readme"]
    report.equal("library: created as README.md shows", seen, [["file.created"]])
    one.delete()
    one.commit()
    failure = jsonapi_client.exceptions.DocumentError
    session = jsonapi_client.Session(base, request_kwargs=options)  # the other one remembers it
    error = report.raises("library: a deleted one", failure, lambda: session.get("webhooks", made["id"]))
    report.check("library: why", "404" in str(error), error)
    stranger = {"headers": wire.bearer("nonsense")}
    stranger = jsonapi_client.Session(base, request_kwargs=stranger)
    error = report.raises("library: a wrong key", failure, lambda: stranger.get("webhooks"))
    report.check("library: why not", "401" in str(error), error)


def main(report):
    """All of it, and what a kill leaves."""
    daemon = Daemon("jsonapi", projects=[(PROJECT_ID, PUBLIC_KEY, SECRET_KEY), OTHER]).start()
    try:
        api = Api(daemon.port)
        pages(report, Api(daemon.port, OTHER[1], OTHER[2]))
        for part in (resource, lifecycle, refusals, views, library):
            report.run(lambda: part(report, api))
        before = api.call("GET", "?items=100").json()
        daemon.kill()
        daemon.start()
        report.equal("ids and secrets outlive a kill", api.call("GET", "?items=100").json(), before)
        report.check("no secret key in the log", SECRET_KEY not in daemon.log())
        report.check("no signing secret in the log", "whsec-" not in daemon.log())
        report.equal("it stops with 0", daemon.terminate()[0], 0)
    finally:
        daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    suite = Report("JSON:API projects")
    suite.run(lambda: main(suite))
    suite.close()
