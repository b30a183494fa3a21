"""Deliveries again, or no more: one by one, an event at a time, and as jobs.

Owns judging what each route does, refuses and answers. Must never look into the store: what a
delivery came to is told by the receiver, by its number of attempts, and by what can still be done.
"""

import contextlib
import time

from api.scene import SECONDS_MAX, receiving

POLL_SECONDS = 0.02
NO_DELIVERY, NO_EVENT, NO_JOB = ("%s_%s" % (kind, "0" * 26) for kind in ("dlv", "evt", "job"))
EPOCH = "2020-01-01T00:00:00Z"


class Target:
    """A receiver whose answer can be changed."""

    def __init__(self):
        self.status = 200
        self.receiver = None

    @contextlib.contextmanager
    def open(self):
        """For as long as a part takes."""
        with receiving(lambda _: self.status) as self.receiver:
            yield self

    def wait(self, count):
        """The arrivals, when there are so many."""
        self.receiver.wait(lambda all_: len(all_) >= count, SECONDS_MAX)
        return list(self.receiver.deliveries)


def until(ask, holds):
    """Asks until the answer is what it has to come to; answers with it, or with the last one."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        answer = ask()
        if holds(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(POLL_SECONDS)


def act(project, delivery, action):
    """`resend` or `cancel` of one delivery."""
    return project.call("POST", "/deliveries/%s/%s/" % (delivery, action))


def finished_job(project, answer):
    """The job that an answer speaks of, when it does not run any more."""
    path = "/jobs/%s/" % answer.json()["job"]["id"]
    return until(lambda: project.call("GET", path).json(), lambda job: job["state"] != "running")


def switch(project, number, is_active):
    """Makes a webhook inactive, or active again."""
    return project.call("PUT", "/webhooks/%d/" % number, {"is_active": is_active}, "own")


def cancelled_with_webhook(project, number, count):
    """So many events whose deliveries ended as their webhook was made inactive."""
    project.act(number, "pause")
    sent = [project.accepted(data={"n": n})["id"] for n in range(count)]
    switch(project, number, False)
    switch(project, number, True)
    return sent


def single(report, stage):
    """One delivery: cancelled, sent again under its id, and what is refused on the way."""
    project, stranger = stage.project(), stage.project()
    with Target().open() as target:
        target.status = 500
        made = project.subscribe(target.receiver.url())
        project.accepted()
        one = target.wait(1)[0].headers["webhook-id"]
        pending = until(lambda: act(project, one, "resend"), lambda a: a.status == 409)
        report.equal("what is pending is not sent again", pending.status, 409)
        report.check("and its state is named", "pending" in pending.json()["detail"], pending)
        report.equal("another project's is not there", act(stranger, one, "cancel").status, 404)
        report.equal("nor can it be sent again", act(stranger, one, "resend").status, 404)
        # Its attempt may still be under way; then it is counted when it has ended.
        cancelled = act(project, one, "cancel")
        report.equal("cancelled", (cancelled.status, cancelled.json()["status"],
                                   cancelled.json()["reason"], cancelled.json()["webhook"]),
                     (200, "cancelled", "requested", made["id"]))
        again = act(project, one, "cancel")
        report.equal("cancelled again: 409", again.status, 409)
        report.check("its state is named", "cancelled" in again.json()["detail"], again)
        target.status = 200
        resent = until(lambda: act(project, one, "resend"), lambda a: a.status == 200)
        report.equal("sent again", (resent.status, resent.json()["status"], resent.json()["id"]),
                     (200, "pending", one))
        second = target.wait(2)[1]
        report.equal("under its id", second.headers["webhook-id"], one)
        report.equal("attempts are counted on", second.headers["postrider-attempt"], "2")
        ended = until(lambda: act(project, one, "cancel"),
                      lambda a: "delivered" in a.json().get("detail", ""))
        report.equal("what is delivered can't be cancelled", ended.status, 409)
        report.equal("but sent again", act(project, one, "resend").status, 200)
        report.equal("a third time", target.wait(3)[2].headers["postrider-attempt"], "3")
        for path in ("/deliveries/%s/resend/" % NO_DELIVERY, "/deliveries/dlv_1/cancel/"):
            report.equal(path, project.call("POST", path).status, 404)
        report.equal("GET is not known", project.call("GET", "/deliveries/%s/resend/" % one).status,
                     405)


def gone(report, stage):
    """No delivery again without its webhook, or without its event's payload."""
    project = stage.project()
    with Target().open() as target:
        made = project.subscribe(target.receiver.url())
        event = project.accepted()["id"]
        one = target.wait(1)[0].headers["webhook-id"]
        switch(project, made["id"], False)
        refused = until(lambda: act(project, one, "resend"),
                        lambda a: "inactive" in a.json().get("detail", ""))
        report.equal("inactive: 409", refused.status, 409)
        switch(project, made["id"], True)
        report.equal("erased", project.call("POST", "/events/%s/erase/" % event).status, 200)
        report.equal("its delivery: 410", act(project, one, "resend").status, 410)
        replay = project.call("POST", "/events/%s/replay/" % event)
        report.equal("a replay: 410", replay.status, 410)
        project.accepted()
        other = target.wait(2)[1].headers["webhook-id"]
        project.call("DELETE", "/webhooks/%d/" % made["id"])
        refused = until(lambda: act(project, other, "resend"),
                        lambda a: "deleted" in a.json().get("detail", ""))
        report.equal("deleted: 409", refused.status, 409)
        report.equal("it was not reached again", len(target.receiver.deliveries), 2)


