"""`project`, `webhook` and `send`: through a running daemon, and without one.

Owns judging what they do and print: JSON on request, one object a line into a pipe, a table on a
terminal. Must never see a secret but where it is made.
"""

import json
import os
import stat
import subprocess

from cli.program import SECONDS_MAX, Bare, Folder, Running, run
from harness import wire
from harness.daemon import binary
from harness.receiver import Receiver

SECRET = "signing-secret-of-the-verbs"
LOOPBACK = '[delivery]\nallow = ["127.0.0.0/8"]\n'
NOWHERE = "http://nowhere.invalid/hook"


def objects(done):
    """Standard output as one object a line."""
    return [json.loads(line) for line in done.lines()]


def projects(report, name, data):
    """create, list, show."""
    made = run("--json", "project", "create", "Shop", "--data", data)
    report.equal("%s: create" % name, made.code, 0)
    shop = objects(made)[0]
    secret = shop["secret_key"]
    report.equal("%s: its name" % name, shop["name"], "Shop")
    chosen = run("project", "create", "Two", "--id", "77", "--data", data)
    report.check("%s: an id of one's own" % name,
                 chosen.code == 0 and "\nname         Two\n" in chosen.out
                 and chosen.out.startswith("id           77\n"), chosen)
    report.check("%s: keys to keep" % name, "shown once" in chosen.out, chosen)
    again = run("project", "create", "--id", "77", "--data", data)
    report.check("%s: an id that is taken" % name, again.code == 1 and "77" in again.err, again)
    listed = run("project", "list", "--data", data)
    rows = objects(listed)
    report.check("%s: list, into a pipe: one object a line" % name,
                 {"Shop", "Two"} <= {row["name"] for row in rows}, listed)
    report.equal("%s: list --json: the same" % name,
                 run("projects", "ls", "--json", "--data", data).out, listed.out)
    for key in (shop["public_key"], str(shop["id"])):
        shown = run("project", "show", key, "--json", "--data", data)
        report.equal("%s: show %s" % (name, "by id" if key.isdigit() else "by key"),
                     objects(shown)[0]["public_key"], shop["public_key"])
    text = run("project", "show", shop["public_key"], "--data", data)
    report.check("%s: show, for people" % name, "name         Shop" in text.out, text)
    said = listed.out + text.out + shown.out + listed.err + text.err
    report.check("%s: no secret key" % name, secret not in said, said)
    unknown = run("project", "show", "nobody", "--data", data)
    report.check("%s: no such project" % name, unknown.code == 1 and unknown.err, unknown)
    return shop


def webhooks(report, name, data, shop):
    """add, list, rm."""
    several = run("webhook", "list", "--data", data)
    report.check("%s: which project?" % name, several.code == 2 and "--project" in several.err,
                 several)
    place = ["--project", shop["public_key"], "--data", data]
    with Folder("secret") as home:
        (home / "secret").write_text(SECRET + "\n")
        added = run("webhook", "add", NOWHERE, "--secret-file", home / "secret", *place)
    report.equal("%s: add" % name, added.code, 0)
    hook = objects(added)[0]
    report.equal("%s: as asked" % name,
                 (hook["event"], hook["version"], hook["target_url"], hook["is_active"]),
                 ("file.uploaded", "0.7", NOWHERE, True))
    other = objects(run("--json", "webhook", "add", NOWHERE, "--event", "order.paid", "--inactive",
                        "--secret", SECRET, *place))[0]
    report.equal("%s: inactive" % name, (other["state"], other["is_active"]), ("inactive", False))
    old = objects(run("webhook", "add", NOWHERE + "/old", "--version", "0.5", *place))[0]
    report.equal("%s: an old version" % name, (old["version"], old["signing_secret"]),
                 ("0.5", None))
    twice = run("webhook", "add", NOWHERE, *place)
    report.check("%s: twice" % name, twice.code == 1 and "already subscribed" in twice.err, twice)
    private = run("webhook", "add", "http://10.1.2.3/", *place)
    report.check("%s: a private target: the setting is named" % name,
                 private.code == 1 and "[delivery] allow" in private.err, private)
    listed = run("webhook", "list", *place)
    rows = objects(listed)
    report.equal("%s: list" % name, sorted(row["id"] for row in rows),
                 sorted(one["id"] for one in (hook, other, old)))
    report.equal("%s: secrets are masked" % name,
                 {row["id"]: row["signing_secret"] for row in rows},
                 {hook["id"]: "***", other["id"]: "***", old["id"]: None})
    report.check("%s: no secret" % name, SECRET not in listed.out + added.out + added.err)
    removed = run("webhook", "rm", other["id"], *place)
    report.check("%s: rm" % name, removed.code == 0 and str(other["id"]) in removed.out, removed)
    gone = run("webhook", "rm", other["id"], *place)
    report.equal("%s: rm again" % name, gone.code, 1)
    elsewhere = run("webhook", "rm", hook["id"], "--project", "77", "--data", data)
    report.equal("%s: another project's" % name, elsewhere.code, 1)
    left = objects(run("webhook", "list", *place))
    report.equal("%s: two are left" % name, len(left), 2)


