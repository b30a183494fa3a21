"""Exit codes, and what is said with them.

Owns every documented code that can be brought about from outside. Must never loosen one: unit
files and scripts rely on them.
"""

import hashlib
import hmac
import json
import os
import shutil
import time

from cli.program import Bare, Folder, run
from harness.daemon import binary, free_port

NOBODY = 65534
SECRET = "a signing secret of the test"


def usage(report):
    """2 for a wrong command line, 0 for help."""
    for words in (["frob"], ["serve", "--port", "1"], ["send"], [], ["webhook", "add"],
                  ["webhook", "rm", "x"], ["listen", "--status", "99"], ["listen", "--delay", "5"],
                  ["serve", "--log-format", "xml"], ["listen", "--events", "no spaces"],
                  ["send", "no spaces"], ["send", "a", "--data", "{"]):
        with Folder("usage") as home:
            done = run(*words, cwd=home)
            report.equal("exit %s" % words, done.code, 2)
            report.check("exit %s: said on stderr" % words, done.err and not done.out, done)
    near = run("serv")
    report.check("a verb like another is suggested", "'serve'" in near.err, near)
    for words in (["--help"], ["--version"], ["version"], ["version", "--json"], ["dev", "--help"],
                  ["listen", "--help"], ["webhook", "add", "--help"], ["config", "default"]):
        done = run(*words)
        report.equal("exit %s" % words, done.code, 0)
        report.check("exit %s: said on stdout" % words, done.out and not done.err, done)
    shown = json.loads(run("version", "--json").out)
    report.equal("the version, twice", run("version").out, "postrider %s\n" % shown["version"])


def configuration(report):
    """78 with file, line and column for each mistake, and what was meant."""
    wrong = [
        ('[server]\nlissten = "127.0.0.1:1"\n', '2:1: unknown key "lissten" in [server]; '
         'did you mean "listen"?'),
        ('[delivry]\n', '1:2: unknown section [delivry]; did you mean [delivery]?'),
        ('[delivery]\nconnect_timeout = 10\n', "2:"),
        ('[delivery]\nconnect_timeout = "10"\n', "2:"),
        ('[store]\ncache = "1 horse"\n', "2:"),
        ('[server]\nlisten = 8080\n', "2:"),
        ('[delivery]\nallow = ["http://127.0.0.1"]\n', "2:"),
        ('[[project]]\npublic_key = "p"\n', "1:"),
        ('[[project]]\nname = "n"\nsecret_key = "s"\n', "1:"),
        ('[server\n', "1:"),
        ('listen = "127.0.0.1:1"\n', "1:1:"),
    ]
    with Folder("config") as home:
        path = home / "postrider.toml"
        for text, said in wrong:
            path.write_text(text)
            name = repr(text)
            for words in (["config", "check", path], ["config", "check"],
                          ["serve", "--config", path, "--data", home / "data"]):
                done = run(*words, cwd=home)
                report.equal("%s: 78 from %s" % (name, words[0]), done.code, 78)
                report.check("%s: the place" % name, "postrider.toml:" + said in done.err, done)
        path.write_text('[server]\nlissten = "a"\n[dlivery]\n[log]\nlevel = "loud"\n')
        done = run("config", "check", path)
        told = [line for line in done.err.splitlines() if "postrider.toml:" in line]
        report.equal("all mistakes at once", len(told), 3)
        report.check("no data directory was made", not (home / "data").exists())
        missing = run("config", "check", home / "none.toml")
        report.equal("a file that is not there: 78", missing.code, 78)
        variable = run("config", "check", env={"POSTRIDER_SERVER_LISTN": "x"}, cwd=home)
        report.check("an unknown variable: 78 and the name meant", variable.code == 78
                     and "POSTRIDER_SERVER_LISTEN" in variable.err, variable)


def places(report):
    """73 and 77: what can't be made, and what may not be opened."""
    with Folder("places") as home:
        (home / "file").write_text("")
        done = run("serve", "--data", home / "file" / "data", "--listen", listen())
        report.equal("a data directory below a file: 73", done.code, 73)
        report.check("it is named", str(home / "file") in done.err, done)
        with Bare("taken") as daemon:
            taken = "127.0.0.1:%d" % daemon.port
            done = run("serve", "--data", home / "second", "--listen", taken)
            report.equal("a port that is taken: 73", done.code, 73)
            report.check("the port is named", taken in done.err, done)
        program, user = unprivileged(home)
        locked = home / "locked"
        locked.mkdir(mode=0o555)
        done = run("serve", "--data", locked / "data", "--listen", listen(), user=user,
                   program=program)
        report.equal("a directory that may not be written: 77", done.code, 77)
        report.check("the directory is named", str(locked) in done.err, done)


def listen():
    """An address nobody listens at."""
    return "127.0.0.1:%d" % free_port()


