"""Malformed requests, generated: every route, method, authentication, content type, body, size.

Owns the cases and what each must be answered with. Must never send one: `run.py` does. A case's
secrets and payloads carry CANARY, which may not turn up in the daemon's log.
"""

import email.utils
import gzip
import itertools
import json
import random
import time

from harness import wire
from harness.daemon import PUBLIC_KEY, SECRET_KEY
from harness.wire import ACCEPT, FORM, JSON

CANARY = "canary-4f9d2c"
NDJSON = "application/x-ndjson"
BOUNDARY = "b0undary"
MULTIPART = "multipart/form-data; boundary=" + BOUNDARY
FIELD_BYTES_MAX, FIELDS_MAX = 4096, 64
FORM_BYTES_MAX = 64 << 10
EVENT_BYTES_MAX, REQUEST_BYTES_MAX, EVENTS_MAX = 1 << 20, 16 << 20, 1000
TARGET = "https://example.com/malformed"
EVENT = {"event": "file.uploaded", "data": {"uuid": CANARY}}


class Case:
    """One request as bytes, and the statuses that it may be answered with."""

    def __init__(self, name, raw, statuses, json_body=True, allow=None, may_close=False):
        self.name, self.raw, self.statuses = name, raw, statuses
        self.json_body, self.allow, self.may_close = json_body, allow, may_close


def routes(webhook):
    """Path, the methods that it has, and a sound body for those that take one."""
    update = {"is_active": True}
    target = {"target_url": TARGET}
    return [
        ("/webhooks/", {"GET": None, "POST": {**target, "event": "file.uploaded"}}),
        ("/webhooks/%d/" % webhook, {"GET": None, "POST": update, "PUT": update, "DELETE": None}),
        ("/webhooks/unsubscribe/", {"POST": target, "DELETE": target}),
        ("/webhooks/%d/test/" % webhook, {"POST": None}),
        ("/events/", {"POST": EVENT}),
        ("/project/", {"GET": None}),
    ]


def build(method, path, headers=(), body=b"", content_type=None, accept="0.7", auth=None):
    """A request with the simple scheme, unless told otherwise."""
    pairs = list((wire.simple() if auth is None else auth).items())
    pairs += [("Accept", ACCEPT.get(accept, accept))] if accept else []
    pairs += [("Content-Type", content_type)] if content_type is not None else []
    return wire.request_bytes(method, path, pairs + list(headers), body)


def dump(value):
    """Compact JSON bytes."""
    return json.dumps(value, separators=(",", ":")).encode()


def multipart(*parts):
    """A multipart body of (disposition, content) pairs."""
    out = b""
    for disposition, content in parts:
        out += b"--%s\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (
            BOUNDARY.encode(), disposition.encode(), content)
    return out + b"--%s--\r\n" % BOUNDARY.encode()


def field(name, content):
    """One part of a multipart body."""
    return 'form-data; name="%s"' % name, content.encode()


def methods(webhook):
    """Each method that a route does not have: 405 and its Allow."""
    known = ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW"]
    for path, has in routes(webhook) + [("/healthz", {"GET": 0}), ("/readyz", {"GET": 0})]:
        for method in known:
            if method in has or (path == "/events/" and method == "GET"):
                continue
            yield Case("%s %s" % (method, path), build(method, path), {405}, allow=method)


