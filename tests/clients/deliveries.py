"""Deliveries as receivers see them, verified by the libraries that receivers use.

Owns publishing, receiving, and judging payloads and signatures: PyPI's and npm's
`standardwebhooks` and `svix`, and an HMAC of its own for X-Uc-Signature. Must never take the
daemon's word for a signature. Environment: BASE_URL, PUBLIC_KEY, SECRET_KEY, NODE_MODULES.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import time
import urllib.parse

import standardwebhooks
import svix
from harness import wire
from harness.receiver import Receiver
from harness.report import Report
from harness.wire import ACCEPT, JSON

PORT = urllib.parse.urlsplit(os.environ["BASE_URL"]).port
AUTH = wire.simple(os.environ["PUBLIC_KEY"], os.environ["SECRET_KEY"])
SECONDS_MAX = 30
BASE64_SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # 32 characters, strict base64 of 24 bytes
PLAIN_SECRET = "not base64: größer & <schöner>"
EVENTS = ["file.uploaded", "file.infected", "file.stored", "file.deleted", "file.info_updated"]
FILE = "https://ucarecdn.com/03ccf9ab-f266-43fb-973d-a6529c55c2ae/image.png"
DATA = {
    "content_info": {"mime": {"mime": "image/png", "type": "image", "subtype": "png"},
                     "image": {"height": 45, "width": 91, "geo_location": None,
                               "datetime_original": None, "format": "PNG"}},
    "uuid": "03ccf9ab-f266-43fb-973d-a6529c55c2ae", "is_image": True, "is_ready": True,
    "metadata": {"10": "é & < \u2028 ✓", "9": "0.1", "b": "/", "a": '"\\'}, "appdata": {},
    "mime_type": "image/png", "original_filename": "image.png", "original_file_url": FILE,
    "datetime_removed": None, "size": 4726, "datetime_stored": "2026-01-18T13:01:24.807375Z",
    "url": "https://api.uploadcare.com/files/03ccf9ab/",
    "datetime_uploaded": "2026-01-18T13:01:24.64201Z", "variations": None,
}


def call(method, path, fields=None, accept="0.7", headers=None):
    """One authenticated request with a JSON body."""
    body = b"" if fields is None else json.dumps(fields, ensure_ascii=False).encode()
    return raw_call(method, path, body, JSON, accept, headers)


def raw_call(method, path, body, content_type, accept="0.7", headers=None):
    """One authenticated request with any body."""
    head = {"Accept": ACCEPT[accept], "Content-Type": content_type, **AUTH, **(headers or {})}
    return wire.request(PORT, method, path, head, body)


def subscribe(url, event="file.uploaded", accept="0.7", **fields):
    """A webhook; answers with its object."""
    answer = call("POST", "/webhooks/", {"target_url": url, "event": event, **fields}, accept)
    if answer.status != 201:
        raise RuntimeError("create: %r" % answer)
    return answer.json()


def publish(event, headers=None, **fields):
    """An event of a file; answers with the response."""
    return call("POST", "/events/", {"event": event, "data": DATA, "file": FILE, **fields},
                headers=headers)


def signing_key(secret):
    """The secret as the standard's libraries take it."""
    key = secret if secret == BASE64_SECRET else base64.b64encode(secret.encode()).decode()
    return "whsec_" + key


def accepted(library, secret, delivery, body):
    """Whether one PyPI library takes the delivery."""
    try:
        library.Webhook(signing_key(secret)).verify(body, delivery.headers)
        return True
    except library.WebhookVerificationError:
        return False