def erased_at_once(report, stage):
    """What waits of an erased event ends at once."""
    project = stage.project()
    with Target().open() as target:
        target.status = 500
        project.subscribe(target.receiver.url())
        event = project.accepted()["id"]
        one = target.wait(1)[0].headers["webhook-id"]
        project.call("POST", "/events/%s/erase/" % event)
        ended = until(lambda: act(project, one, "cancel"), lambda a: a.status == 409)
        report.equal("it does not wait", ended.status, 409)
        report.check("it is cancelled", "cancelled" in ended.json()["detail"], ended)


def replays(report, stage):
    """An event once more, to those who subscribe now."""
    project, stranger = stage.project(), stage.project()
    with Target().open() as target:
        first = project.subscribe(target.receiver.url("/one"))
        event = project.accepted()["id"]
        target.wait(1)
        second = project.subscribe(target.receiver.url("/two"))
        path = "/events/%s/replay/" % event
        made = until(lambda: project.call("POST", path), lambda a: a.json()["resent"] == 1)
        report.check("one is sent again", made.json()["resent"] == 1, made)
        arrived = target.wait(3)
        report.check("one is new", {"/one", "/two"} == {one.path for one in arrived}, arrived)
        ids = {one.headers["webhook-id"] for one in arrived if one.path == "/one"}
        report.equal("the old one keeps its id", len(ids), 1)
        only = until(lambda: project.call("POST", path, {"webhook": second["id"]}),
                     lambda a: a.json().get("resent") == 1)
        report.equal("to one alone", only.json(), {"resent": 1, "created": 0, "waiting": 0})
        deaf = project.subscribe(target.receiver.url("/three"), "file.stored")
        refused = project.call("POST", path, {"webhook": deaf["id"]})
        report.equal("who does not subscribe: 409", refused.status, 409)
        for fields, field in (({"webhook": 2147483647}, "webhook"), ({"webhook": "x"}, "webhook"),
                              ({"target": "x"}, "target")):
            refused = project.call("POST", path, fields)
            report.equal("%s: 400" % fields, (refused.status, list(refused.json())), (400, [field]))
        report.equal("another project's: 404", stranger.call("POST", path).status, 404)
        report.equal("none: 404", project.call("POST", "/events/%s/replay/" % NO_EVENT).status, 404)
        report.equal("to another's webhook: 400",
                     stranger.call("POST", path, {"webhook": first["id"]}).status, 404)


