"""The change of a signing secret, in two phases, on every signing scheme.

Owns judging which secret signs which header in which phase, and that a daemon killed in the middle
of a step has made it, or has not. Must never look into the store.
"""

import base64
import hashlib
import hmac
import json
import threading
import time

from api.scene import SECRET, SECONDS_MAX, Project, keys, receiving
from harness.daemon import Daemon

NEXT = "vXJ0c2VjcmV0IG5leHQgb25lIGhlcmUh"
THIRD = "third secret"
ROUNDS = 10
MOMENTS = 20
POLL_SECONDS = 0.02
# Which header each format has, beside webhook-signature.
FORMATS = {"uploadcare": "x-uc-signature", "lancer": "x-signature", "standard": "x-uc-signature",
           "cloudevents": "x-uc-signature", "jsonapi": "x-uc-signature"}
EVENTS = {"lancer": "FILE_UPLOAD", "jsonapi": "file.created"}


def standard(secret, delivery):
    """One signature of Standard Webhooks, made anew."""
    try:
        key = base64.b64decode(secret, validate=True)
        key = key if 24 <= len(key) <= 64 else secret.encode()
    except ValueError:
        key = secret.encode()
    text = "%s.%s." % (delivery.headers["webhook-id"], delivery.headers["webhook-timestamp"])
    digest = hmac.new(key, text.encode() + delivery.body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def single(secret, header, delivery):
    """The one signature that Uploadcare's and Lancer's headers hold, made anew."""
    body = delivery.body
    if header == "x-signature":
        body = delivery.headers["x-timestamp"].encode() + b"." + body
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return digest if header == "x-signature" else "v1=" + digest


def step(project, number, name, fields=None):
    """One step; answers with the response."""
    path = "/webhooks/%d/secret/%s/" % (number, name)
    return project.call("POST", path, fields, accept="own")


def signed_by(report, name, project, target, number, header, own, both):
    """A test delivery is signed by `own` alone, or in webhook-signature by `both`."""
    before = len(target.deliveries)
    report.equal(name + ": delivered", project.act(number, "test").json()["delivered"], True)
    delivery = target.deliveries[before]
    report.equal(name + ": " + header, delivery.headers[header], single(own, header, delivery))
    report.equal(name + ": webhook-signature", delivery.headers["webhook-signature"].split(" "),
                 [standard(secret, delivery) for secret in both])


def phases(report, stage):
    """Staged, promoted, finished; and aborted from both phases."""
    project = stage.project()
    with receiving() as target:
        for name, header in FORMATS.items():
            made = project.subscribe(target.url("/" + name), EVENTS.get(name, "file.uploaded"),
                                     format=name, signing_secret=SECRET)
            number = made["id"]
            judge = lambda what, own, both: signed_by(  # noqa: E731
                report, "%s, %s" % (name, what), project, target, number, header, own, both)
            judge("before", SECRET, [SECRET])
            staged = step(project, number, "rotate", {"signing_secret": NEXT})
            report.equal("%s: staged" % name, (staged.status, staged.json()["next_secret"],
                                               staged.json()["webhook"]["rotation"]["phase"]),
                         (200, NEXT, "staged"))
            judge("staged", SECRET, [SECRET, NEXT])
            promoted = step(project, number, "promote").json()
            report.equal("%s: promoted" % name, promoted["webhook"]["rotation"]["phase"], "promoted")
            report.check("%s: and the old one is not shown" % name,
                         SECRET not in json.dumps(promoted), promoted)
            judge("promoted", NEXT, [NEXT, SECRET])
            report.equal("%s: promoted again" % name, step(project, number, "promote").status, 200)
            judge("promoted again", NEXT, [NEXT, SECRET])
            report.equal("%s: finished" % name,
                         step(project, number, "finish").json()["webhook"]["rotation"], None)
            judge("finished", NEXT, [NEXT])
            step(project, number, "rotate", {"signing_secret": THIRD})
            report.equal("%s: aborted" % name,
                         step(project, number, "abort").json()["webhook"]["rotation"], None)
            judge("aborted", NEXT, [NEXT])
            step(project, number, "rotate", {"signing_secret": THIRD})
            step(project, number, "promote")
            report.equal("%s: aborted late" % name, step(project, number, "abort").status, 200)
            judge("aborted late", NEXT, [NEXT])


def refusals(report, stage):
    """Steps that do not follow, and fields that can't be."""
    project = stage.project()
    made = project.subscribe("http://nowhere.invalid/", signing_secret=SECRET)
    number = made["id"]
    for name in ("promote", "finish", "abort"):
        answer = step(project, number, name)
        report.equal("%s without a rotation: 409" % name, answer.status, 409)
    for fields, field in (({"signing_secret": ""}, "signing_secret"),
                          ({"signing_secret": "x" * 33}, "signing_secret"),
                          ({"signing_secret": 7}, "signing_secret"),
                          ({"overlap_seconds": -1}, "overlap_seconds"),
                          ({"promote_after_seconds": "soon"}, "promote_after_seconds"),
                          ({"promote_after_seconds": 2_592_001}, "promote_after_seconds"),
                          ({"secret": "x"}, "secret")):
        answer = step(project, number, "rotate", fields)
        report.equal("%r: 400 that names it" % fields, (answer.status, list(answer.json())),
                     (400, [field]))
    report.equal("the same secret: 409",
                 step(project, number, "rotate", {"signing_secret": SECRET}).status, 409)
    begun = step(project, number, "rotate").json()
    report.check("a random one is 32 characters", len(begun["next_secret"]) == 32, begun)
    report.check("and shown for the libraries too",
                 base64.b64decode(begun["next_secret_standard"].removeprefix("whsec_"))
                 == base64.b64decode(begun["next_secret"]), begun)
    report.check("it is shown once", begun["next_secret"] not in
                 project.call("GET", "/webhooks/", accept="own").body.decode())
    again = step(project, number, "rotate")
    report.check("two at once: 409", again.status == 409 and "abort" in again.json()["detail"], again)
    report.equal("finish before promote: 409", step(project, number, "finish").status, 409)
    report.equal("Uploadcare's view shows the current one",
                 project.webhook(number, "0.7")["signing_secret"], SECRET)
    changed = project.call("PUT", "/webhooks/%d/" % number, {"signing_secret": SECRET}, "0.7")
    report.equal("an update with the same secret is none",
                 (changed.status, project.webhook(number)["rotation"]["phase"]), (200, "staged"))
    project.call("PUT", "/webhooks/%d/" % number, {"signing_secret": THIRD}, "0.7")
    report.equal("another secret ends it", project.webhook(number)["rotation"], None)
    report.equal("no such webhook: 404", step(project, 2_000_000_000, "rotate").status, 404)
    report.equal("no such step: 404", step(project, number, "frobnicate").status, 404)
    bare = project.subscribe("http://nowhere.invalid/", "file.stored")
    first = step(project, bare["id"], "rotate", {"signing_secret": SECRET}).json()
    report.equal("a first secret is staged too", first["webhook"]["rotation"]["phase"], "staged")
    report.equal("and needs no overlap",
                 step(project, bare["id"], "promote").json()["webhook"]["rotation"], None)


def by_itself(report, stage):
    """Promotion and end at their times."""
    project = stage.project()
    number = project.subscribe("http://nowhere.invalid/", signing_secret=SECRET)["id"]
    times = {"signing_secret": NEXT, "promote_after_seconds": 0, "overlap_seconds": 1}
    step(project, number, "rotate", times)
    deadline = time.monotonic() + SECONDS_MAX
    while project.webhook(number)["rotation"] and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    shown = project.webhook(number)
    report.equal("it is over by itself", (shown["rotation"], shown["signing_secret"]), (None, NEXT))


def killed(report, _, rounds=ROUNDS):
    """`kill -9` in the middle of each step: it was made, or it was not, and what was answered was."""
    daemon = Daemon("rotation", projects=[keys(0)]).start()
    project = Project(daemon, *keys(0))
    try:
        with receiving() as target:
            number = project.subscribe(target.url(), signing_secret=SECRET)["id"]
            own = SECRET
            for round_ in range(rounds):
                other = "secret of round %d" % round_
                own = killed_in_steps(report, daemon, project, target, number, round_, own, other)
    finally:
        daemon.close(keep=report.failed > 0)


def killed_in_steps(report, daemon, project, target, number, round_, own, other):
    """One rotation, the daemon killed at another moment of each of its steps."""
    begin = {"signing_secret": other}
    # What signs alone, and what signs webhook-signature, before and after each step.
    before, staged, promoted, after = ((own, [own]), (own, [own, other]), (other, [other, own]),
                                       (other, [other]))
    for name, fields, states in (("rotate", begin, (before, staged)),
                                 ("promote", None, (staged, promoted)),
                                 ("finish", None, (promoted, after))):
        answered = []

        def ask(name=name, fields=fields, answered=answered):
            try:
                answer = step(project, number, name, fields)
            except OSError:
                return  # killed
            if answer:
                answered.append(answer.status)

        asker = threading.Thread(target=ask)
        asker.start()
        time.sleep(0.003 * (round_ % MOMENTS))
        daemon.kill()
        asker.join()
        daemon.start()
        title = "round %d, %s" % (round_, name)
        seen = state_of(project, target, number, own, other)
        report.check(title + ": before or after, never between", seen in states, (seen, states))
        if answered == [200]:
            report.equal(title + ": what was answered holds", seen, states[1])
        if seen == states[0]:
            report.equal(title + ": asked again", step(project, number, name, fields).status, 200)
    return other


def state_of(project, target, number, own, other):
    """Which secret signs alone, and which sign webhook-signature, by a delivery."""
    count = len(target.deliveries)
    project.act(number, "test")
    target.wait(lambda all_: len(all_) > count, SECONDS_MAX)
    delivery = target.deliveries[-1]
    alone = [one for one in (own, other)
             if single(one, "x-uc-signature", delivery) == delivery.headers["x-uc-signature"]]
    names = {standard(one, delivery): one for one in (own, other)}
    both = [names.get(one) for one in delivery.headers["webhook-signature"].split(" ")]
    return (alone[0] if alone else None), both


PARTS = (phases, refusals, by_itself, killed)
