"""Two projects, and everything that one of them can ask for with the other's names and keys.

Owns the generated attacks and the canaries that no answer may hold. Must never know what a route
does: whatever it does, another project's thing has to look like one that does not exist. The paths
that the daemon's table of routes documents have to be among those tried here, so that a new route
can't be forgotten. Environment: POSTRIDER_BINARY, POSTRIDER_SEED.
"""

import base64
import functools
import hashlib
import itertools
import json
import os
import pathlib
import random
import re

from harness import wire
from harness.daemon import Daemon
from harness.receiver import Receiver
from harness.report import Report
from harness.wire import ACCEPT, JSON

ROUTES = pathlib.Path(__file__).resolve().parents[2] / "src" / "http" / "route.rs"
MALLORY = (710_017, "aa0000000000000000aa", "mallorysecretkey0001")
ALICE = (920_093, "bb0000000000000000bb", "alicesecretkey000001")
NOBODY = (999_983, "cc0000000000000000cc", "nobodysecretkey00001")
NO_WEBHOOK = ("2147483647", "wh-" + "0" * 22)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ACCEPTS = (*ACCEPT.values(), "*/*", "application/vnd.api+json")
SECONDS_MAX = 30

# What the table of routes documents, and the paths that are tried for it: `{project}` and `{id}`
# are replaced. None: no path of it names a project or what belongs to one.
PATHS = {
    "/healthz": None,
    "/readyz": None,
    "/webhooks/": None,
    "/webhooks/unsubscribe/": None,
    "/webhooks/{id}/": ["/webhooks/{id}/", "/webhooks/{id}"],
    "/webhooks/{id}/{action}/": ["/webhooks/{id}/%s/" % a for a in ("test", "pause", "resume", "recover")],
    "/webhooks/{id}/secret/{step}/": ["/webhooks/{id}/secret/%s/" % step
                                      for step in ("rotate", "promote", "finish", "abort")],
    "/webhooks/{something else}/": None,
    "/events/": None,
    "/events/{id}/": ["/events/{event}/"],
    "/events/{id}/{action}/": ["/events/{event}/erase/", "/events/{event}/replay/"],
    "/deliveries/{action}/": None,
    "/deliveries/{id}/{action}/": ["/deliveries/{delivery}/resend/",
                                   "/deliveries/{delivery}/cancel/"],
    "/jobs/": None,
    "/jobs/{id}/": ["/jobs/{job}/"],
    "/jobs/{id}/cancel/": ["/jobs/{job}/cancel/"],
    "/deliveries/stream/": ["/deliveries/stream/?webhook={id}"],
    "/deliveries/": None,
    "/deliveries/{id}/": ["/deliveries/{delivery}/"],
    "/deliveries/{id}/explain/": ["/deliveries/{delivery}/explain/"],
    "/deliveries/{id}/attempts/{number}/request/": ["/deliveries/{delivery}/attempts/1/request/"],
    "/targets/": None,
    "/targets/{id}/": ["/targets/{target}/"],
    "/send/": None,
    "/in/{source}/": None,
    "/tokens/": None,
    "/tokens/{id}/": None,
    "/project/": None,
    "/projects/": ["/projects/"],
    "/projects/{id or public key}/…": [
        "/projects/{project}/", "/projects/{project}/webhooks/", "/projects/{project}/webhooks/{id}/",
        "/projects/{project}/webhooks/{id}/test/", "/projects/{project}/webhooks/unsubscribe/",
        "/projects/{project}/events/", "/projects/{project}/project/", "/projects/{project}/send/",
        "/projects/{project}/in/tusd/", "/projects/{project}/tokens/", "/projects/{project}/tokens/1/",
        "/projects/{project}/targets/", "/projects/{project}/targets/{target}/",
        "/projects/{project}/events/{event}/erase/", "/projects/{project}/events/{event}/replay/",
        "/projects/{project}/deliveries/{delivery}/resend/", "/projects/{project}/jobs/",
        "/projects/{project}/deliveries/cancel/", "/projects/{project}/jobs/{job}/",
        "/projects/{project}/jobs/{job}/cancel/", "/projects/{project}/webhooks/{id}/recover/",
        "/projects/{project}/events/{event}/", "/projects/{project}/deliveries/",
        "/projects/{project}/deliveries/{delivery}/",
        "/projects/{project}/deliveries/{delivery}/explain/",
        "/projects/{project}/deliveries/{delivery}/attempts/1/request/",
        "/projects/{project}/deliveries/stream/",
        "/projects/{project}/webhooks/{id}/secret/rotate/"],
    "/projects/{id or public key}/keys/": ["/projects/{project}/keys/"],
    "/projects/{id or public key}/keys/{key}/": ["/projects/{project}/keys/{key}/"],
    "/operator/tokens/": ["/operator/tokens/"],
    "/operator/tokens/{id}/": ["/operator/tokens/1/"],
    "/metrics": ["/metrics"],
    "/api/v1/projects/{id or public key}/webhooks/incoming": [
        "/api/v1/projects/{project}/webhooks/incoming"],
    "/api/v1/projects/{id or public key}/webhooks": [
        "/api/v1/projects/{project}/webhooks", "/api/v1/projects/{project}/webhooks.json"],
    "/api/v1/projects/{id or public key}/webhooks/{wh-… or id}": [
        "/api/v1/projects/{project}/webhooks/{id}", "/api/v1/projects/{project}/webhooks/{id}.json"],
    "/listen/": ["/listen/"],
    "/stats/": ["/stats/"],
    "/openapi.json": None,
}
# Where Alice alone has a webhook, and where nobody has.
HER_TARGET, NO_TARGET = "http://127.0.0.1:9", "http://127.0.0.1:8"
NO_EVENT, NO_DELIVERY, NO_JOB = (kind + "_" + "0" * 26 for kind in ("evt", "dlv", "job"))
# Kinds of webhooks: how Alice makes them in our own view. JSON:API's are made by its own API too.
KINDS = [{"event": "file.uploaded", "version": version} for version in ("0.5", "0.6", "0.7")]
KINDS += [{"event": "file.stored", "is_active": False}, {"event": "order.paid"},
          {"event": "file.deleted", "burst": 3}]