def bulk(report, stage):
    """By a filter: tried, done, shown, and for the own project alone."""
    project, stranger = stage.project(), stage.project()
    with Target().open() as target:
        made = project.subscribe(target.receiver.url(), in_flight=16)
        sent = cancelled_with_webhook(project, made["id"], 40)
        fields = {"status": "cancelled", "webhook": made["id"]}
        tried = project.call("POST", "/deliveries/resend/", {**fields, "dry_run": True})
        tried = until(lambda: project.call("POST", "/deliveries/resend/",
                                           {**fields, "dry_run": True}),
                      lambda a: a.json()["matched"] == 40)
        report.equal("tried", (tried.status, tried.json()),
                     (200, {"dry_run": True, "matched": 40, "skipped": 0, "complete": True}))
        report.equal("a trial leaves no job", project.call("GET", "/jobs/").json(), {"results": []})
        report.equal("and sends nothing", len(target.receiver.deliveries), 0)
        begun = project.call("POST", "/deliveries/resend/", fields)
        report.equal("begun", (begun.status, begun.json()["job"]["kind"],
                               begun.json()["job"]["filter"], begun.json()["job"]["who"]),
                     (202, "resend", fields, "project"))
        job = finished_job(project, begun)
        report.equal("done", [job[key] for key in ("state", "matched", "done", "skipped")],
                     ["done", 40, 40, 0])
        arrived = target.wait(40)
        report.equal("each arrives once", sorted(one.headers["postrider-event"] for one in arrived),
                     sorted(sent))
        report.equal("it is in the list", project.call("GET", "/jobs/").json()["results"], [job])
        path = "/jobs/%s/" % job["id"]
        report.equal("not in another's", stranger.call("GET", "/jobs/").json(), {"results": []})
        for method, place in (("GET", path), ("DELETE", path), ("POST", path + "cancel/")):
            report.equal("%s by another: 404" % method, stranger.call(method, place).status, 404)
        for method, place in (("DELETE", path), ("POST", path + "cancel/")):
            ended = project.call(method, place)
            report.equal("%s when it has ended: 409" % method, ended.status, 409)
        report.equal("no such job", project.call("GET", "/jobs/%s/" % NO_JOB).status, 404)
        others = stranger.call("POST", "/deliveries/resend/", {"all": True, "dry_run": True})
        report.equal("another's filter finds none of it", others.json()["matched"], 0)


def cancels(report, stage):
    """What waits, by a filter."""
    project = stage.project()
    with Target().open() as target:
        target.status = 500
        made = project.subscribe(target.receiver.url(), in_flight=16)
        other = project.subscribe(target.receiver.url("/other"), "file.stored", in_flight=16)
        for _ in range(10):
            project.accepted()
            project.accepted("file.stored")
        arrived = target.wait(20)
        begun = project.call("POST", "/deliveries/cancel/", {"event": "file.uploaded"})
        job = finished_job(project, begun)
        report.equal("done", (job["kind"], job["state"], job["matched"], job["done"]),
                     ("cancel", "done", 10, 10))
        ids = {path: sorted({one.headers["webhook-id"] for one in arrived if one.path == path})
               for path in ("/hook", "/other")}
        for one in ids["/hook"]:
            report.equal("it does not wait", act(project, one, "cancel").status, 409)
        report.equal("the others do", act(project, ids["/other"][0], "cancel").status, 200)
        job = finished_job(project, project.call("POST", "/deliveries/cancel/",
                                                 {"webhook": other["id"], "status": "pending"}))
        report.equal("by webhook", job["done"], 9)
        target.status = 200
        tried = until(lambda: project.call("POST", "/deliveries/resend/", {
            "code": 500, "webhook": made["id"], "dry_run": True}),
            lambda a: a.json()["matched"] == 10)
        report.equal("by the code of the last answer", tried.json()["matched"], 10)
        origin = target.receiver.url("").rstrip("/")
        for name, value, matched in (("code", 404, 0), ("code", "5xx", 20), ("code", "4xx", 0),
                                     ("code", "none", 0), ("target", origin, 20),
                                     ("target", "http://127.0.0.1:9", 0), ("since", EPOCH, 20),
                                     ("until", EPOCH, 0), ("event", "file.stored", 10)):
            tried = project.call("POST", "/deliveries/resend/", {name: value, "dry_run": True})
            report.equal("%s %s" % (name, value), tried.json().get("matched"), matched)