def with_a_daemon(report):
    """Through the control socket."""
    with Bare("with") as daemon:
        shop = projects(report, "daemon", daemon.data)
        webhooks(report, "daemon", daemon.data, shop)
        keys = wire.simple(shop["public_key"], shop["secret_key"])
        shown = wire.request(daemon.port, "GET", "/webhooks/", keys).json()
        report.equal("the API shows the same", len(shown), 2)
        report.equal("and the secret, as its dialect does", shown[0]["signing_secret"], SECRET)
        by_socket = run("project", "list", "--control", daemon.data / "control.sock")
        report.equal("--control names the socket", by_socket.code, 0)
        tables(report, daemon, shop)
        report.check("no secret in the log", SECRET not in daemon.log()
                     and shop["secret_key"] not in daemon.log())


def tables(report, daemon, shop):
    """On a terminal a list is a table."""
    command = ["webhook", "list", "--project", shop["public_key"], "--data", daemon.data]
    with Running(*command, terminal=True) as listed:
        report.equal("a table: 0", listed.end(), 0)
        head, *rows = listed.text.splitlines()
        report.equal("a table: its head", head.split(),
                     ["ID", "EVENT", "VERSION", "STATE", "TARGET"])
        columns = [head.index(word) for word in head.split()]
        report.equal("a table: rows in columns",
                     [[row[column - 1:column + 1].strip() != "" and row[column] != " "
                       for column in columns[1:]] for row in rows], [[True] * 4] * 2)
    with Running("project", "list", "--data", daemon.data, terminal=True) as listed:
        report.equal("projects: 0", listed.end(), 0)
        report.check("projects: a table", listed.text.startswith("ID"), listed.text)
        report.check("projects: no secret", shop["secret_key"] not in listed.text, listed.text)
        report.check("projects: how many webhooks",
                     any(line.split()[:3] == [str(shop["id"]), shop["public_key"], "2"]
                         for line in listed.text.splitlines()), listed.text)
    with Running("project", "list", "--json", "--data", daemon.data, terminal=True) as listed:
        listed.end()
        report.check("--json on a terminal too",
                     all(json.loads(line) for line in listed.lines()), listed.text)


def without_a_daemon(report):
    """The data directory is opened by the command itself; a daemon then finds all of it."""
    daemon = Bare("without")
    try:
        made = run("project", "create", "First", "--json", "--data", daemon.data)
        report.equal("the first project makes the store", made.code, 0)
        report.equal("for its owner alone", stat.S_IMODE(daemon.data.stat().st_mode), 0o700)
        report.check("no socket is left behind", not (daemon.data / "control.sock").exists())
        shop = projects(report, "no daemon", daemon.data)
        webhooks(report, "no daemon", daemon.data, shop)
        report.check("still none", not (daemon.data / "control.sock").exists())
        daemon.start()
        keys = wire.simple(shop["public_key"], shop["secret_key"])
        shown = wire.request(daemon.port, "GET", "/webhooks/", keys)
        report.equal("a daemon finds it", (shown.status, len(shown.json())), (200, 2))
        first = objects(made)[0]
        report.equal("the first project's key works",
                     wire.request(daemon.port, "GET", "/project/",
                                  wire.bearer(first["secret_key"])).status, 200)
        socket = daemon.data / "control.sock"
        daemon.kill()
        report.check("kill -9 leaves the socket", socket.exists())
        report.equal("which is no daemon", run("project", "list", "--data", daemon.data).code, 0)
        daemon.start()
        report.equal("nor in a daemon's way", run("project", "list", "--data", daemon.data).code, 0)
        report.equal("it stops with 0", daemon.terminate()[0], 0)
        report.check("a stop removes it", not socket.exists())
    finally:
        daemon.close(keep=report.failed > 0)