class Attack:
    """One request, and the same about something that does not exist."""

    def __init__(self, method, path, innocent, headers, body):
        self.method = method
        self.path = path
        self.innocent = innocent
        self.headers = headers
        self.body = body

    def __str__(self):
        told = {name: value for name, value in self.headers.items() if name != "Content-Type"}
        return "%s %s %s" % (self.method, self.path, told)


def call(port, project, method, path, fields=None, accept=JSON, headers=None):
    """One request of a project's owner."""
    body = b"" if fields is None else json.dumps(fields).encode()
    head = {**wire.simple(*project[1:]), "Accept": accept, "Content-Type": JSON, **(headers or {})}
    if path.startswith("/api/"):
        head.update(wire.bearer(project[2]))
    return wire.request(port, method, path, head, body)


def make_webhooks(port, project, receiver, name):
    """One webhook of each kind and state; answers with their ids and canaries."""
    ids, canaries = [], []
    for number, kind in enumerate(KINDS):
        mark = "%s%dcanary" % (name, number)
        fields = {"target_url": receiver.url("/%s/%s" % (name, mark)), "signing_secret": mark + "s",
                  "headers": {"X-Canary": mark + "h"}, **kind}
        answer = call(port, project, "POST", "/webhooks/", fields)
        if answer.status != 201:
            raise AssertionError("%r: %r" % (kind, answer))
        ids.append(str(answer.json()["id"]))
        canaries += [mark]
    paused = call(port, project, "POST", "/webhooks/%s/pause/" % ids[2])
    if paused.status != 200:
        raise AssertionError(repr(paused))
    for events in (["file.created", "order.paid"], ["group.created"]):
        mark = "%sj%scanary" % (name, events[0][0])
        fields = {"target_url": receiver.url("/%s/%s" % (name, mark)), "events": events}
        answer = call(port, project, "POST", "/api/v1/projects/%s/webhooks" % project[1], fields)
        resource = answer.json()["data"]
        ids.append(resource["id"])
        canaries += [mark, resource["id"], resource["attributes"]["signing_secret"]]
    for one in call(port, project, "GET", "/webhooks/").json():
        if str(one["id"]) not in ids:
            ids.append(str(one["id"]))
    return ids, canaries


