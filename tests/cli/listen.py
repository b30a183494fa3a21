"""`listen`: a receiver against a running daemon, whose webhooks go when it goes.

Owns judging sessions: what they show, what they answer, what they leave. Must never find a trace
of one once it has ended.
"""

import base64
import hashlib
import hmac
import json
import re
import time

from cli.program import SECONDS_MAX, Bare, Folder, Running, run
from harness import wire
from harness.receiver import Receiver

SECRET = "secret-of-the-listeners-project"
CONFIG = """[server]
client_rate_per_second = 100000
client_burst = 100000
drain_timeout = "20s"
[[project]]
id = 1
public_key = "shop"
secret_key = "%s"
""" % SECRET
READY = r"^  Listening at http://(127\.0\.0\.1:\d+)/ for (.*) of project (\S+)$"
LINE = r"^  \d\d:\d\d:\d\d → {}  {}  {}   X-Uc ✓  webhook-signature ✓$"
POLL_SECONDS = 0.02
STOP_SECONDS_MAX = 10  # well below the drain timeout


def listening(daemon, *words, terminal=False):
    """A session."""
    return Running("listen", "--data", daemon.data, *words, terminal=terminal)


def publish(daemon, event="file.uploaded", data=None, key=None):
    """Publishes an event; answers with what was said of it."""
    fields = {"event": event, "data": data or {}}
    answer = wire.request(daemon.port, "POST", "/events/",
                          {**wire.bearer(key or SECRET), "Content-Type": wire.JSON},
                          json.dumps(fields).encode())
    if answer.status != 202:
        raise RuntimeError("publish: %r" % answer)
    return answer.json()


def gone(daemon):
    """Waits until nobody gets an event any more; answers whether it came to that."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        if publish(daemon)["deliveries"] == 0:
            return True
        time.sleep(POLL_SECONDS)
    return False


def sessions(report):
    """It registers, receives, verifies, and leaves nothing behind. `[delivery] allow` is empty."""
    with Bare("listen", CONFIG) as daemon:
        with listening(daemon) as session:
            ready = session.wait(READY)
            if not report.check("it says where", ready, session.text + session.errors):
                return
            report.equal("for all of Uploadcare's events", len(ready[2].split(", ")), 5)
            for event in ready[2].split(", "):
                said = publish(daemon, event)
                report.equal("%s: one delivery" % event, said["deliveries"], 1)
                line = LINE.format(re.escape(event), said["id"], r"delivered 200 in \d+ m?s")
                report.check("%s: on screen, with both marks" % event, session.wait(line),
                             session.text)
            report.equal("no other event", publish(daemon, "order.paid")["deliveries"], 0)
            hidden(report, daemon, ready[1])
            report.equal("SIGTERM: 0", session.terminate(), 0)
        report.check("its webhooks are gone", gone(daemon))
        with listening(daemon, terminal=True) as session:
            session.wait(READY)
            report.equal("another session", publish(daemon)["deliveries"], 1)
            session.press("\x03")
            report.equal("Ctrl-C: 0", session.end(), 0)
        report.check("its webhooks are gone too", gone(daemon))
        report.check("no secret in the log", SECRET not in daemon.log())


def hidden(report, daemon, address):
    """A session's webhooks are its own affair: no list shows them, no request reaches them."""
    report.equal("webhook list shows none", run("webhook", "list", "--data", daemon.data).out, "")
    keys = wire.bearer(SECRET)
    for accept in wire.ACCEPT.values():
        shown = wire.request(daemon.port, "GET", "/webhooks/", {**keys, "Accept": accept}).json()
        report.equal("nor does %s" % accept, shown, [])
    for number in range(1, 6):
        path = "/webhooks/%d/" % number
        own = {**keys, "Accept": wire.JSON}
        report.equal("none by id", wire.request(daemon.port, "GET", path, own).status, 404)
        report.equal("none to be deleted", wire.request(daemon.port, "DELETE", path, own).status,
                     404)
    wire.request(daemon.port, "DELETE", "/webhooks/unsubscribe/",
                 {**keys, "Content-Type": wire.JSON},
                 json.dumps({"target_url": "http://%s/" % address}).encode())
    report.equal("nor unsubscribed", publish(daemon)["deliveries"], 1)
    counted = json.loads(run("project", "list", "--data", daemon.data).out)
    report.equal("nor counted", counted["webhooks"], 0)