def refusals(report, stage):
    """What can't be selected, and the fields that say so."""
    project, stranger = stage.project(), stage.project()
    made = project.subscribe("http://nowhere.invalid/")
    theirs = stranger.subscribe("http://nowhere.invalid/")
    wrong = [({}, "all"), ({"all": False}, "all"), ({"all": 7}, "all"), ({"state": "x"}, "state"),
             ({"status": "pending"}, "status"), ({"status": "lost"}, "status"),
             ({"webhook": theirs["id"]}, "webhook"), ({"webhook": -1}, "webhook"),
             ({"event": "a b"}, "event"), ({"target": "x"}, "target"), ({"code": 99}, "code"),
             ({"code": "x"}, "code"), ({"code": "9xx"}, "code"),
             ({"since": "yesterday"}, "since"), ({"until": 7}, "until"),
             ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "until"),
             ({"all": True, "dry_run": "x"}, "dry_run")]
    for fields, field in wrong:
        answer = project.call("POST", "/deliveries/resend/", fields)
        report.equal("resend %s: 400" % fields, (answer.status, list(answer.json())),
                     (400, [field]))
    answer = project.call("POST", "/deliveries/cancel/", {"status": "failed"})
    report.equal("cancel what failed: 400", (answer.status, list(answer.json())),
                 (400, ["status"]))
    path = "/webhooks/%d/recover/" % made["id"]
    for fields, field in (({}, "since"), ({"since": "x"}, "since"),
                          ({"since": EPOCH, "only": "some"}, "only"),
                          ({"since": EPOCH, "until": EPOCH}, "until"),
                          ({"since": EPOCH, "all": True}, "all")):
        answer = project.call("POST", path, fields, "own")
        report.equal("recover %s: 400" % fields, (answer.status, list(answer.json())),
                     (400, [field]))
    report.equal("recover another's: 404",
                 stranger.call("POST", path, {"since": EPOCH}, "own").status, 404)
    switch(project, made["id"], False)
    answer = project.call("POST", path, {"since": EPOCH}, "own")
    report.equal("recover an inactive one: 409", answer.status, 409)
    report.equal("no job was begun", project.call("GET", "/jobs/").json(), {"results": []})


def recovers(report, stage):
    """What failed, what is missing, and all of it."""
    project = stage.project()
    with Target().open() as target:
        made = project.subscribe(target.receiver.url(), in_flight=16)
        failed = cancelled_with_webhook(project, made["id"], 12)
        late = project.subscribe(target.receiver.url("/late"), in_flight=16)
        path = "/webhooks/%d/recover/" % made["id"]
        ask = lambda place, fields: project.call(  # noqa: E731
            "POST", place, {"since": EPOCH, **fields}, "own")
        tried = until(lambda: ask(path, {"dry_run": True}), lambda a: a.json()["matched"] == 12)
        report.equal("tried", (tried.status, tried.json()["matched"]), (200, 12))
        job = finished_job(project, ask(path, {}))
        report.equal("failed", (job["kind"], job["only"], job["state"], job["done"]),
                     ("recover", "failed", "done", 12))
        target.wait(12)
        path = "/webhooks/%d/recover/" % late["id"]
        report.equal("it has none that failed", ask(path, {"dry_run": True}).json()["matched"], 0)
        job = finished_job(project, ask(path, {"only": "missing"}))
        report.equal("missing", (job["only"], job["state"], job["done"]), ("missing", "done", 12))
        arrived = [one for one in target.wait(24) if one.path == "/late"]
        report.equal("all of them, once", sorted(one.headers["postrider-event"] for one in arrived),
                     sorted(failed))
        job = finished_job(project, ask(path, {"only": "missing"}))
        report.equal("then none is missing", (job["state"], job["matched"]), ("done", 0))
        tried = until(lambda: ask(path, {"only": "all", "dry_run": True}),
                      lambda a: a.json()["matched"] == 12)
        report.equal("all of it again", tried.json()["matched"], 12)


PARTS = (single, gone, erased_at_once, replays, bulk, cancels, refusals, recovers)