def credentials(method, path, body):
    """What Mallory can send: her own proof, alone and mixed with Alice's public key, or none."""
    _, mine, secret = MALLORY
    hers = ALICE[1]
    yield "own simple", wire.simple(mine, secret)
    yield "own bearer", wire.bearer(secret)
    yield "own signed", wire.signed(method, path, body, JSON, None, "Date", mine, secret)
    yield "her key, own secret", wire.simple(hers, secret)
    yield "her key, own signature", wire.signed(method, path, body, JSON, None, "Date", hers, secret)
    yield "her public key as the secret", wire.bearer(hers)
    yield "nothing", {}


def target_id(origin):
    """The id of a target in paths."""
    return "tgt_" + base64.urlsafe_b64encode(origin.encode()).decode().rstrip("=")


def key_id(key):
    """The id of a secret key in paths."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def attacks(rng, ids, hers, body):
    """Every path with every name of Alice's (`hers` are an event, a delivery and a job), each with every method and proof, in an order and a view
    of chance."""
    every = []
    for template in itertools.chain.from_iterable(paths for paths in PATHS.values() if paths):
        projects = (ALICE[0], ALICE[1], MALLORY[0], MALLORY[1]) if "{project}" in template else (0,)
        names = ids if "{id}" in template else ("",)
        for project, name in itertools.product(projects, names):
            # A path that names nothing of Alice's is no attack.
            if project in MALLORY and not name and not any(
                    part in template for part in ("{target}", *hers)):
                continue
            stand_in = project if project in MALLORY else NOBODY[project == ALICE[1]]
            fill = lambda of, one, rest: functools.reduce(  # noqa: E731
                lambda text, pair: text.replace(*pair),
                {"{project}": str(of), "{id}": one, **rest}.items(), template)
            path = fill(project, name, {**hers, "{target}": target_id(HER_TARGET),
                                        "{key}": key_id(ALICE[2])})
            innocent = fill(stand_in, NO_WEBHOOK[name.startswith("wh-")],
                            {"{event}": NO_EVENT, "{delivery}": NO_DELIVERY, "{job}": NO_JOB,
                             "{target}": target_id(NO_TARGET), "{key}": "00000000"})
            every += [(method, path, innocent) for method in METHODS]
    rng.shuffle(every)
    for method, path, innocent in every:
        sent = body if method in ("POST", "PUT", "PATCH", "DELETE") else b""
        for one, other in zip(credentials(method, path, sent), credentials(method, innocent, sent)):
            more = {"Accept": rng.choice(ACCEPTS), "Content-Type": JSON}
            yield Attack(method, path, innocent, {**one[1], **more}, sent), {**other[1], **more}


def judge(report, port, attack, other_headers, canaries):
    """Refused, without a byte of Alice's, and exactly as for what does not exist."""
    answer = wire.request(port, attack.method, attack.path, attack.headers, attack.body)
    allow = answer.headers.get("allow", "")
    unknown_method = answer.status == 405 and attack.method not in allow.split(", ")
    options = attack.method == "OPTIONS" and (answer.status, answer.body) == (204, b"")
    refused = answer.status in (401, 403, 404) or unknown_method or options
    report.check("refused: %s" % attack, refused, answer)
    whole = repr(comparable(answer)).encode()
    leaked = [canary for canary in canaries if canary.encode() in whole]
    report.check("no leak: %s" % attack, not leaked, (leaked, answer))
    twin = wire.request(port, attack.method, attack.innocent, other_headers, attack.body)
    report.check("as if it were not there: %s" % attack, comparable(answer) == comparable(twin),
                 (answer, twin))


