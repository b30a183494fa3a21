"""What Uploadcare's other clients send, byte for byte, and curl as its legacy pages show it.

Owns one session for each client that is not run here itself (Ruby, PHP, Go, Rust, Java, Android,
Swift, Dart, .NET, Pipedream). Must never go through a client library: the odd spellings are the
point. Environment: BASE_URL, PUBLIC_KEY, SECRET_KEY.
"""

import email.utils
import json
import os
import time
import urllib.parse

from harness import wire
from harness.report import Report
from harness.wire import ACCEPT, FORM, JSON

PORT = urllib.parse.urlsplit(os.environ["BASE_URL"]).port
PUBLIC, SECRET = os.environ["PUBLIC_KEY"], os.environ["SECRET_KEY"]
BOUNDARY = "dart-http-boundary-Xo9.e'3+_"
SIMPLE, SIGNED = "simple", "signed"


def rfc1123():
    """`Sat, 21 Nov 2026 17:31:18 GMT`."""
    return email.utils.formatdate(time.time(), usegmt=True)


def offset_zone():
    """Java's form: `Sat, 21 Nov 2026 17:34:26 +0000`."""
    return rfc1123().replace("GMT", "+0000")


def comma_after_year():
    """pyuploadcare's form: `Sat, 21 Nov 2026, 16:54:33 GMT`."""
    return time.strftime("%a, %d %b %Y, %H:%M:%S GMT", time.gmtime())


def unpadded():
    """Dart's form: no padding, and a weekday that is wrong."""
    now = time.gmtime()
    clock = "%d:%d:%d" % (now.tm_hour, now.tm_min, now.tm_sec)
    wrong = time.strftime("%a", time.gmtime(time.time() + 86400))
    return "%s, %d %s %s GMT" % (wrong, now.tm_mday, time.strftime("%b %Y", now), clock)


def as_json(**fields):
    """Compact JSON as most clients print it."""
    return JSON, json.dumps(fields, separators=(",", ":")).encode()


def as_php(**fields):
    """JSON with PHP's escaped slashes."""
    return JSON, json.dumps(fields, separators=(",", ":")).replace("/", "\\/").encode()


def as_form(**fields):
    """Urlencoded; values as they are."""
    return FORM, urllib.parse.urlencode(fields).encode()


def as_multipart(**fields):
    """Dart's multipart."""
    parts = ['--%s\r\ncontent-disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (BOUNDARY, n, v)
             for n, v in fields.items()]
    body = "".join(parts) + "--%s--\r\n" % BOUNDARY
    return 'multipart/form-data; boundary="%s"' % BOUNDARY, body.encode()


def untyped(**fields):
    """axios on DELETE: a form body and no content type."""
    return None, urllib.parse.urlencode(fields).encode()


class Client:
    """How one client speaks; `step` sends one request and checks its answer."""

    def __init__(self, report, name, accept, auth=SIMPLE, date=rfc1123, date_header="Date",
                 headers=None, bare_type=None):
        self.report, self.name, self.auth = report, name, auth
        self.accept, self.date, self.date_header = accept, date, date_header
        self.headers, self.bare_type = headers or {}, bare_type

    def step(self, method, path, encoded, status, **fields):
        """One request; `fields` is what the answer's object must hold."""
        content_type, body = encoded or (self.bare_type, b"")
        headers = dict(self.headers)
        if self.accept:
            headers["Accept"] = self.accept
        if self.auth == SIMPLE:
            headers.update(wire.simple(PUBLIC, SECRET))
            if content_type:
                headers["Content-Type"] = content_type
        else:
            headers.update(wire.signed(method, path, body, content_type or "", self.date(),
                                       self.date_header, PUBLIC, SECRET))
        answer = wire.request(PORT, method, path, headers, body)
        return self.judge("%s: %s %s" % (self.name, method, path), answer, status, fields)

    def judge(self, name, answer, status, fields):
        """Status, content type, emptiness of a 204, and the fields."""
        self.report.equal(name, answer.status, status)
        if status == 204:
            self.report.equal(name + ": empty", answer.body, b"")
            self.report.equal(name + ": length", answer.headers.get("content-length", "0"), "0")
            return None
        vendor = self.accept in ACCEPT.values()
        wanted = self.accept if vendor else JSON
        self.report.equal(name + ": content type", answer.headers.get("content-type"), wanted)
        shown = answer.json()
        if fields:
            self.report.equal(name + ": fields", {k: shown.get(k) for k in fields}, fields)
        return shown

    def target(self):
        """A target URL of this client's own."""
        return "https://example.com/" + urllib.parse.quote(self.name)


