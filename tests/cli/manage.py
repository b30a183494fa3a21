"""Managing from the command line: webhooks, secrets, targets, projects, keys, tokens, events.

Owns judging each verb against a daemon, without one, and on a terminal. Must never ask the API for
what a verb can say.
"""

import json
import re

from cli.program import SECONDS_MAX, Bare, run
from cli.verbs import objects
from harness import wire
from harness.receiver import Receiver

LOOPBACK = '[delivery]\nallow = ["127.0.0.0/8"]\n[log]\nformat = "json"\n'
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Shop:
    """A daemon, a receiver and a webhook."""

    def __init__(self, name):
        self.receiver = Receiver()
        self.daemon = Bare(name, LOOPBACK).start()
        self.place = ["--config", self.daemon.config, "--data", self.daemon.data]
        self.webhook = self.one("webhook", "add", self.receiver.url(), "--secret", SECRET)["id"]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.daemon.close(keep=kind is not None)
        self.receiver.close()

    def run(self, *words, **more):
        """One run of the program."""
        return run(*words, *self.place, **more)

    def one(self, *words):
        """The one object that a run prints as JSON."""
        done = self.run("--json", *words)
        if done.code != 0:
            raise RuntimeError(repr(done))
        return objects(done)[0]


def webhooks(report):
    """test, pause, resume, rotate."""
    with Shop("manage-webhooks") as shop:
        number = shop.webhook
        tested = shop.run("webhook", "test", number)
        report.equal("test: 0 and its attempt", (tested.code, objects(tested)[0]["status"]), (0, 200))
        closed = shop.one("webhook", "add", "http://127.0.0.1:9/")["id"]
        failed = shop.run("webhook", "test", closed)
        report.equal("a test that fails: 1", (failed.code, objects(failed)[0]["delivered"]), (1, False))
        report.equal("pause", shop.one("webhook", "pause", number)["state"], "paused")
        paused = shop.run("webhook", "test", number)
        report.check("no test while paused", paused.code == 1 and "paused" in paused.err, paused)
        report.equal("resume", shop.one("webhook", "resume", number)["state"], "active")
        report.equal("no such webhook", shop.run("webhook", "pause", 99).code, 1)
        begun = shop.one("webhook", "rotate", number, "--overlap", "1h")
        report.equal("rotate", begun["webhook"]["rotation"],
                     {"phase": "staged", "next_step": None, "overlap_seconds": 3600})
        report.equal("the secret in force is masked", begun["webhook"]["signing_secret"], "***")
        shop.one("webhook", "test", number)
        signed = shop.receiver.deliveries[-1].headers["webhook-signature"]
        report.equal("two signatures", len(signed.split(" ")), 2)
        again = shop.run("webhook", "rotate", number)
        report.check("rotate again: 1", again.code == 1 and "under way" in again.err, again)
        promoted = shop.one("webhook", "rotate", number, "--promote")
        report.equal("promote", promoted["webhook"]["rotation"]["phase"], "promoted")
        report.check("nothing is shown of a secret", SECRET not in json.dumps(promoted)
                     and begun["next_secret"] not in json.dumps(promoted), promoted)
        report.equal("finish", shop.one("webhook", "rotate", number, "--finish")["webhook"]["rotation"],
                     None)
        shop.one("webhook", "rotate", number, "--secret", "another one")
        report.equal("abort", shop.one("webhook", "rotate", number, "--abort")["webhook"]["rotation"],
                     None)


def targets(report):
    """list, show, set, pause, resume; over a restart, and without a daemon."""
    with Shop("manage-targets") as shop:
        origin = shop.receiver.url("").rstrip("/")
        listed = objects(shop.run("target", "list"))
        report.equal("list", [(one["target"], one["state"], one["rate_per_second"]) for one in listed],
                     [(origin, "active", 500)])
        changed = shop.one("target", "set", origin, "--rate", 5, "--in-flight", 2)
        report.equal("set", (changed["rate_per_second"], changed["in_flight"]), (5, 2))
        report.equal("pause", shop.one("target", "pause", origin)["state"], "paused")
        shop.daemon.kill()
        offline = shop.one("target", "show", origin)
        report.equal("without a daemon", (offline["state"], offline["rate_per_second"]), ("paused", 5))
        report.equal("resume without one", shop.one("target", "resume", origin)["state"], "active")
        shop.daemon.start()
        shown = shop.one("target", "show", origin)
        report.equal("a daemon finds it", (shown["state"], shown["in_flight"]), ("active", 2))
        reset = shop.one("target", "set", origin, "--reset")
        report.equal("reset", (reset["rate_per_second"], reset["set"]["in_flight"]), (500, None))
        for words in (["set", origin], ["show", "example.com"], ["pause", origin + "/path"]):
            report.equal("%s: usage" % " ".join(words), shop.run("target", *words).code, 2)
        unknown = shop.run("target", "show", "https://example.com")
        report.check("not known", unknown.code == 1 and "Not found" in unknown.err, unknown)
        table = shop.run("target", "list")
        report.check("piped: one object a line", all(json.loads(line) for line in table.lines()), table)


