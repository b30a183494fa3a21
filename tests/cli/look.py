"""Looking and acting from the command line: events, deliveries, jobs, recover, tail.

Owns judging each verb against a daemon, without one, and piped. Must never ask the API for what a
verb can say.
"""

import json
import subprocess
import threading
import time

from cli.manage import Shop, send
from cli.program import SECONDS_MAX
from cli.verbs import objects
from harness.daemon import binary


def settled(shop, event, status):
    """Waits until an event's one delivery has this status, and answers with its id."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        rows = objects(shop.run("delivery", "list", "--event", event, "--status", status))
        if rows:
            return rows[0]["id"]
    raise RuntimeError("%s is not %s in time" % (event, status))


def deliveries(report):
    """list, show, explain, resend and cancel of one."""
    with Shop("look-deliveries") as shop:
        event = send(shop)
        delivery = settled(shop, event, "delivered")
        shown = shop.one("delivery", "show", delivery)
        report.equal("show", (shown["id"], shown["status"], shown["attempts"]),
                     (delivery, "delivered", 1))
        said = shop.one("delivery", "explain", delivery)
        report.check("explain", said["status"] == "delivered" and said["explanation"], said)
        report.equal("resend", shop.run("delivery", "resend", delivery).code, 0)
        shop.receiver.wait(lambda all_: len(all_) >= 2, SECONDS_MAX)
        ids = {one.headers["webhook-id"] for one in shop.receiver.deliveries}
        report.equal("the same delivery twice", ids, {delivery})
        shop.one("webhook", "pause", shop.webhook)
        waiting = settled(shop, send(shop), "pending")
        report.check("explain a pause", "pause" in shop.one("delivery", "explain", waiting)["explanation"]
                     .lower(), waiting)
        again = shop.run("delivery", "resend", waiting)
        report.check("resend what waits: 1", again.code == 1 and "pending" in again.err, again)
        report.equal("cancel", shop.one("delivery", "cancel", waiting)["status"], "cancelled")
        report.equal("cancel again: 1", shop.run("delivery", "cancel", waiting).code, 1)
        report.equal("no id: usage", shop.run("delivery", "show", "x").code, 2)
        report.equal("no delivery: 1", shop.run("delivery", "show", "dlv_" + "0" * 26).code, 1)
        report.equal("no time: usage", shop.run("delivery", "list", "--since", "soon").code, 2)
        listed = objects(shop.run("delivery", "list", "--since", "1h", "--limit", 1))
        report.equal("the newest first, at most one", [one["id"] for one in listed], [waiting])
        for code, count in ((200, 1), ("2xx", 1), ("5xx", 0)):
            found = objects(shop.run("delivery", "list", "--code", code))
            report.equal("by code %s" % code, len(found), count)
        report.equal("no code: usage", shop.run("delivery", "list", "--code", "9xx").code, 2)
        shop.daemon.kill()
        offline = objects(shop.run("deliveries", "ls"))
        report.equal("without a daemon", {one["id"] for one in offline}, {waiting, delivery})


def events(report):
    """list, show, replay."""
    with Shop("look-events") as shop:
        first, second = send(shop), send(shop)
        settled(shop, first, "delivered")
        settled(shop, second, "delivered")
        listed = objects(shop.run("event", "list"))
        report.equal("list: the newest first", [one["id"] for one in listed], [second, first])
        limited = objects(shop.run("event", "list", "--limit", 1, "--event", "file.uploaded"))
        report.equal("list: a limit", [one["id"] for one in limited], [second])
        shown = shop.one("event", "show", first)
        report.check("show: with its data", shown["id"] == first and "uuid" in shown["data"], shown)
        report.equal("replay", shop.run("event", "replay", first).code, 0)
        shop.receiver.wait(lambda all_: len(all_) >= 3, SECONDS_MAX)
        report.equal("it came again", shop.receiver.deliveries[-1].headers["postrider-event"], first)


def many(report):
    """resend and cancel of many, recover, jobs."""
    with Shop("look-many") as shop:
        sent = [send(shop) for _ in range(3)]
        for event in sent:
            settled(shop, event, "delivered")
        report.equal("nothing named: usage", shop.run("delivery", "resend").code, 2)
        done = shop.one("delivery", "resend", "--status", "delivered", "--since", "1h",
                        "--code", "2xx")
        report.equal("resend of many: its job is done", (done["state"], done["done"]), ("done", 3))
        shop.receiver.wait(lambda all_: len(all_) >= 6, SECONDS_MAX)
        shop.one("webhook", "pause", shop.webhook)
        late = [send(shop) for _ in range(2)]
        waiting = [settled(shop, event, "pending") for event in late]
        stopped = shop.one("delivery", "cancel", "--status", "pending", "--webhook", shop.webhook)
        report.equal("cancel of many", (stopped["state"], stopped["done"]), ("done", len(waiting)))
        dry = shop.one("webhook", "recover", shop.webhook, "--since", "1h", "--dry-run")
        report.equal("recover, dry: what would be sent", dry["matched"], 2)
        jobs = objects(shop.run("jobs", "list"))
        report.equal("jobs: the newest first", [one["id"] for one in jobs],
                     [stopped["id"], done["id"]])
        recovered = shop.one("webhook", "recover", shop.webhook, "--since", "1h")
        report.equal("recover", (recovered["state"], recovered["done"]), ("done", 2))
        shop.one("webhook", "resume", shop.webhook)
        shop.receiver.wait(lambda all_: len(all_) >= 8, SECONDS_MAX)
        report.equal("show", shop.one("job", "show", recovered["id"])["id"], recovered["id"])
        report.equal("wait for one that is done: 0", shop.run("job", "wait", recovered["id"]).code, 0)
        report.equal("no job: 1", shop.run("job", "show", "job_" + "0" * 26).code, 1)
        report.equal("no id: usage", shop.run("job", "show", "../x").code, 2)
        for event in sent + late:
            settled(shop, event, "delivered")
        shop.daemon.kill()
        offline = shop.one("delivery", "resend", "--status", "delivered")
        report.equal("without a daemon a job is done too", (offline["state"], offline["done"]),
                     ("done", 5))
        shop.daemon.start()
        arrived = shop.receiver.wait(lambda all_: len(all_) >= 13, SECONDS_MAX)
        report.check("and sent when one runs", arrived, len(shop.receiver.deliveries))


def tail(report):
    """tail: live, over a restart."""
    with Shop("look-tail") as shop:
        words = [binary(), "event", "tail", "--count", "4", "--status", "delivered"]
        child = subprocess.Popen(words + shop.place, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, env=shop.daemon.environment())
        guard = threading.Timer(SECONDS_MAX * 2, child.kill)
        guard.start()
        wanted = []
        lines = []
        # It follows from when it is there: until it shows something, events are published.
        reader = threading.Thread(target=lambda: lines.extend(child.stdout))
        reader.start()
        while not lines and reader.is_alive():
            wanted.append(send(shop))
            shop.receiver.wait(lambda all_: len(all_) >= len(wanted), SECONDS_MAX)
        shop.daemon.kill()
        shop.daemon.start()
        while reader.is_alive():
            wanted.append(send(shop))
            shop.receiver.wait(lambda all_: len(all_) >= len(wanted), SECONDS_MAX)
            reader.join(0.2)
        code = child.wait()
        guard.cancel()
        changes = [json.loads(line) for line in lines]
        seen = [one["event_id"] for one in changes if one["change"] == "delivery.delivered"]
        report.equal("as many as asked for, then 0", (len(changes), code), (4, 0))
        report.check("each once, in order", seen == [one for one in wanted if one in seen], seen)
        refused = shop.run("event", "tail", "--webhook", 99)
        report.check("no such webhook: 1", refused.code == 1 and "Not found" in refused.err, refused)


PARTS = (deliveries, events, many, tail)