def killed(report):
    """`kill -9` of either end, and a stop of the daemon, leave no webhook behind."""
    with Bare("killed", CONFIG) as daemon:
        with listening(daemon) as session:
            session.wait(READY)
            report.equal("registered", publish(daemon)["deliveries"], 1)
            session.process.kill()
            report.check("kill -9 of the listener: gone", gone(daemon))
        with listening(daemon) as session:
            session.wait(READY)
            report.equal("registered again", publish(daemon)["deliveries"], 1)
            daemon.kill()
            report.equal("kill -9 of the daemon: 69", session.end(), 69)
            report.check("it says so", "the daemon has gone" in session.errors, session.errors)
        daemon.start()
        report.equal("after the restart: gone", publish(daemon)["deliveries"], 0)
        with listening(daemon) as session:
            session.wait(READY)
            code, seconds = daemon.terminate()
            report.equal("SIGTERM of the daemon: 0", code, 0)
            report.check("it does not wait for the listener", seconds < STOP_SECONDS_MAX, seconds)
            report.equal("the listener: 69", session.end(), 69)
        daemon.start()
        report.equal("after this restart too", publish(daemon)["deliveries"], 0)


def answers(report):
    """--fail, --status, --delay, --count, --json, --save, --print-secret."""
    with Bare("answers", CONFIG) as daemon, Folder("saved") as home:
        with listening(daemon, "--fail", "1", "--count", "2") as session:
            session.wait(READY)
            first = publish(daemon)["id"]
            report.check("--fail 1: the first fails",
                         session.wait(LINE.format("file.uploaded", first, r"failed 500 in .*?")),
                         session.text)
            second = publish(daemon, "file.stored")["id"]
            line = LINE.format("file.stored", second, r"delivered 200 in .*?")
            report.check("--fail 1: the second does not", session.wait(line), session.text)
            report.equal("--count 2: it ends with 0", session.end(), 0)
        with listening(daemon, "--status", "503", "--delay", "10ms", "--count", "1") as session:
            session.wait(READY)
            one = publish(daemon)["id"]
            line = LINE.format("file.uploaded", one, r"failed 503 in .*?")
            report.check("--status 503", session.wait(line), session.text)
            report.equal("--status, --count: 0", session.end(), 0)
        report.check("nothing is left", gone(daemon))
        with listening(daemon, "--json", "--count", "2", "--save", home / "new" / "bodies",
                       "--print-secret") as session:
            secret = session.wait(r"^  signing secret (\S{32})$")
            report.check("--print-secret", secret, session.text)
            ids = [publish(daemon, data={"n": n})["id"] for n in range(2)]
            report.equal("--json, --count 2: 0", session.end(), 0)
            lines = [json.loads(line) for line in session.lines() if line.startswith("{")]
            report.equal("--json: a line for each", sorted(line["event_id"] for line in lines), ids)
            for line in lines:
                report.equal("--json: fields",
                             [line[key] for key in ("event", "attempt", "repeated", "status",
                                                    "x_uc_signature", "webhook_signature")],
                             ["file.uploaded", "1", False, 200, "ok", "ok"])
            saved = sorted((home / "new" / "bodies").iterdir())
            report.equal("--save: a file for each", [path.name for path in saved],
                         ["000001.json", "000002.json"])
            report.equal("--save: the bodies",
                         sorted(json.loads(path.read_bytes())["data"]["n"] for path in saved),
                         [0, 1])