def projects(report):
    """rename, rm, keys and their recovery, operator tokens."""
    with Shop("manage-projects") as shop:
        made = shop.one("project", "create", "Second")
        number = str(made["id"])
        report.equal("rename", shop.one("project", "rename", number, "Renamed")["name"], "Renamed")
        added = shop.one("project", "key", "add", "--project", number)
        listed = objects(shop.run("project", "key", "list", "--project", number))
        report.check("keys: ids alone", len(listed) == 2 and all(list(one) == ["id"] for one in listed),
                     listed)
        recovered = shop.one("project", "key", "recover", "--project", number)
        report.equal("a lost key is recovered", recovered["secret_key"], made["secret_key"])
        wanted = shop.one("project", "key", "recover", added["id"], "--project", number)
        report.equal("by its id", wanted["secret_key"], added["secret_key"])
        revoked = shop.run("project", "key", "revoke", recovered["id"], "--project", number)
        report.equal("revoke", revoked.code, 0)
        port = shop.daemon.port
        for name, key, status in (("the revoked", made, 401), ("the other", added, 200)):
            answer = wire.request(port, "GET", "/project/", wire.bearer(key["secret_key"]))
            report.equal("%s key" % name, answer.status, status)
        last = shop.run("project", "key", "revoke", added["id"], "--project", number)
        report.check("the last key: 1", last.code == 1 and "last key" in last.err, last)
        report.equal("rm", shop.run("project", "rm", number).code, 0)
        report.equal("rm again", shop.run("project", "rm", number).code, 1)
        left = [one["id"] for one in objects(shop.run("project", "list"))]
        report.equal("one is left", len(left), 1)
        tokens(report, shop)
        shop.daemon.kill()
        report.equal("rm of the last one, without a daemon",
                     shop.run("project", "rm", left[0]).code, 0)
        shop.daemon.start()
        report.equal("no start makes another", objects(shop.run("project", "list")), [])


def tokens(report, shop):
    """create, list, revoke."""
    made = shop.one("token", "create", "deploy")
    head = wire.bearer(made["token"])
    port = shop.daemon.port
    report.equal("a token opens", wire.request(port, "GET", "/projects/", head).status, 200)
    listed = shop.run("token", "list")
    report.equal("list", [one["name"] for one in objects(listed)], ["first start", "deploy"])
    report.check("without the tokens", made["token"] not in listed.out, listed)
    report.equal("revoke", shop.run("token", "revoke", made["id"]).code, 0)
    report.equal("it opens no more", wire.request(port, "GET", "/projects/", head).status, 401)
    report.equal("revoke again", shop.run("token", "revoke", made["id"]).code, 1)


def events(report):
    """erase."""
    with Shop("manage-events") as shop:
        shop.one("webhook", "pause", shop.webhook)
        event = send(shop)
        erased = shop.one("event", "erase", event)
        report.check("erased", erased["id"] == event and erased["erased_at"], erased)
        report.equal("no event", shop.run("event", "erase", "evt_" + "0" * 26).code, 1)
        report.equal("no id", shop.run("event", "erase", "x").code, 2)
        wanted = send(shop)
        shop.one("webhook", "resume", shop.webhook)
        shop.receiver.wait(lambda all_: len(all_) >= 1, SECONDS_MAX)
        report.equal("the other one alone arrives",
                     [one.headers["postrider-event"] for one in shop.receiver.deliveries], [wanted])


def send(shop):
    """Publishes a sample; answers with the event's id."""
    done = run("send", "file.uploaded", "--config", shop.daemon.config, "--data-dir", shop.daemon.data)
    return re.search(r"evt_\w+", done.out).group(0)


PARTS = (webhooks, targets, projects, events)