def signatures(report, deliveries):
    """Every scheme, each library, and a changed body as the control."""
    lines = []
    for secret, delivery in deliveries:
        name = "%s with %.8s" % (delivery.headers.get("postrider-event"), secret)
        for library in (standardwebhooks, svix):
            label = "%s: %s" % (library.__name__, name)
            report.check(label, accepted(library, secret, delivery, delivery.body))
            changed = delivery.body + b" "
            report.check(label + ", changed", not accepted(library, secret, delivery, changed))
        own = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        report.equal("X-Uc-Signature: " + name, delivery.headers.get("x-uc-signature"), "v1=" + own)
        lines.append(json.dumps({"secret": signing_key(secret), "headers": delivery.headers,
                                 "body": delivery.body.decode()}))
    script = str(pathlib.Path(__file__).with_name("verify.mjs"))
    done = subprocess.run(["node", script], input="\n".join(lines) + "\n", text=True,
                          capture_output=True, timeout=60)
    report.equal("node ran", (done.returncode, done.stderr), (0, ""))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    report.equal("node answered for each", len(answers), len(lines))
    for line in answers:
        for name, holds in line.items():
            report.check("node: " + name, holds, line)


def headers(report, delivery, event, webhook):
    """What every attempt says about itself."""
    seen = delivery.headers
    number = seen.get("webhook-id", "")
    report.check("webhook-id", number.startswith("dlv_") and "." not in number, number)
    stamp = int(seen.get("webhook-timestamp", "0"))
    report.check("webhook-timestamp", abs(stamp - time.time()) < SECONDS_MAX, stamp)
    own = (seen.get("postrider-event"), seen.get("postrider-attempt"),
           seen.get("postrider-webhook"), seen.get("content-type"))
    report.equal("postrider-*", own, (event, "1", str(webhook["id"]), JSON))
    report.check("user agent", seen.get("user-agent", "").startswith("postrider/"), seen)
    report.check("no cookie, no proxy's words", not {"cookie", "via", "forwarded"} & set(seen), seen)


def payload_07(report, body, webhook):
    """Version 0.7, in its order, with the publisher's data."""
    shown = json.loads(body)
    report.equal("0.7: keys", list(shown), ["initiator", "hook", "data", "file"])
    wanted = {"id": webhook["id"], "project_id": webhook["project"],
              "project_pub_key": os.environ["PUBLIC_KEY"], "target": webhook["target_url"],
              "event": "file.uploaded", "is_active": True, "version": "0.7",
              "created_at": webhook["created"], "updated_at": webhook["updated"]}
    report.equal("0.7: hook", list(shown["hook"].items()), list(wanted.items()))
    report.equal("0.7: data", shown["data"], DATA)
    report.equal("0.7: data's order", [k for k in shown["data"]], list(DATA))
    report.equal("0.7: integer-like keys first", list(shown["data"]["metadata"]),
                 ["9", "10", "b", "a"])
    report.equal("0.7: initiator", shown["initiator"],
                 {"type": "api", "detail": {"request_id": None, "addon_name": None}})
    report.equal("0.7: file", shown["file"], FILE)


def payload_06(report, body):
    """Version 0.6: the nine keys of its hook, its data in order."""
    shown = json.loads(body)
    report.equal("0.6: keys", list(shown), ["hook", "data", "file"])
    report.equal("0.6: hook", list(shown["hook"]),
                 ["id", "project_id", "project_pub_key", "target", "event", "is_active", "version",
                  "created_at", "updated_at"])
    order = ["uuid", "image_info", "video_info", "mime_type", "original_filename", "size",
             "is_image", "is_ready", "datetime_removed", "datetime_stored", "datetime_uploaded",
             "original_file_url", "url", "source", "variations", "rekognition_info"]
    present = [key for key in order if key in shown["data"]]
    report.equal("0.6: data's order", list(shown["data"]), present)
    missing = {"appdata", "content_info", "metadata"} & set(shown["data"])
    report.equal("0.6: nothing of 0.7", missing, set())
    report.equal("0.6: image_info", shown["data"]["image_info"], DATA["content_info"]["image"])


