"""Projects among themselves: keys, lists, limits.

Owns trying one project's keys on another's things, and clients beyond their limits. Must never
use a key that the daemon was not given, other than as a wrong one.
"""

from api.scene import Project, keys, receiving
from harness import wire
from harness.daemon import Daemon
from harness.wire import ACCEPT, JSON

OTHER = "203.0.113.7"


def strangers(report, stage):
    """Another project's webhook is not there: every method, every scheme, every view."""
    owner, stranger = stage.project(), stage.project()
    made = owner.subscribe("http://127.0.0.1:9/own", signing_secret="mine")
    before = owner.webhook(made["id"])
    path = "/webhooks/%d/" % made["id"]
    body = b'{"target_url":"http://127.0.0.1:9/theirs","is_active":false}'
    for method, place in [("GET", path), ("HEAD", path), ("PUT", path), ("POST", path),
                          ("DELETE", path), ("POST", path + "test/"), ("POST", path + "pause/"),
                          ("POST", path + "resume/")]:
        sent = body if method in ("PUT", "POST") else b""
        schemes = {
            "simple": wire.simple(stranger.public, stranger.secret),
            "bearer": wire.bearer(stranger.secret),
            "signed": wire.signed(method, place, sent, JSON, public=stranger.public,
                                  secret=stranger.secret),
        }
        for scheme, auth in schemes.items():
            for view, accept in ACCEPT.items():
                head = {"Content-Type": JSON, **auth, "Accept": accept}
                answer = wire.request(stranger.daemon.port, method, place, head, sent)
                report.equal("%s %s, %s, %s" % (method, place.replace(path, "…/"), scheme, view),
                             answer.status, 404)
    report.equal("nothing changed", owner.webhook(made["id"]), before)


def apart(report, stage):
    """Lists, unsubscribing, uniqueness and events end at the project."""
    one, other = stage.project(), stage.project()
    with receiving() as target:
        mine = one.subscribe(target.url())
        report.equal("a list shows its own", other.call("GET", "/webhooks/").json(), [])
        report.equal("by Bearer too",
                     wire.request(one.daemon.port, "GET", "/webhooks/",
                                  wire.bearer(other.secret)).json(), [])
        theirs = other.subscribe(target.url())
        report.equal("the same URL twice, apart", theirs["project"], other.id)
        other.call("DELETE", "/webhooks/unsubscribe/", {"target_url": target.url()})
        report.equal("unsubscribe ends at home", one.webhook(mine["id"])["id"], mine["id"])
        report.equal("events end at home", other.accepted()["deliveries"], 0)
        report.equal("each has its own", one.accepted()["deliveries"], 1)
        report.equal("GET /project/", other.call("GET", "/project/").json(),
                     {"name": "project %d" % other.id, "pub_key": other.public,
                      "collaborators": [], "autostore_enabled": False})


def wrong_keys(report, stage):
    """Every wrong key is 401, and nothing is done."""
    one, other = stage.project(), stage.project()
    body = b'{"target_url":"http://127.0.0.1:9/","event":"file.uploaded"}'

    def ask(name, auth, detail=None):
        head = {"Content-Type": JSON, "Accept": ACCEPT["0.7"], **auth}
        answer = wire.request(one.daemon.port, "POST", "/webhooks/", head, body)
        report.equal("%s: 401" % name, answer.status, 401)
        report.check("%s: WWW-Authenticate" % name, answer.headers.get("www-authenticate"), answer)
        report.check("%s: it says why" % name, answer.json().get("detail"), answer)
        report.equal("%s: the type" % name, answer.headers["content-type"], ACCEPT["0.7"])

    ask("no key", {})
    ask("another project's secret key", wire.simple(one.public, other.secret))
    ask("an unknown public key", wire.simple("f" * 20, one.secret))
    ask("an unknown bearer", wire.bearer("f" * 20))
    ask("the public key as bearer", wire.bearer(one.public))
    ask("an empty bearer", {"Authorization": "Bearer "})
    ask("an unknown scheme", {"Authorization": "Basic Zm9vOmJhcg=="})
    ask("signed by another", wire.signed("POST", "/webhooks/", body, public=one.public,
                                         secret=other.secret))
    ask("signed for another body", wire.signed("POST", "/webhooks/", b"{}", public=one.public,
                                               secret=one.secret))
    ask("signed for another path", wire.signed("POST", "/events/", body, public=one.public,
                                               secret=one.secret))
    ask("signed long ago", wire.signed("POST", "/webhooks/", body, public=one.public,
                                       secret=one.secret, date="Sat, 18 Nov 2017 17:31:18 GMT"))
    for path in ("/projects/", "/projects/%d/" % one.id, "/projects/%d/webhooks/" % one.id):
        answer = wire.request(one.daemon.port, "GET", path, wire.bearer(one.secret))
        report.equal("a project is no operator: " + path, answer.status, 401)
    report.equal("nothing was made", one.call("GET", "/webhooks/", accept="own").json(), [])


def throttled(report, name, answer):
    """A 429 as documented."""
    report.equal("%s: 429" % name, answer.status, 429)
    wait = answer.headers.get("retry-after", "")
    report.check("%s: Retry-After in seconds" % name, wait.isdigit() and int(wait) >= 1, answer)
    report.check("%s: it says so" % name,
                 "throttled" in answer.json()["detail"] and wait in answer.json()["detail"], answer)


def failures(report, _):
    """Failed authentications are counted for each client behind a trusted proxy."""
    server = {"auth_failures_per_minute": "5", "trusted_proxies": '["127.0.0.1"]'}
    daemon = Daemon("failures", server=server, projects=[keys(0)]).start()
    try:
        project = Project(daemon, *keys(0))
        wrong = wire.simple(project.public, "wrong")
        statuses = []
        for _ in range(12):
            answer = wire.request(daemon.port, "GET", "/webhooks/", wrong)
            statuses.append(answer.status)
        report.equal("first 401, then 429", statuses[:5] + statuses[-1:], [401] * 5 + [429])
        throttled(report, "failures", answer)
        behind = {**wrong, "X-Forwarded-For": OTHER}
        other = wire.request(daemon.port, "GET", "/webhooks/", behind)
        report.equal("another client has its own count", other.status, 401)
        right = project.call("GET", "/webhooks/", headers={"X-Forwarded-For": OTHER})
        report.equal("and may come in", right.status, 200)
        report.equal("health needs no key", daemon.get_status("/healthz"), 200)
    finally:
        daemon.close(keep=report.failed > 0)


def rates(report, _):
    """Requests are counted for each client; a header alone makes nobody another client."""
    for trusted in (True, False):
        server = {"client_rate_per_second": "1", "client_burst": "20"}
        if trusted:
            server["trusted_proxies"] = '["127.0.0.1"]'
        daemon = Daemon("rates", server=server, projects=[keys(0)]).start()
        try:
            project = Project(daemon, *keys(0))
            answers = [project.call("GET", "/webhooks/") for _ in range(40)]
            statuses = [answer.status for answer in answers]
            report.equal("first 200", statuses[0], 200)
            throttled(report, "rate", next(a for a in answers if a.status != 200))
            report.check("no other status", set(statuses) == {200, 429}, statuses)
            behind = project.call("GET", "/webhooks/", headers={"X-Forwarded-For": OTHER})
            report.equal("another client, trusted proxy: %s" % trusted, behind.status,
                         200 if trusted else 429)
        finally:
            daemon.close(keep=report.failed > 0)


PARTS = (strangers, apart, wrong_keys, failures, rates)