def credentials(method, path, body):
    """Each wrong way to authenticate one request, as headers."""
    now = email.utils.formatdate(time.time(), usegmt=True)

    def dated(seconds):
        return email.utils.formatdate(time.time() + seconds, usegmt=True)

    def by_hand(signature, date=now):
        head = {"Authorization": "Uploadcare %s:%s" % (PUBLIC_KEY, signature)}
        return {**head, "Date": date} if date is not None else head

    def signed(**options):
        head = wire.signed(**{"method": method, "path": path, "body": body, **options})
        head.pop("Content-Type", None)
        return head

    sound = wire.signature(method, path, body, JSON, now)
    raw = {"Authorization": ""}
    yield "none", {}
    for value in ["", "Uploadcare", "Uploadcare.Simple", "Uploadcare.Simple ", "Bearer", "Bearer ",
                  "Uploadcare.Simple " + PUBLIC_KEY, "Uploadcare.Simple %s:" % PUBLIC_KEY,
                  "Uploadcare.Simple :" + SECRET_KEY, "Uploadcare.Simple :", "Uploadcare :",
                  "Basic " + CANARY, "Digest " + CANARY, "Token " + SECRET_KEY, CANARY,
                  "Uploadcare.Simple %s:%s" % (PUBLIC_KEY, CANARY),
                  "Uploadcare.Simple %s:%s" % (CANARY, SECRET_KEY),
                  "Uploadcare.Simple %s:%s" % (SECRET_KEY, PUBLIC_KEY),
                  "Uploadcare.Simple %s:%sx" % (PUBLIC_KEY, SECRET_KEY),
                  "Uploadcare.Simple %s:%s" % (PUBLIC_KEY, SECRET_KEY[:-1]),
                  "Uploadcare.Simple %s:%s" % (PUBLIC_KEY, SECRET_KEY.upper()),
                  "Uploadcare.Simple %s:%s" % (PUBLIC_KEY, "\xfc" + CANARY),
                  "Uploadcare.Simple %s:%s" % (PUBLIC_KEY, CANARY * 100),
                  "Bearer " + CANARY, "Bearer " + PUBLIC_KEY, "Bearer %s:%s" % (CANARY, CANARY)]:
        yield "%.40r" % value, {**raw, "Authorization": value}
    yield "signed without a date", by_hand(sound, None)
    for date in ["", "yesterday", "0", "Sat, 32 Nov 2026 17:31:18 GMT", now.replace("GMT", ""),
                 "Sat, 21 Nov 99999999999999999999 00:00:00 GMT", dated(-1000), dated(1000)]:
        yield "signed, date %r" % date, signed(date=date)
    for signature in ["", CANARY, "0" * 40, "0" * 39, sound[:-1], sound + "0", "g" * 40, "0" * 9999]:
        yield "signed, signature %.20r" % signature, by_hand(signature)
    yield "signed with another secret", signed(secret=CANARY)
    yield "signed by nobody", signed(public=CANARY)
    yield "signed for another path", signed(path=path + "?a=b")
    yield "signed for another method", signed(method="PATCH")
    yield "signed for another body", signed(body=body + b" ")
    yield "signed for another type", signed(content_type="text/plain")


def authentication(webhook):
    """Each wrong way to authenticate, on each route and method: 401."""
    for path, has in routes(webhook):
        for method, fields in has.items():
            body = dump(fields) if fields else b""
            for name, auth in credentials(method, path, body):
                raw = build(method, path, (), body, JSON, auth=auth)
                yield Case("auth %s: %s %s" % (name, method, path), raw, {401})


def encodings(webhook):
    """Content types that nobody reads, and bodies that are not what they say."""
    for path, has in routes(webhook):
        for method, fields in has.items():
            if not fields:
                continue
            for kind in ["text/plain", "text/html", "application/xml", "image/png", "nonsense",
                         "application/octet-stream", "application/", "/json", "text/json",
                         "multipart/mixed; boundary=x", "application/msgpack"]:
                yield Case("type %s: %s %s" % (kind, method, path),
                           build(method, path, (), dump(fields), kind), {415})
            packed = [("Content-Encoding", "gzip")]
            yield Case("gzip: %s %s" % (method, path),
                       build(method, path, packed, gzip.compress(dump(fields)), JSON), {400, 415})
            yield Case("JSON said to be a multipart: %s %s" % (method, path),
                       build(method, path, (), dump(fields), MULTIPART), {400})
            yield Case("multipart without a boundary: %s %s" % (method, path),
                       build(method, path, (), dump(fields), "multipart/form-data"), {400})


def broken_json():
    """Texts that are no JSON object, or none that survives JavaScript."""
    yield from [b"", b"{", b"}", b"nul", b"null", b"true", b"1", b'"a"', b"{}x", b"{'a':1}",
                b'{"a":1,}', b'{"a"}', b'{a:1}', b"[", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
                b'{"a":NaN}', b'{"a":+1}', b'{"a":01}', b'{"a":"\x01"}', b'{"a":"\\x41"}',
                b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b'{"a":1e999}',
                b"[" * 200 + b"]" * 200, b'{"a":' * 200 + b"1" + b"}" * 200, b"[" * 100_000,
                b'{"a":' * 50_000, b"<xml/>", b"--" + BOUNDARY.encode()]


