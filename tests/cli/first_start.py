"""The first start, and projects of the configuration.

Owns how fresh keys reach their owner: once on a terminal, else in a file for the owner alone.
Must never find a key in a log.
"""

import re
import stat
import time

from cli.program import SECONDS_MAX, Bare, Folder, Running, run
from harness import wire
from harness.daemon import free_port

KEYS = r"^public key +(\S+)\nsecret key +(\S+)\noperator token +(\S+)$"
POLL_SECONDS = 0.01
OLD, NEW = "first-secret-key-0001", "second-secret-key-0002"


def status(port, path, headers):
    """The status of a GET."""
    return wire.request(port, "GET", path, headers).status


def keys_work(report, name, port, found):
    """Each key opens what it is for, and nothing else."""
    public, secret, token = found
    report.equal("%s: Simple" % name, status(port, "/webhooks/", wire.simple(public, secret)), 200)
    report.equal("%s: Bearer" % name, status(port, "/project/", wire.bearer(secret)), 200)
    operator = wire.bearer(token)
    for path in ("/projects/", "/projects/1/", "/projects/%s/webhooks/" % public,
                 "/projects/1/project/", "/stats/"):
        report.equal("%s: the operator's %s" % (name, path), status(port, path, operator), 200)
    for path in ("/webhooks/", "/project/", "/webhooks/1/"):
        report.equal("%s: the token is no project's: %s" % (name, path),
                     status(port, path, operator), 401)
    report.equal("%s: a secret key is no token" % name,
                 status(port, "/projects/", wire.bearer(secret)), 401)
    report.equal("%s: the token is no secret key" % name,
                 status(port, "/webhooks/", wire.simple(public, token)), 401)
    over_http = wire.request(port, "POST", "/listen/", operator, b"{}")
    report.equal("%s: a session is the control socket's" % name, over_http.status, 404)


def without_terminal(report):
    """The keys go to a file of mode 0600, whose path is logged."""
    with Bare("first") as daemon:
        path = daemon.data / "first-start-keys"
        report.equal("the file's mode", stat.S_IMODE(path.stat().st_mode), 0o600)
        report.equal("the directory's", stat.S_IMODE(daemon.data.stat().st_mode), 0o700)
        report.equal("the control socket's",
                     stat.S_IMODE((daemon.data / "control.sock").stat().st_mode), 0o600)
        found = re.search(KEYS, path.read_text(), re.M)
        if not report.check("the file holds the keys", found, path.read_text()):
            return
        report.check("its path is logged", str(path) in daemon.log(), daemon.log())
        keys_work(report, "file", daemon.port, found.groups())
        before = path.read_text()
        daemon.terminate()
        daemon.start()
        report.equal("a second start writes none", path.read_text(), before)
        report.equal("and logs none", daemon.log().count(str(path)), 1)
        keys_work(report, "second start", daemon.port, found.groups())
        said = [key for key in found.groups()[1:] if key in daemon.log()]
        report.equal("no key in the log", said, [])
        others = [p.name for p in daemon.data.rglob("*")
                  if p.is_file() and stat.S_IMODE(p.stat().st_mode) != 0o600]
        report.equal("no file is for others", others, [])


def on_a_terminal(report):
    """The keys are shown once, on the terminal, and written nowhere."""
    with Folder("terminal") as home:
        port = free_port()
        command = ["serve", "--data", home / "data", "--listen", "127.0.0.1:%d" % port]
        with Running(*command, cwd=home, terminal=True) as daemon:
            found = daemon.wait(KEYS)
            if not report.check("the keys are shown", found, daemon.text + daemon.errors):
                return
            curl = daemon.wait(r"^curl .*http://127\.0\.0\.1:%d/webhooks/$" % port)
            report.check("with a line to try", curl and found[1] in curl[0], daemon.text)
            wait_ready(port)
            keys_work(report, "terminal", port, found.groups())
            report.equal("it ends with 0", daemon.terminate(), 0)
            report.check("no key in the log", found[2] not in daemon.errors
                         and found[3] not in daemon.errors, daemon.errors)
        report.check("no file of keys", not (home / "data" / "first-start-keys").exists())
        with Running(*command, cwd=home, terminal=True) as daemon:
            wait_ready(port)
            report.equal("a second start shows nothing", daemon.text, "")
            keys_work(report, "second start", port, found.groups())
            daemon.press("\x03")
            report.equal("Ctrl-C ends it with 0", daemon.end(), 0)