def payload_05(report, body, webhook):
    """The legacy pages' example, key by key."""
    shown = json.loads(body)
    report.equal("0.5: keys", list(shown), ["hook", "data", "file"])
    report.equal("0.5: hook", list(shown["hook"].items()),
                 [("id", webhook["id"]), ("event", "file.uploaded"),
                  ("target", webhook["target_url"])])
    report.equal("0.5: data", list(shown["data"].items()), [
        ("uuid", DATA["uuid"]), ("is_image", True), ("filename", "image.png"),
        ("is_stored", True), ("done", 4726), ("file_id", DATA["uuid"]),
        ("original_filename", "image.png"),
        ("image_info", {"height": 45, "width": 91, "geo_location": None,
                        "datetime_original": None, "format": "PNG"}),
        ("is_ready", True), ("total", 4726), ("size", 4726)])
    report.equal("0.5: image_info's order", list(shown["data"]["image_info"]),
                 ["height", "width", "geo_location", "datetime_original", "format"])
    report.equal("0.5: file", shown["file"], FILE)


def dialects(report, receiver):
    """One event for each subscriber's version and secret."""
    new = subscribe(receiver.url("/07"), signing_secret=BASE64_SECRET)
    middle = subscribe(receiver.url("/06"), accept="0.6", signing_secret=PLAIN_SECRET)
    legacy = subscribe(receiver.url("/05"), accept="0.5")
    off = subscribe(receiver.url("/off"), is_active=False)
    answer = publish("file.uploaded")
    report.equal("publish", answer.status, 202)
    said = answer.json()
    report.equal("publish: says", (said["event"], said["deliveries"], said["duplicate"]),
                 ("file.uploaded", 3, False))
    report.check("publish: id", said["id"].startswith("evt_"), said)
    report.check("all three arrive", receiver.wait(lambda all_: len(all_) >= 3, SECONDS_MAX))
    got = {delivery.path: delivery for delivery in receiver.deliveries}
    headers(report, got["/07"], said["id"], new)
    payload_07(report, got["/07"].body, new)
    payload_06(report, got["/06"].body)
    payload_05(report, got["/05"].body, legacy)
    report.check("an inactive webhook gets none", "/off" not in got, list(got))
    bare = {"webhook-signature", "x-uc-signature"} & set(got["/05"].headers)
    report.equal("without a secret nothing is signed", bare, set())
    signatures(report, [(BASE64_SECRET, got["/07"]), (PLAIN_SECRET, got["/06"])])
    for webhook in (new, middle, legacy, off):
        call("DELETE", "/webhooks/%d/" % webhook["id"])


def kinds(report, receiver):
    """All five events to 0.7, batches, previous values, initiators."""
    for event in EVENTS:
        subscribe(receiver.url("/" + event), event, signing_secret=BASE64_SECRET)
    start = len(receiver.deliveries)
    system = {"type": "system", "detail": {"request_id": None, "addon_name": None}}
    batch = [{"event": event, "data": DATA, "file": FILE, "initiator": system} for event in EVENTS]
    batch[-1]["previous_values"] = {"metadata": {"a": "before"}}
    answer = call("POST", "/events/", batch)
    report.equal("batch: each is counted", [one["deliveries"] for one in answer.json()], [1] * 5)
    lines = "\n".join(json.dumps(one) for one in batch) + "\n"
    answer = raw_call("POST", "/events/", lines.encode(), "application/x-ndjson")
    report.equal("NDJSON: each is counted", [one["deliveries"] for one in answer.json()], [1] * 5)
    report.check("all arrive", receiver.wait(lambda all_: len(all_) >= start + 10, SECONDS_MAX))
    new = receiver.deliveries[start:]
    for delivery in new:
        shown = json.loads(delivery.body)
        report.equal("the event stands in hook", "/" + shown["hook"]["event"], delivery.path)
        report.equal("initiator", shown["initiator"], system)
        wanted = {"metadata": {"a": "before"}} if delivery.path.endswith("info_updated") else None
        report.equal("previous_values", shown.get("previous_values"), wanted)
    signatures(report, [(BASE64_SECRET, delivery) for delivery in new])
    ids = [delivery.headers["webhook-id"] for delivery in new]
    report.equal("webhook-id is each delivery's own", len(set(ids)), 10)
    for event in EVENTS:
        lane = [int(d.headers["postrider-sequence"]) for d in new if d.path == "/" + event]
        report.check("postrider-sequence rises: " + event, lane[0] < lane[1], lane)
    before = len(receiver.deliveries)
    refused = call("POST", "/events/", [batch[0], {"event": "no spaces here", "data": {}}])
    report.equal("a batch with one bad event is refused", refused.status, 400)
    call("POST", "/webhooks/unsubscribe/", {"target_url": receiver.url("/file.uploaded")})
    said = publish("file.uploaded").json()
    report.equal("after unsubscribe: none", said["deliveries"], 0)
    publish("file.stored")
    receiver.wait(lambda all_: len(all_) > before, SECONDS_MAX)
    report.equal("nothing of either", [d.path for d in receiver.deliveries[before:]],
                 ["/file.stored"])
    for webhook in call("GET", "/webhooks/").json():
        call("DELETE", "/webhooks/%d/" % webhook["id"])