def unprivileged(home):
    """A program and a user that permissions hold for: root would not notice any."""
    if os.geteuid() != 0:
        return None, None
    home.chmod(0o755)
    program = home / "postrider"
    shutil.copy(binary(), program)
    program.chmod(0o755)
    return program, NOBODY


def no_daemon(report):
    """69 where a daemon is needed, or a store to open in its place."""
    with Folder("none") as home:
        data = home / "data"
        for words in (["project", "list"], ["project", "show"], ["webhook", "list"],
                      ["webhook", "add", "http://nowhere.invalid/"], ["webhook", "rm", "1"],
                      ["listen"]):
            done = run(*words, "--data", data)
            report.equal("no daemon, no store: %s: 69" % words, done.code, 69)
            report.check("%s: what to do" % words, "postrider serve" in done.err, done)
        report.equal("send: 69", run("send", "file.uploaded", "--data-dir", data).code, 69)
        report.check("looking makes nothing", not data.exists())
        report.equal("a store", run("project", "create", "--data", data).code, 0)
        report.equal("listen needs a daemon: 69", run("listen", "--data", data).code, 69)


def two_daemons(report):
    """75 for the second on a directory; the first does not notice."""
    with Bare("two") as daemon:
        second = run("serve", "--data", daemon.data, "--listen", listen())
        report.equal("a second daemon: 75", second.code, 75)
        report.check("it names the directory", str(daemon.data) in second.err, second)
        report.equal("the first goes on", daemon.get_status("/readyz"), 200)
        listed = run("project", "list", "--data", daemon.data)
        report.equal("and its control socket too", listed.code, 0)
        outside = run("listen", "--data", daemon.data, "--listen", "192.0.2.1:80")
        report.equal("listen at no loopback address: 2", outside.code, 2)
        report.equal("it stops with 0", daemon.terminate()[0], 0)


def verify(report):
    """0 if all signatures that are there hold, 1 otherwise."""
    body = '{"a":"\u00e9"}'
    good = "v1=" + hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()

    def lancer(at):
        text = "%d.%s" % (at, body)
        digits = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        return "x-timestamp: %d\nx-signature: %s" % (at, digits)

    now = int(time.time())
    with Folder("verify") as home:
        secret, headers = home / "secret", home / "headers"
        secret.write_text(SECRET + "\n")
        command = ["verify", "--secret-file", secret, "--headers", headers]
        for name, head, said, code in [
            ("right", "x-uc-signature: %s" % good, body, 0),
            ("right, in another spelling", "POST / HTTP/1.1\r\nX-UC-Signature:%s\r\n" % good, body,
             0),
            ("a changed body", "X-Uc-Signature: %s" % good, body + " ", 1),
            ("a wrong signature", "X-Uc-Signature: v1=%s" % ("0" * 64), body, 1),
            ("no signature", "Content-Type: a", body, 1),
            ("Lancer's, right", lancer(now), body, 0),
            ("Lancer's, in another spelling", lancer(now).replace("x-", "X-"), body, 0),
            ("Lancer's, a changed body", lancer(now), body + " ", 1),
            ("Lancer's, an hour old", lancer(now - 3600), body, 1),
            ("Lancer's without its time", lancer(now).split("\n")[1], body, 1),
            ("one right and one wrong", "X-Uc-Signature: %s\n%s" % (good, lancer(now - 3600)),
             body, 1),
        ]:
            headers.write_text(head)
            done = run(*command, stdin=said)
            report.equal("verify, %s" % name, done.code, code)
            report.check("verify, %s: no secret" % name, SECRET not in done.out + done.err, done)
            report.check("verify, %s: it says so" % name,
                         ("\u2713" if code == 0 else "\u2717" if "signature:" in head.lower()
                          else "no signature") in done.out + done.err, done)
        headers.write_text("X-Uc-Signature: " + good)
        lines = [json.loads(line) for line in run("--json", *command, stdin=body).lines()]
        report.equal("verify --json", [(one["verified"], one["reason"]) for one in lines],
                     [(True, None)])
        headers.write_text(lancer(now - 3600))
        lines = [json.loads(line) for line in run("--json", *command, stdin=body).lines()]
        report.check("verify --json says why", lines[0]["signature"] == "x-signature"
                     and "clock skew" in lines[0]["reason"], lines)
        headers.write_text("X-Uc-Signature: " + good)
        flag = run("verify", "--secret", SECRET, "--headers", headers, stdin=body)
        report.equal("verify --secret", flag.code, 0)
        report.equal("verify without a secret: 2", run("verify", "--headers", headers).code, 2)
        report.equal("verify without headers: 1",
                     run("verify", "--secret", "a", "--headers", home / "none").code, 1)


PARTS = (usage, configuration, places, no_daemon, two_daemons, verify)