def delays(report):
    """--delay holds the answer back, but not the end."""
    with Bare("delays", CONFIG) as daemon:
        with listening(daemon, "--delay", "300ms", "--count", "1") as session:
            session.wait(READY)
            started = time.monotonic()
            said = publish(daemon)
            line = LINE.format("file.uploaded", said["id"], r"delivered 200 in .*?")
            report.check("--delay: it is delivered", session.wait(line), session.text)
            seconds = time.monotonic() - started
            report.check("--delay: after its time", seconds >= 0.3, seconds)
            session.end()
        with listening(daemon, "--delay", "1h", "--json") as session:
            wait_registered(daemon)
            report.equal("SIGTERM does not wait for it", session.terminate(), 0)
        report.check("nothing is left", gone(daemon))


def wait_registered(daemon):
    """Waits until a session that prints nothing has its webhooks."""
    deadline = time.monotonic() + SECONDS_MAX
    while publish(daemon)["deliveries"] == 0 and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def forwards(report):
    """--forward-to: the same bytes and headers there, its answer back."""
    statuses = {"file.uploaded": 200, "file.stored": 503}

    def answer(delivery):
        return statuses[json.loads(delivery.body)["hook"]["event"]]

    receiver = Receiver(answer)
    try:
        with Bare("forwards", CONFIG) as daemon, Folder("forwarded") as home:
            with listening(daemon, "--forward-to", receiver.url("/app?q=1"), "--print-secret",
                           "--save", home) as session:
                secret = session.wait(r"^  signing secret (\S{32})$")[1]
                for number, (event, status) in enumerate(statuses.items()):
                    said = publish(daemon, event, {"text": "é\u2028 </script> \U0001f600"})
                    word = "delivered" if status == 200 else "failed"
                    line = LINE.format(event, said["id"], r"%s %d in .*?" % (word, status))
                    report.check("%s: its answer is passed back" % event, session.wait(line),
                                 session.text)
                    report.equal("%s: it was asked once" % event, len(receiver.deliveries),
                                 number + 1)
                    got = receiver.deliveries[number]
                    saved = (home / ("%06d.json" % (number + 1))).read_bytes()
                    report.equal("%s: the same bytes" % event, got.body, saved)
                    report.equal("%s: the URL" % event, got.path, "/app?q=1")
                    digest = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
                    report.equal("%s: the signature holds there" % event,
                                 got.headers.get("x-uc-signature"), "v1=" + digest)
                    report.equal("%s: the event" % event, got.headers.get("postrider-event"),
                                 said["id"])
                    report.check("%s: the other signature" % event,
                                 got.headers.get("webhook-signature", "").startswith("v1,"))
                    report.equal("%s: its host" % event, got.headers.get("host"),
                                 "127.0.0.1:%d" % receiver.port)
                direct = ask(session, b'{"hook":{"event":"file.stored"}}', {"X-Any": "thing"})
                report.equal("the daemon is told 503 too", direct.status, 503)
                report.equal("other headers go along",
                             receiver.deliveries[-1].headers.get("x-any"), "thing")
                report.equal("SIGTERM: 0", session.terminate(), 0)
            receiver.close()
            with listening(daemon, "--forward-to", receiver.url(), "--count", "1") as session:
                session.wait(READY)
                said = publish(daemon)
                line = LINE.format("file.uploaded", said["id"], r"failed 502 in .*?")
                report.check("nobody there: 502", session.wait(line), session.text)
                report.check("and it says so", "does not answer" in session.text, session.text)
                session.end()
        bad = run("listen", "--forward-to", "http://a/", "--status", "200")
        report.equal("--forward-to and --status: 2", bad.code, 2)
    finally:
        receiver.close()


def ask(session, body, headers):
    """A request to a session that is not from its daemon."""
    address = session.wait(READY)[1]
    return wire.request(int(address.split(":")[1]), "POST", "/", headers, body)