def comparable(answer):
    """All of an answer but what is the request's own: when it was, and its name in the log."""
    ignored = ("date", "x-request-id")
    headers = sorted((k, v) for k, v in answer.headers.items() if k not in ignored)
    return answer.status, headers, answer.body


def own_lists(report, port, canaries):
    """What Mallory may see of her own holds nothing of Alice's."""
    for path, accept in itertools.product(
            ("/webhooks/", "/project/", "/targets/", "/events/", "/deliveries/", "/api/v1/projects/%s/webhooks?items=100" % MALLORY[1]), ACCEPTS):
        answer = call(port, MALLORY, "GET", path, accept=accept)
        report.equal("own %s as %s" % (path, accept), answer.status, 200)
        leaked = [canary for canary in canaries if canary.encode() in answer.body]
        report.check("nothing of hers in %s as %s" % (path, accept), not leaked, leaked)
    for project in (ALICE[0], ALICE[1]):
        answer = call(port, MALLORY, "GET", "/webhooks/?project=%s&pub_key=%s" % (project, project))
        leaked = [canary for canary in canaries if canary.encode() in answer.body]
        report.check("a query names no other project", not leaked, leaked)


def shared_target(report, port, receiver):
    """A target that both point to: each sees its own share, and nobody sets it."""
    path = "/targets/%s/" % target_id(receiver.url("").rstrip("/"))
    counts = {}
    for name, project in (("Mallory", MALLORY), ("Alice", ALICE)):
        own = call(port, project, "GET", "/webhooks/").json()
        counts[name] = sum(one["target_url"].startswith(receiver.url("")) for one in own)
        report.equal(name + " sees her own webhooks",
                     call(port, project, "GET", path).json()["webhooks"], counts[name])
        listed = call(port, project, "GET", "/targets/").json()["results"]
        report.equal(name + " sees them in the list", [one["webhooks"] for one in listed
                     if one["target"] == receiver.url("").rstrip("/")], [counts[name]])
        paused = call(port, project, "POST", path, {"paused": True})
        report.equal(name + " can't pause it", paused.status, 403)
        report.equal("and it goes on", call(port, project, "GET", path).json()["state"], "active")


def unsubscribes(report, port, urls):
    """Unsubscribing from Alice's targets is quietly nothing."""
    for url, method in itertools.product(urls, ("POST", "DELETE")):
        answer = call(port, MALLORY, method, "/webhooks/unsubscribe/", {"target_url": url})
        report.equal("unsubscribe from " + url, (answer.status, answer.body), (204, b""))


def publishes(report, port, receiver, data):
    """Events of Mallory's reach her webhooks alone, whatever they claim; keys do not meet."""
    names = sorted({kind["event"] for kind in KINDS} | {"file.created", "group.created"})
    fields = {"data": data, "project": ALICE[0], "pub_key": ALICE[1], "project_id": ALICE[0]}
    key = {"Idempotency-Key": "the-same-key"}
    hers = call(port, ALICE, "POST", "/events/", {"event": "order.paid", "data": {}}, headers=key)
    report.equal("Alice publishes", hers.status, 202)
    # Two of this event, and the test before.
    receiver.wait(lambda all_: len([d for d in all_ if d.path.startswith("/alice")]) >= 3, SECONDS_MAX)
    before = len([d for d in receiver.deliveries if d.path.startswith("/alice")])
    same = call(port, MALLORY, "POST", "/events/", {"event": "order.paid", "data": {}}, headers=key)
    report.equal("her idempotency key is another's", same.status, 202)
    report.check("and another event", same.json() != hers.json(), same)
    for name in names:
        answer = call(port, MALLORY, "POST", "/events/", {"event": name, **fields})
        if answer.status != 202:  # unknown fields may be refused: then nothing is published
            report.equal("refused: " + name, answer.status, 400)
            answer = call(port, MALLORY, "POST", "/events/", {"event": name, "data": data})
        report.equal("published: " + name, answer.status, 202)
    mine = lambda all_: [d for d in all_ if d.path.startswith("/mallory")]  # noqa: E731
    report.check("her own are delivered", receiver.wait(lambda all_: len(mine(all_)) >= 5, SECONDS_MAX))
    after = len([d for d in receiver.deliveries if d.path.startswith("/alice")])
    report.equal("none of it reached Alice", after, before)
    crossed = [d for d in mine(receiver.deliveries)
               if b"alice" in d.body or ALICE[1].encode() in d.body]
    report.equal("none of hers reached Mallory", crossed, [])