def broken_forms():
    """Urlencoded bodies that name a field twice, too often, too long or not in UTF-8."""
    yield b""
    yield b"&&&"
    yield b"=x"
    yield b"event=file.uploaded"
    yield b"target_url="
    yield b"target_url=%ff%fe&event=file.uploaded"
    yield b"target_url=\xff&event=file.uploaded"
    yield b"target_url=https://example.com/%00&event=file.uploaded"
    yield b"target_url=https://a.example/&target_url=https://b.example/&event=file.uploaded"
    sound = b"target_url=https://example.com/form&event=file.uploaded"
    yield sound + b"".join(b"&f%d=x" % n for n in range(FIELDS_MAX))
    yield sound + b"&" + b"k" * 65 + b"=x"
    yield sound + b"&signing_secret=" + b"s" * (FIELD_BYTES_MAX + 1)
    yield sound + b"&is_active=maybe"
    yield sound + b"&signing_secret=" + b"%C3%A9" * 33


def broken_multiparts():
    """Multipart bodies without an end, without names, with too much."""
    url, event = field("target_url", TARGET), field("event", "file.uploaded")
    whole = multipart(url, event)
    yield b""
    yield whole[:-4 - len(BOUNDARY)]
    yield whole[: len(whole) // 2]
    yield whole.replace(BOUNDARY.encode(), b"other")
    yield b"--%s--\r\n" % BOUNDARY.encode()
    yield multipart(("form-data", TARGET.encode()), event)
    yield multipart(("attachment; name=target_url", TARGET.encode()), event)
    yield multipart(url, url, event)
    yield multipart(event)
    yield multipart(('form-data; name="target_url"', b"\xff\xfe"), event)
    yield multipart(url, event, *[field("f%d" % n, "x") for n in range(FIELDS_MAX)])
    yield multipart(url, event, field("signing_secret", "s" * (FIELD_BYTES_MAX + 1)))
    yield multipart(url, event, field("is_active", "maybe"))
    yield multipart(('form-data; name="target_url', TARGET.encode()), event)


def bodies(webhook):
    """Broken bodies of each content type, for create, update, unsubscribe and publish."""
    update = "/webhooks/%d/" % webhook
    for method, path in [("POST", "/webhooks/"), ("PUT", update), ("POST", update), ("POST", "/events/"),
                         ("POST", "/webhooks/unsubscribe/"), ("DELETE", "/webhooks/unsubscribe/")]:
        for body in broken_json():
            if not body and path == update:
                continue  # an update of nothing
            big = path != "/events/" and len(body) > FORM_BYTES_MAX
            yield Case("JSON %.20r: %s %s" % (body, method, path),
                       build(method, path, (), body, JSON), {413} if big else {400})
    for body in broken_forms():
        yield Case("form %.40r" % body, build("POST", "/webhooks/", (), body, FORM), {400})
    for body in broken_multiparts():
        yield Case("multipart %.80r" % body, build("POST", "/webhooks/", (), body, MULTIPART), {400})
    for body in broken_json():
        if body:
            yield Case("NDJSON %.20r" % body,
                       build("POST", "/events/", (), dump(EVENT) + b"\n" + body, NDJSON), {400})


def values(webhook):
    """Fields of a wrong type or out of their bounds, on create and on update."""
    wrong = {
        "target_url": ["", " ", "x", "/a", "//example.com/", "example.com", "http://", "http://?a",
                       "https://exa mple.com/", "https://example.com:0/", "https://example.com:99999/",
                       "https://user:%s@example.com/" % CANARY, "ftp://example.com/", "file:///etc/a",
                       "javascript:alert(1)", "data:,a", "ws://example.com/", "gopher://example.com/",
                       "https://[::1", "https://[g::1]/", "https://example.com/\u0000",
                       "https://example.com/\n", "https://example.com/" + "a" * 236,
                       "http://10.0.0.1/", "http://167772161/", "http://0xa.1/", "http://012.0.0.1/",
                       "http://192.168.1.1:8080/", "http://172.16.0.1/", "http://169.254.169.254/",
                       "http://[fe80::1]/", "http://[fd00:ec2::254]/", "http://[::ffff:10.0.0.1]/",
                       "http://[2002:a00:1::]/", "http://[64:ff9b::a00:1]/", "http://0.0.0.0/",
                       "http://100.64.0.1/", "http://224.0.0.1/", "http://255.255.255.255/",
                       1, 1.5, True, None, [], {}, [TARGET], {"url": TARGET}],
        "event": ["", "no.such", "FILE.UPLOADED", "file.uploaded ", "file uploaded", "e" * 129,
                  "\u0000", 1, None, True, [], {}, ["file.uploaded"]],
        "is_active": ["maybe", "yes please", "", 2, -1, 0.5, [], {}, "truetrue"],
        "signing_secret": ["s" * 33, "é" * 33, CANARY * 10, [], {}, [CANARY], "a\u0000b"],
        "format": ["nonsense", 1, [], {}],
        "headers": ["x", 1, [], {"Host": "a"}, {"Content-Length": "1"}, {"webhook-id": "a"},
                    {"X-Uc-Signature": "v1=a"}, {"Transfer-Encoding": "chunked"}, {"a b": "c"},
                    {"": "a"}, {"X-A": "a\r\nX-B: " + CANARY}, {"X-A": 1}, {"X-A": "a" * 1025},
                    {"X-%d" % n: "a" for n in range(17)}],
        "rate_per_second": [0, -1, 1.5, "fast", [], {}, 1 << 40],
        "burst": [0, -1, "b", [], 1 << 40],
        "in_flight": [0, -1, "f", [], 1 << 40],
    }
    sound = {"target_url": TARGET, "event": "file.uploaded"}
    update = "/webhooks/%d/" % webhook
    for name, bad in wrong.items():
        for value in bad:
            body = dump({**sound, name: value})
            yield Case("create %s = %.60r" % (name, value),
                       build("POST", "/webhooks/", (), body, JSON), {400})
            if value is None:
                continue  # in an update it means "as it is"
            yield Case("update %s = %.60r" % (name, value),
                       build("PUT", update, (), dump({name: value}), JSON), {400})
    for value in ["0.8", "1", "0.5", "0.6", 0.5, [], {}]:
        body = dump({**sound, "version": value})
        yield Case("create version = %r" % (value,),
                   build("POST", "/webhooks/", (), body, JSON), {400})
    for event in ["file.infected", "file.stored", "file.deleted", "file.info_updated"]:
        for version in ("0.5", "0.6"):
            body = dump({**sound, "event": event})
            yield Case("create %s in %s" % (event, version),
                       build("POST", "/webhooks/", (), body, JSON, version), {400})
    for missing in ({"event": "file.uploaded"}, {"target_url": TARGET}, {"nothing": CANARY}):
        yield Case("create with only %s" % list(missing),
                   build("POST", "/webhooks/", (), dump(missing), JSON), {400})


def publishing():
    """Events that are none."""
    for event in ["", " ", "no spaces", "e" * 129, "ü", "a/b", "\u0000", 1, None, [], {}]:
        body = dump({**EVENT, "event": event})
        yield Case("event = %.40r" % (event,), build("POST", "/events/", (), body, JSON), {400})
    for data in [b'{"n":9007199254740993}', b'{"n":-9007199254740992}', b'{"n":1e400}', b'{"a":1,"a":2}',
                 b'{"a":"\\udc00"}', b'{"a":"\\ud800\\u0041"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\xaf"}']:
        body = b'{"event":"file.uploaded","data":' + data + b"}"
        yield Case("data = %.40r" % data, build("POST", "/events/", (), body, JSON), {400})
    for name, value in [("occurred_at", "yesterday"), ("occurred_at", {}), ("file", 1), ("file", []),
                        ("file", "h" * 5000), ("initiator", 1), ("initiator", []), ("dialect", "klingon"),
                        ("dialect", 1), ("idempotency_key", ""), ("idempotency_key", 1),
                        ("idempotency_key", "k" * 256), ("previous_values", 1)]:
        yield Case("publish %s = %.40r" % (name, value),
                   build("POST", "/events/", (), dump({**EVENT, name: value}), JSON), {400})
    for key in ["", "k" * 256]:
        yield Case("Idempotency-Key %.10r" % key,
                   build("POST", "/events/", [("Idempotency-Key", key)], dump(EVENT), JSON), {400})
    yield Case("two idempotency keys that differ",
               build("POST", "/events/", [("Idempotency-Key", "a")],
                     dump({**EVENT, "idempotency_key": "b"}), JSON), {400})
    for batch in [[], [1], [None], [[]], [EVENT, {}], [EVENT, EVENT, "x"], [[EVENT]], {}, {"a": [EVENT]}]:
        yield Case("batch %.40r" % (batch,), build("POST", "/events/", (), dump(batch), JSON), {400})


def sizes(webhook):
    """Bodies, fields, paths and headers beyond their limits."""
    big = b'{"event":"file.uploaded","data":{"a":"' + b"x" * EVENT_BYTES_MAX + b'"}}'
    yield Case("an event above its limit", build("POST", "/events/", (), big, JSON), {413})
    many = dump([EVENT] * (EVENTS_MAX + 1))
    yield Case("too many events", build("POST", "/events/", (), many, JSON), {400, 413})
    lines = b"\n".join([dump(EVENT)] * (EVENTS_MAX + 1))
    yield Case("too many lines", build("POST", "/events/", (), lines, NDJSON), {400, 413})
    declared = [("Content-Length", str(REQUEST_BYTES_MAX + 1))]
    yield Case("a request said to be above its limit",
               build("POST", "/events/", declared, b"{", JSON), {413})
    for length in ("2147483648", "9223372036854775807"):
        yield Case("Content-Length: " + length,
                   build("POST", "/events/", [("Content-Length", length)], b"{", JSON), {413})
    chunks = b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(300)) + b"0\r\n\r\n"
    yield Case("a chunked request above its limit",
               build("POST", "/events/", [("Transfer-Encoding", "chunked")], chunks, JSON), {413})
    for method, path in [("POST", "/webhooks/"), ("PUT", "/webhooks/%d/" % webhook),
                         ("POST", "/webhooks/unsubscribe/"), ("DELETE", "/webhooks/unsubscribe/")]:
        for kind in (JSON, FORM, MULTIPART):
            yield Case("2 MiB of %s: %s %s" % (kind, method, path),
                       build(method, path, (), b"a" * (2 << 20), kind), {413})