def session(client, encode, update=("PUT", None), remove=("DELETE", "unsubscribe"), extra=None,
            on=True, off=False, always=None):
    """Create, list, update, duplicate, remove, remove again, as one client spells them."""
    target, always = client.target(), always or {}
    fields = {"target_url": target, "event": "file.uploaded", "is_active": on, **always}
    made = client.step("POST", "/webhooks/", encode(**fields), 201, target_url=target,
                       event="file.uploaded", is_active=True, signing_secret=None)
    path = "/webhooks/%d/" % made["id"]
    listed = client.step("GET", "/webhooks/", None, 200)
    client.report.equal(client.name + ": list", listed, [made])
    again = client.step("POST", "/webhooks/", encode(**fields), 400)
    client.report.equal(client.name + ": duplicate", again, {
        "non_field_errors": ["This project is already subscribed on this event"]})
    with_id = {"id": made["id"]} if extra == "id" else {}
    method, as_update = update[0], update[1] or encode
    client.step(method, path, as_update(**with_id, is_active=off, **always), 200,
                is_active=False, target_url=target, created=made["created"])
    client.step(method, path, as_update(**with_id, signing_secret="kept"), 200,
                signing_secret="kept", is_active=False)
    client.step(method, path, as_update(**with_id, is_active=on, **always), 200,
                is_active=True, signing_secret="kept")
    for _ in range(2):
        if remove[1] == "unsubscribe":
            as_remove = remove[2] if len(remove) > 2 else encode
            client.step(remove[0], "/webhooks/unsubscribe/", as_remove(target_url=target), 204)
        else:
            client.step("DELETE", path, None, 204)
            gone = client.step("DELETE", path, None, 404)
            client.report.equal(client.name + ": gone", gone, {"detail": "Not found."})
            break
    client.report.equal(client.name + ": empty", client.step("GET", "/webhooks/", None, 200), [])


def legacy_curl(report):
    """The four requests of the legacy pages, with the words of the pages."""
    curl = Client(report, "curl", None, headers={"User-Agent": "curl/7.88.1", "Accept": "*/*"})
    second = "http://sometargeturl.com/hooks/receiver/second"
    report.equal("curl: nothing yet", curl.step("GET", "/webhooks/", None, 200), [])
    body = urllib.parse.quote(second, safe=":/").encode()
    create = (FORM, b"target_url=" + body + b"&event=file.uploaded")
    made = curl.step("POST", "/webhooks/", create, 201, target_url=second, version="0.5")
    keys = ["id", "created", "updated", "event", "target_url", "project", "is_active"]
    report.check("curl: the keys of the pages", set(keys) <= set(made), made)
    path = "/webhooks/%d/" % made["id"]
    for spelling in ["0", "1", "false", "true", "False", "True"]:
        wanted = spelling in ("1", "true", "True")
        update = (FORM, ("is_active=" + spelling).encode())
        curl.step("POST", path, update, 200, is_active=wanted, target_url=second)
    curl.step("POST", path, (FORM, b"event=file.uploaded"), 200, event="file.uploaded")
    curl.step("POST", path, (FORM, b"target_url=http%3A%2F%2Fsometargeturl.com%2Fnew"), 200,
              target_url="http://sometargeturl.com/new")
    for _ in range(2):
        curl.step("POST", "/webhooks/unsubscribe/", create, 204)
    report.equal("curl: another target stays", len(curl.step("GET", "/webhooks/", None, 200)), 1)
    curl.step("POST", "/webhooks/unsubscribe/", (FORM, b"target_url=http://sometargeturl.com/new"
                                                       b"&event=file.uploaded"), 204)
    report.equal("curl: empty", curl.step("GET", "/webhooks/", None, 200), [])