def routes_are_known(report):
    """Every path that the table of routes documents is tried."""
    text = ROUTES.read_text()
    table = text[text.index("pub enum Route {"):]
    documented = re.findall(r"^    /// `(/[^`]*)`", table[:table.index("\n}\n")], re.M)
    report.check("the table of routes is read", len(documented) >= 14, documented)
    for path in documented:
        report.check("attacks know " + path, path in PATHS, "add it to PATHS")


def main(report, seed):
    """Both projects, all attacks, and a look at whether Alice has noticed anything."""
    rng = random.Random(seed)
    receiver = Receiver()
    daemon = Daemon("isolation", projects=[MALLORY, ALICE]).start()
    port = daemon.port
    try:
        routes_are_known(report)
        ids, canaries = make_webhooks(port, ALICE, receiver, "alice")
        make_webhooks(port, MALLORY, receiver, "mallory")
        canaries += ["project %d" % ALICE[0], str(ALICE[0]), ALICE[1], ALICE[2]]
        listed = lambda: (  # noqa: E731
            call(port, ALICE, "GET", "/webhooks/").body,
            call(port, ALICE, "GET", "/api/v1/projects/%s/webhooks" % ALICE[1]).body)
        hers = call(port, ALICE, "POST", "/webhooks/",
                    {"target_url": HER_TARGET + "/alone", "event": "only.hers"})
        report.equal("Alice's own target", hers.status, 201)
        ids.append(str(hers.json()["id"]))
        call(port, ALICE, "POST", "/webhooks/%s/secret/rotate/" % ids[0])
        event = call(port, ALICE, "POST", "/events/",
                     {"event": "nobody.listens", "data": {"mark": "alicepayloadcanary"}}).json()["id"]
        call(port, ALICE, "POST", "/events/",
             {"event": "only.hers", "data": {"mark": "alicepayloadcanary"}})
        delivery = call(port, ALICE, "GET", "/deliveries/?event=only.hers").json()["results"][0]["id"]
        job = call(port, ALICE, "POST", "/deliveries/resend/", {"event": "nobody.sends"})
        hers = {"{event}": event, "{delivery}": delivery, "{job}": job.json()["job"]["id"]}
        canaries += ["alicepayloadcanary", *hers.values(), HER_TARGET, target_id(HER_TARGET)]
        before = listed()
        body = json.dumps({"webhook": {"target_url": receiver.url("/mallory/x"), "events": ["a"]},
                           "target_url": receiver.url("/mallory/x"), "event": "file.stored",
                           "is_active": True, "data": {}, "project": ALICE[1],
                           "listener": "127.0.0.1:9", "each_event": "file.stored"}).encode()
        for attack, other in attacks(rng, ids, hers, body):
            judge(report, port, attack, other, canaries)
        own_lists(report, port, canaries)
        shared_target(report, port, receiver)
        urls = [one["target_url"] for one in json.loads(before[0])]
        unsubscribes(report, port, urls)
        publishes(report, port, receiver, {"mark": "mallory"})
        report.equal("Alice's webhooks are as they were", listed(), before)
        log = daemon.log()
        report.check("no secret key in the log", ALICE[2] not in log and MALLORY[2] not in log)
        report.equal("it stops with 0", daemon.terminate()[0], 0)
    finally:
        receiver.close()
        daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    number = int(os.environ.get("POSTRIDER_SEED", "1"))
    suite = Report("cross-project isolation, seed %d" % number, quiet=True)
    suite.run(lambda: main(suite, number))
    suite.close()