def paths(webhook):
    """Ids that are none, and addresses of nothing."""
    for number in ["0", "-1", "+1", "01", "1.0", "1e3", "0x10", "abc", "99999999999999999999", "2147483648",
                   "2000000001", "%31", "1%00", "..", "%2e%2e", "1%2f", "1,2", "null", "*"]:
        for method in ("GET", "PUT", "DELETE"):
            body = b'{"is_active":true}' if method == "PUT" else b""
            yield Case("%s /webhooks/%s/" % (method, number),
                       build(method, "/webhooks/%s/" % number, (), body, JSON), {404})
    for path in ["/", "//", "/webhook/", "/webhooks//", "/webhooks/%d//" % webhook, "/Webhooks/",
                 "/webhooks/%d/nothing/" % webhook, "/webhooks/%d/test/x/" % webhook, "/events/x/y/z/",
                 "/webhooks/unsubscribe/x/", "/../webhooks/", "/%77ebhooks/", "/.env",
                 "/admin", "/webhooks/2000000001/test/", "/webhooks;a=b/", "/webhooks/%d.json" % webhook]:
        yield Case("POST " + path, build("POST", path, (), b"{}", JSON), {404})


def views(webhook):
    """API versions that do not exist: 406."""
    for path, method in [("/webhooks/", "GET"), ("/webhooks/", "POST"), ("/webhooks/%d/" % webhook, "PUT"),
                         ("/webhooks/unsubscribe/", "DELETE"), ("/webhooks/%d/" % webhook, "GET")]:
        for version in ["0.1", "0.4", "0.8", "0.10", "1.0", "0.75", "9" * 40]:
            accept = "application/vnd.uploadcare-v%s+json" % version
            yield Case("v%s: %s %s" % (version, method, path),
                       build(method, path, (), b"", None, accept), {406})