def wait_ready(port):
    """Waits until the daemon on a port takes requests."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        try:
            return wire.request(port, "GET", "/readyz")
        except OSError:
            time.sleep(POLL_SECONDS)
    raise RuntimeError("not ready in time")


def configured(report):
    """`[[project]]` makes a project, and changes it at the next start."""
    entry = '[[project]]\nid = 7\nname = "%s"\npublic_key = "shop"\n%s\n'
    with Folder("entries") as home:
        secret_file = home / "secret"
        daemon = Bare("configured", entry % ("Shop", 'secret_key = "%s"' % OLD))
        with daemon:
            report.equal("its key works", status(daemon.port, "/project/",
                                                 wire.simple("shop", OLD)), 200)
            token = (daemon.data / "first-start-keys").read_text()
            report.check("a token is made, but no other project",
                         token.startswith("operator token") and "secret" not in token, token)
            listed = run("project", "list", "--data", daemon.data)
            report.equal("there is this one", [line.count('"id":7') for line in listed.lines()],
                         [1])
            made = wire.request(daemon.port, "POST", "/webhooks/", {
                **wire.simple("shop", OLD), "Content-Type": wire.JSON},
                b'{"target_url":"http://nowhere.invalid/","event":"file.uploaded"}')
            report.equal("a webhook", made.status, 201)
            daemon.terminate()
            secret_file.write_text(NEW + "\n")
            daemon.configure(entry % ("Store", 'secret_key_file = "%s"' % secret_file))
            daemon.start()
            report.equal("the new key works", status(daemon.port, "/project/",
                                                     wire.simple("shop", NEW)), 200)
            report.equal("by Bearer too", status(daemon.port, "/project/", wire.bearer(NEW)), 200)
            for headers in (wire.simple("shop", OLD), wire.bearer(OLD)):
                report.equal("the old one does not", status(daemon.port, "/project/", headers), 401)
            shown = wire.request(daemon.port, "GET", "/project/", wire.simple("shop", NEW)).json()
            report.equal("the new name", shown["name"], "Store")
            hooks = wire.request(daemon.port, "GET", "/webhooks/", wire.simple("shop", NEW)).json()
            report.equal("its webhook stays", [one["id"] for one in hooks], [made.json()["id"]])
            report.check("no key in the log", OLD not in daemon.log() and NEW not in daemon.log())
            daemon.terminate()
            daemon.configure(entry % ("Store", 'secret_key_file = "secret"'))
            missing = run("config", "check", daemon.config)
            report.check("a secret file that is not there: 78, and it is named",
                         missing.code == 78 and "secret_key_file" in missing.err, missing)


def clashes(report):
    """Two projects can't share a key: by the file 78, against the store 78 too."""
    two = ('[[project]]\nid = 1\npublic_key = "a"\nsecret_key = "%s"\n'
           '[[project]]\nid = 2\npublic_key = "%s"\nsecret_key = "%s"\n')
    with Folder("clash") as home:
        path = home / "postrider.toml"
        for public, secret, line in (("a", NEW, 3), ("b", OLD, 4)):
            path.write_text(two % (OLD, public, secret))
            done = run("serve", "--config", path, "--data", home / "data")
            report.equal("the same key twice: 78", done.code, 78)
            report.check("it names the other's line", "line %d" % line in done.err, done)
            report.check("and shows no secret", OLD not in done.err, done)
    daemon = Bare("clash", two % (OLD, "b", NEW))
    with daemon:
        daemon.terminate()
        daemon.configure('[[project]]\nid = 3\npublic_key = "c"\nsecret_key = "%s"\n' % NEW)
        done = run("serve", "--config", daemon.config, "--data", daemon.data)
        report.equal("a key of a project in the store: 78", done.code, 78)
        report.check("it says which", "secret key" in done.err and NEW not in done.err, done)


PARTS = (without_terminal, on_a_terminal, configured, clashes)