def idempotency(report, receiver):
    """A key and body again give the same answer and no second delivery."""
    webhook = subscribe(receiver.url("/idempotent"))
    start = len(receiver.deliveries)
    key = {"Idempotency-Key": "key-1"}
    first, second = publish("file.uploaded", key), publish("file.uploaded", key)
    report.equal("first", (first.status, first.json()["duplicate"]), (202, False))
    report.equal("second", second.json(), {**first.json(), "duplicate": True})
    other = call("POST", "/events/", {"event": "file.uploaded", "data": {}}, headers=key)
    report.equal("the key with another body", other.status, 409)
    last = publish("file.uploaded").json()
    report.check("two arrive", receiver.wait(lambda all_: len(all_) >= start + 2, SECONDS_MAX))
    seen = sorted(d.headers["postrider-event"] for d in receiver.deliveries[start:])
    report.equal("and no third", seen, sorted([first.json()["id"], last["id"]]))
    call("DELETE", "/webhooks/%d/" % webhook["id"])


def gone_and_test(report, receiver):
    """410 disables; a test event shows its attempt in the answer."""
    webhook = subscribe(receiver.url("/tested"), signing_secret=BASE64_SECRET)
    start = len(receiver.deliveries)
    tested = call("POST", "/webhooks/%d/test/" % webhook["id"])
    report.check("test: 2xx", tested.status in (200, 201, 202), tested)
    report.check("test: it arrives", receiver.wait(lambda all_: len(all_) > start, SECONDS_MAX))
    signatures(report, [(BASE64_SECRET, receiver.deliveries[start])])
    gone = subscribe(receiver.url("/gone"))
    publish("file.uploaded")
    path, deadline = "/webhooks/%d/" % gone["id"], time.monotonic() + SECONDS_MAX
    while call("GET", path).json()["is_active"] and time.monotonic() < deadline:
        time.sleep(0.02)
    shown = call("GET", path, accept="own").json()
    report.equal("410: disabled, and it says why",
                 (shown["is_active"], shown["state"], bool(shown["reason"])),
                 (False, "disabled", True))
    report.equal("410: no more deliveries", publish("file.uploaded").json()["deliveries"], 1)
    back = call("PUT", path, {"is_active": True})
    report.equal("is_active=true enables again", back.json()["is_active"], True)
    for one in (webhook, gone):
        call("DELETE", "/webhooks/%d/" % one["id"])


if __name__ == "__main__":
    suite = Report("deliveries, verified by standardwebhooks and svix", quiet=True)
    target = Receiver(lambda delivery: 410 if delivery.path == "/gone" else 200)
    for part in (dialects, kinds, idempotency, gone_and_test):
        suite.run(lambda part=part: part(suite, target))
    suite.close()