def marks(report):
    """Each signature that does not hold is told, with the reason."""
    body, now = b'{"hook":{"event":"file.uploaded"}}', int(time.time())
    with Bare("marks", CONFIG) as daemon, listening(daemon, "--print-secret") as session:
        secret = session.wait(r"^  signing secret (\S{32})$")[1]
        right = "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()

        def standard(number, at):
            text = b"%s.%d." % (number.encode(), at) + body
            digest = hmac.new(base64.b64decode(secret), text, hashlib.sha256).digest()
            return {"webhook-id": number, "webhook-timestamp": str(at),
                    "webhook-signature": "v1," + base64.b64encode(digest).decode()}

        for name, headers, told in [
            ("none", {}, r"X-Uc –  webhook-signature –"),
            ("right", {"X-Uc-Signature": right, **standard("msg_1", now)},
             r"X-Uc ✓  webhook-signature ✓"),
            ("another body's", {"X-Uc-Signature": "v1=" + "0" * 64}, r"X-Uc ✗ \(.+\)  .*–"),
            ("an hour old", standard("msg_2", now - 3600), r"X-Uc –  webhook-signature ✗ \(.+\)"),
            ("of another id", {**standard("msg_3", now), "webhook-id": "msg_4"},
             r"X-Uc –  webhook-signature ✗ \(.+\)"),
        ]:
            count = len(session.lines())
            answer = ask(session, body, headers)
            report.equal("signatures, %s: 200" % name, answer.status, 200)
            line = session.wait_lines(count + 1)[-1]
            report.check("signatures, %s: told" % name, re.search(told + "$", line), line)
        report.check("and no secret in it", session.text.count(secret) == 1, session.text)


def events(report):
    """--events: patterns, custom types, another version; projects apart."""
    two = CONFIG + '[[project]]\nid = 2\npublic_key = "two"\nsecret_key = "the-other-key"\n'
    with Bare("events", two) as daemon:
        several = run("listen", "--data", daemon.data)
        report.check("which project?", several.code == 2 and "--project" in several.err, several)
        with listening(daemon, "--project", "shop", "--events", "file.i*,order.paid") as session:
            ready = session.wait(READY)
            report.equal("a pattern and a custom type", ready and ready[2],
                         "file.infected, file.info_updated, order.paid")
            for event, count in [("file.infected", 1), ("file.info_updated", 1), ("order.paid", 1),
                                 ("file.uploaded", 0), ("order.unpaid", 0)]:
                said = publish(daemon, event)
                report.equal("%s: %d" % (event, count), said["deliveries"], count)
                if count:
                    line = LINE.format(re.escape(event), said["id"], r"delivered 200 in .*?")
                    report.check("%s: on screen" % event, session.wait(line), session.text)
            report.equal("another project's", publish(daemon, "order.paid", key="the-other-key")
                         ["deliveries"], 0)
            with listening(daemon, "--project", "2", "--events", "order.paid") as other:
                other.wait(READY)
                report.equal("two at once, apart",
                             [publish(daemon, "order.paid", key=key)["deliveries"]
                              for key in (SECRET, "the-other-key")], [1, 1])
        none = run("listen", "--data", daemon.data, "--project", "shop", "--events", "none*")
        report.check("a pattern without an event: 2", none.code == 2 and "none*" in none.err, none)
        unknown = run("listen", "--data", daemon.data, "--project", "nobody")
        report.check("no such project: 1", unknown.code == 1 and "project" in unknown.err, unknown)
        with Folder("old") as home, listening(daemon, "--project", "1", "--version", "0.5",
                                              "--events", "file.uploaded", "--count", "1",
                                              "--save", home) as session:
            session.wait(READY)
            publish(daemon)
            report.equal("an old version: 0", session.end(), 0)
            shown = json.loads((home / "000001.json").read_bytes())
            report.equal("its payload", list(shown["hook"]), ["id", "event", "target"])


PARTS = (sessions, killed, answers, delays, forwards, marks, events)