def signed_webhooks_page(report):
    """The page on signing: JSON by POST to the webhook, and a secret by its create."""
    page = Client(report, "signed-webhooks page", ACCEPT["0.7"])
    made = page.step("POST", "/webhooks/", as_json(target_url=page.target(), event="file.uploaded",
                                                   signing_secret="7kMVZivndx0ErgvhRKAr"), 201,
                     signing_secret="7kMVZivndx0ErgvhRKAr")
    path = "/webhooks/%d/" % made["id"]
    page.step("POST", path, as_json(signing_secret="some-secret"), 200,
              signing_secret="some-secret")
    page.step("PUT", path, as_json(signing_secret=None), 200, signing_secret="some-secret")
    page.step("PUT", path, as_json(signing_secret=""), 200, signing_secret=None)
    page.step("GET", path, None, 200, id=made["id"])
    page.step("DELETE", path, None, 204)


def dates(report):
    """Every date form of a signed request, in both headers, to the edge of the window."""
    for form in (rfc1123, offset_zone, comma_after_year, unpadded):
        for header in ("Date", "X-Uploadcare-Date"):
            name = "date %s in %s" % (form.__name__, header)
            Client(report, name, ACCEPT["0.7"], SIGNED, form, header).step(
                "GET", "/webhooks/", None, 200)
    for seconds, status in [(-870, 200), (870, 200), (-930, 401), (930, 401), (-86400, 401)]:
        def shifted(by=seconds):
            return email.utils.formatdate(time.time() + by, usegmt=True)
        client = Client(report, "date %+d s" % seconds, ACCEPT["0.7"], SIGNED, shifted)
        client.step("GET", "/webhooks/", None, status)


def others(report):
    """One session for each client in its own spelling."""
    def client(*arguments, **options):
        return Client(report, *arguments, **options)

    null = {"signing_secret": None}
    for auth in (SIMPLE, SIGNED):
        session(client("ruby 5 " + auth, ACCEPT["0.7"], auth, bare_type=JSON), as_json)
        session(client("ruby 4 " + auth, ACCEPT["0.7"], auth, bare_type=JSON), as_json)
        session(client("ruby 3 " + auth, ACCEPT["0.5"], auth, bare_type=JSON), as_json,
                update=("POST", None), remove=("POST", "unsubscribe"))
        agent = {"X-UC-User-Agent": "UploadcareGo/0.1.0/" + PUBLIC}
        for version in ("0.5", "0.6"):
            session(client("go 1.2 %s %s" % (version, auth), ACCEPT[version], auth, headers=agent,
                           bare_type=JSON), as_json, extra="id")
            session(client("rust %s %s" % (version, auth), ACCEPT[version], auth, bare_type=JSON),
                    as_json, extra="id")
        session(client("go 2 " + auth, ACCEPT["0.7"], auth, bare_type=JSON), as_json, extra="id",
                remove=("DELETE", "id"), always=null)
        session(client("java " + auth, ACCEPT["0.6"], auth, offset_zone, bare_type=JSON), as_json)
        session(client("android " + auth, ACCEPT["0.7"], auth, bare_type="null"), as_json)
        session(client("swift " + auth, ACCEPT["0.7"], auth, bare_type=JSON), as_json, on="true",
                off="false")
        charset = JSON + "; charset=utf-8"
        session(client("dotnet " + auth, ACCEPT["0.5"], auth, bare_type=charset), as_form,
                update=("POST", None), remove=("POST", "unsubscribe"), on="True", off="False")
    session(client("php 4", ACCEPT["0.7"], SIGNED, bare_type=JSON), as_php, always=null)
    session(client("php 3", ACCEPT["0.6"], SIGNED, bare_type=JSON), as_form, on="1", off="0")
    for version in ("0.6", "0.7"):
        session(client("dart " + version, ACCEPT[version], SIMPLE), as_multipart,
                on="true", off="false")
    session(client("pipedream", "application/json, text/plain, */*", SIMPLE), as_json,
            remove=("DELETE", "unsubscribe", untyped))


if __name__ == "__main__":
    suite = Report("what other clients send", quiet=True)
    for part in (legacy_curl, signed_webhooks_page, dates, others):
        suite.run(lambda part=part: part(suite))
    suite.close()