def sends(report):
    """`send`: a sample, data in place, from a file and from stdin; once for each key."""
    receiver = Receiver()
    daemon = Bare("send", LOOPBACK)
    try:
        daemon.start()
        place = ["--config", daemon.config, "--data", daemon.data]
        for event in ("file.uploaded", "order.paid"):
            run("webhook", "add", receiver.url("/" + event), "--event", event, *place)
        place[2] = "--data-dir"
        sample = run("send", "file.uploaded", "--name", "a cat.jpg", *place)
        report.check("a sample", sample.code == 0 and "1 deliveries" in sample.out, sample)
        path = daemon.home / "order.json"
        path.write_text('{"from": "a file"}')
        data = [("in place", '{"from": "the line"}', ""), ("from a file", "@%s" % path, ""),
                ("from stdin", "@-", '{"from": "stdin"}')]
        for name, flag, stdin in data:
            done = run("--json", "send", "order.paid", "--data", flag, *place, stdin=stdin)
            shown = objects(done)[0]
            report.equal("data %s" % name, (done.code, shown["event"], shown["deliveries"]),
                         (0, "order.paid", 1))
        report.check("all arrive", receiver.wait(lambda all_: len(all_) >= 4, SECONDS_MAX))
        bodies = [json.loads(d.body) for d in receiver.deliveries]
        report.equal("the sample's name", [b["data"]["original_filename"] for b in bodies
                                           if b["hook"]["event"] == "file.uploaded"],
                     ["a cat.jpg"])
        report.equal("the data", sorted(b["data"]["from"] for b in bodies
                                        if b["hook"]["event"] == "order.paid"),
                     ["a file", "stdin", "the line"])
        key = ["--data", "{}", "--idempotency-key", "order-7", *place]
        first, second = (run("send", "order.paid", *key) for _ in range(2))
        report.equal("a key again", (first.code, second.code), (0, 0))
        report.check("is a duplicate", "accepted before" in second.out
                     and second.out.split()[1] == first.out.split()[1], second)
        clash = run("send", "order.paid", "--data", '{"a":1}', *key[2:])
        report.check("with other data: 1", clash.code == 1 and "another body" in clash.err, clash)
        missing = run("send", "order.paid", "--data", "@%s" % (daemon.home / "none"), *place)
        report.equal("a file that is not there: 1", missing.code, 1)
        count = len(receiver.deliveries)
        daemon.terminate()
        done = run("send", "file.uploaded", *place)
        report.check("without a daemon it is stored", done.code == 0 and "1 deliveries" in done.out,
                     done)
        sent = done.out.split()[1]
        daemon.start()
        report.check("and delivered by the next",
                     receiver.wait(lambda all_: any(d.headers["postrider-event"] == sent
                                                    for d in all_), SECONDS_MAX),
                     [d.headers["postrider-event"] for d in receiver.deliveries[count:]])
    finally:
        daemon.close(keep=report.failed > 0)
        receiver.close()


def broken_pipes(report):
    """A reader that has gone is no reason to fail."""
    own, theirs = os.pipe()
    os.close(own)
    try:
        done = subprocess.run([binary(), "config", "default"], stdin=subprocess.DEVNULL,
                              stdout=theirs, stderr=subprocess.PIPE, timeout=SECONDS_MAX)
    finally:
        os.close(theirs)
    report.equal("a closed pipe", (done.returncode, done.stderr), (0, b""))


PARTS = (with_a_daemon, without_a_daemon, sends, broken_pipes)