def syntax():
    """What is no HTTP. The parser answers these, or closes; a JSON body is not asked of it."""
    auth = "Authorization: Uploadcare.Simple %s:%s\r\n" % (PUBLIC_KEY, SECRET_KEY)
    host = "Host: a\r\n" + auth
    events = "POST /events/ HTTP/1.1\r\n" + host + "Content-Type: application/json\r\n"
    for name, text in {
        "garbage": "\x00\x01\x02\x03\r\n\r\n", "words": "hello\r\n\r\n", "TLS": "\x16\x03\x01\x02\x00\x01",
        "HTTP/0.9": "GET /webhooks/\r\n\r\n", "HTTP/3.7": "GET /webhooks/ HTTP/3.7\r\n\r\n",
        "no version": "GET /webhooks/ \r\n\r\n", "h2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a byte above ASCII in the path": "GET /webhooks/\xfc/ HTTP/1.1\r\n" + host + "\r\n",
        "space in a name": "GET /webhooks/ HTTP/1.1\r\nHo st: a\r\n\r\n",
        "space before the colon": "GET /webhooks/ HTTP/1.1\r\nHost : a\r\n\r\n",
        "NUL in a value": "GET /webhooks/ HTTP/1.1\r\n" + host + "X-A: a\x00b\r\n\r\n",
        "line folding": "GET /webhooks/ HTTP/1.1\r\n" + host + "X-A: a\r\n b\r\n\r\n",
        "no name": "GET /webhooks/ HTTP/1.1\r\n: a\r\n\r\n",
        "negative length": events + "Content-Length: -1\r\n\r\n",
        "length of words": events + "Content-Length: ten\r\n\r\n",
        "two lengths": events + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "a list of lengths": events + "Content-Length: 1, 2\r\n\r\n{}",
        "overflowing length": events + "Content-Length: 99999999999999999999\r\n\r\n",
        "bad chunk": events + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "huge chunk": events + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n",
        "unknown transfer": events + "Transfer-Encoding: gzip\r\n\r\n{}",
        "chunked and more": events + "Transfer-Encoding: chunked, gzip\r\n\r\n{}",
        "short body": events + "Content-Length: 100\r\n\r\n{",
        "unfinished head": "GET /webhooks/ HTTP/1.1\r\n" + host,
        "long path": "GET /" + "a" * 100_000 + " HTTP/1.1\r\n" + host + "\r\n",
        "long header": "GET /webhooks/ HTTP/1.1\r\n" + host + "X-A: " + "a" * 1_000_000 + "\r\n\r\n",
        "many headers": "GET /webhooks/ HTTP/1.1\r\n" + host + "X-A: a\r\n" * 5_000 + "\r\n",
    }.items():
        statuses = {400, 401, 404, 408, 411, 413, 414, 431}
        yield Case(name, text.encode("latin-1"), statuses, json_body=False, may_close=True)


def generate(webhook):
    """All of them."""
    return list(itertools.chain(
        methods(webhook), authentication(webhook), encodings(webhook), bodies(webhook),
        values(webhook), publishing(), sizes(webhook), paths(webhook), views(webhook), syntax()))


def mutations(webhook, seed, count):
    """Sound requests with a few bytes changed: anything but a 5xx or silence may answer them."""
    chance = random.Random(seed)
    sound = [build(method, path, (), dump(fields) if fields else b"", JSON)
             for path, has in routes(webhook) for method, fields in has.items()]
    for number in range(count):
        raw = bytearray(chance.choice(sound))
        for _ in range(chance.randint(1, 4)):
            at, how = chance.randrange(len(raw)), chance.randrange(4)
            if how == 0:
                raw[at] = chance.randrange(256)
            elif how == 1:
                del raw[at:at + chance.randint(1, 8)]
            elif how == 2:
                raw[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
            else:
                raw[at:at] = raw[max(0, at - 20):at]
            if not raw:
                raw = bytearray(b"x")
        yield Case("mutation %d" % number, bytes(raw), range(200, 500), json_body=False,
                   may_close=True)
