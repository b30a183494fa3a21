"""Lists of events and deliveries, one of each, and what targets and webhooks tell of theirs.

Owns judging rows, filters and pages. Must never rely on when a page is read: others publish at the
same time.
"""

import base64
import threading
import urllib.parse

from api.operator import Desk
from api.scene import SECONDS_MAX, receiving
from harness.daemon import free_port

STATUSES = ("pending", "delivered", "failed", "cancelled")
NO_EVENT, NO_DELIVERY = "evt_" + "0" * 26, "dlv_" + "0" * 26
ROW = ["id", "event_id", "event", "webhook", "target", "status", "reason", "attempts", "last_code",
       "last_failure", "created_at", "next_attempt_at", "finished_at"]


def get(project, path):
    """The object of a GET in our own view."""
    answer = project.call("GET", path, accept="own")
    if answer.status != 200:
        raise RuntimeError("%s: %r" % (path, answer))
    return answer.json()


def walk(project, path, link="next", between=lambda: None):
    """All rows from here on, page by page."""
    rows, query = [], urllib.parse.urlsplit(path).query
    base = path.split("?")[0]
    while True:
        page = get(project, base + "?" + query if query else base)
        rows += page["results"] if link == "next" else page["results"][::-1]
        between()
        if page[link] is None:
            return rows
        query = page[link][1:]


def settled(project, count, path="/deliveries/"):
    """Waits until so many deliveries have been delivered."""
    for _ in range(SECONDS_MAX * 20):
        rows = [row for row in walk(project, path) if row["status"] == "delivered"]
        if len(rows) >= count:
            return rows
        project.daemon.get_status("/readyz")
        threading.Event().wait(0.05)
    raise RuntimeError("not delivered in time")


def rows_of_deliveries(report, stage):
    """What a row shows, by status; the attempts; the request as it was sent."""
    project = stage.project()
    answers = {"/ok": 204, "/bad": 503}
    with receiving(lambda delivery: answers[delivery.path.split("?")[0]]) as target:
        good = project.subscribe(target.url("/ok"), "order.paid")
        bad = project.subscribe(target.url("/bad"), "order.paid")
        event = project.accepted("order.paid", {"uuid": "x"})
        target.wait(lambda all_: len(all_) >= 2, SECONDS_MAX)
        settled(project, 1)
        for _ in range(SECONDS_MAX * 20):
            rows = get(project, "/deliveries/")["results"]
            if all(row["attempts"] == 1 for row in rows):
                break
            threading.Event().wait(0.05)
        by_hook = {row["webhook"]: row for row in rows}
        report.equal("a row for each webhook", sorted(by_hook), sorted([good["id"], bad["id"]]))
        done, waits = by_hook[good["id"]], by_hook[bad["id"]]
        report.equal("its keys", list(done), ROW)
        origin = target.url("").rstrip("/")
        report.equal("delivered", [done[key] for key in (
            "event_id", "event", "target", "status", "reason", "attempts", "last_code",
            "last_failure", "next_attempt_at")],
            [event["id"], "order.paid", origin, "delivered", None, 1, 204, None, None])
        report.check("it has an end", done["finished_at"] >= done["created_at"], done)
        report.equal("pending", [waits[key] for key in (
            "status", "reason", "attempts", "last_code", "finished_at")],
            ["pending", "server_error", 1, 503, None])
        report.check("and a next attempt", waits["next_attempt_at"] > waits["created_at"], waits)
        sent = {one.path: one for one in target.deliveries}
        report.equal("the id is webhook-id", done["id"], sent["/ok"].headers["webhook-id"])
        one = get(project, "/deliveries/%s/" % waits["id"])
        report.equal("one is its row", {key: one[key] for key in ROW}, waits)
        log = one["attempts_log"]
        report.equal("its attempt", [(at["number"], at["code"], at["verdict"], at["reason"],
                                      at["next_why"]) for at in log],
                     [(1, 503, "retry", "server_error", "slot")])
        report.equal("where it went", log[0]["address"], "127.0.0.1:%d" % target.port)
        report.equal("when next", log[0]["next_attempt_at"], waits["next_attempt_at"])
        report.check("its phases", log[0]["phases"]["total_ms"] >= 0, log)
        report.equal("its answer", log[0]["response"]["body"], "")
        request = get(project, "/deliveries/%s/attempts/1/request/" % done["id"])
        body = request["body"].encode()
        if request["body_encoding"] == "base64":
            body = base64.b64decode(request["body"])
        report.equal("the request: where", (request["method"], request["url"]),
                     ("POST", target.url("/ok")))
        report.equal("the request: its body", body, sent["/ok"].body)
        report.check("the request: exact", request["is_exact"] is True, request)
        shown = {header["name"]: header["value"] for header in request["headers"]}
        for name in ("webhook-id", "postrider-attempt", "content-type", "host"):
            report.equal("the request: " + name, shown.get(name), sent["/ok"].headers[name])
        missing = project.call("GET", "/deliveries/%s/attempts/2/request/" % done["id"])
        report.equal("no such attempt", missing.status, 404)


def rows_of_events(report, stage):
    """What an event shows, its deliveries by status, and what is left of one that was erased."""
    project = stage.project()
    with receiving() as target:
        project.subscribe(target.url("/a"))
        project.subscribe(target.url("/b"))
        event = project.accepted(data={"uuid": "u-1", "size": 5},
                                 occurred_at="2026-01-02T03:04:05Z",
                                 file="http://files.example/u-1")["id"]
        other = project.accepted("nobody.listens", {"a": 1})["id"]
        settled(project, 2)
        listed = get(project, "/events/")["results"]
        report.equal("newest first", [row["id"] for row in listed], [other, event])
        row = listed[1]
        report.equal("a row", [row[key] for key in (
            "event", "kind", "dialect", "source", "subject", "occurred_at", "erased_at")],
            ["file.uploaded", "file.uploaded", "uploadcare", "events", "u-1",
             "2026-01-02T03:04:05.000000Z", None])
        counts = {"pending": 0, "delivered": 2, "failed": 0, "cancelled": 0, "is_more": False}
        report.equal("its deliveries", row["deliveries"], counts)
        report.equal("nobody's", listed[0]["deliveries"], {**counts, "delivered": 0})
        whole = get(project, "/events/%s/" % event)
        report.equal("the whole of it", [whole[key] for key in ("data", "file", "previous_values")],
                     [{"uuid": "u-1", "size": 5}, "http://files.example/u-1", None])
        report.equal("with its deliveries", [one["status"] for one in whole["delivery_list"]],
                     ["delivered", "delivered"])
        project.call("POST", "/events/%s/erase/" % event)
        left = get(project, "/events/%s/" % event)
        report.check("erased", left["erased_at"] is not None, left)
        gone = {"data", "file", "initiator", "previous_values", "idempotency_key"} & set(left)
        report.equal("nothing of it is shown", gone, set())
        first = get(project, "/deliveries/?event=" + event)["results"][0]["id"]
        answer = project.call("GET", "/deliveries/%s/attempts/1/request/" % first)
        report.equal("nor its request", (answer.status, answer.json()),
                     (410, {"detail": "The event was erased."}))
        report.equal("by name", [row["id"] for row in get(
            project, "/events/?event=nobody.listens")["results"]], [other])
        report.equal("by source", get(project, "/events/?source=tusd")["results"], [])


def filters(report, stage):
    """Each filter shows what it says; a bad one is told by name, value and what is allowed."""
    project = stage.project()
    with receiving(lambda one: int(one.path.split("/")[1])) as target, receiving() as other:
        hooks = {name: project.subscribe(at.url(path), event, format="standard")["id"]
                 for name, at, path, event in [
                     ("ok", target, "/200/", "a.b"), ("bad", target, "/404/", "a.b"),
                     ("worse", target, "/500/", "c.d"), ("far", other, "/hook", "c.d")]}
        down = project.subscribe("http://127.0.0.1:%d/" % free_port(), "e.f")["id"]
        events = {name: project.accepted(name, {})["id"] for name in ("a.b", "c.d", "e.f")}
        for _ in range(SECONDS_MAX * 20):
            rows = get(project, "/deliveries/")["results"]
            if len(rows) == 5 and all(row["attempts"] == 1 for row in rows):
                break
            threading.Event().wait(0.05)
        middle = next(row for row in rows if row["event"] == "c.d")["created_at"]
        origin = target.url("").rstrip("/")
        far = next(row for row in get(project, "/targets/")["results"]
                   if row["target"] == other.url("").rstrip("/"))["id"]
        public = project.webhook(hooks["ok"])
        names = {v: k for k, v in hooks.items()} | {down: "down"}
        for query, wanted in [
                ("status=delivered", {"ok", "far"}), ("status=pending", {"bad", "worse", "down"}),
                ("status=failed", set()), ("webhook=%d" % hooks["bad"], {"bad"}),
                ("event=a.b", {"ok", "bad"}), ("event=" + events["c.d"], {"worse", "far"}),
                ("event=" + NO_EVENT, set()), ("target=" + origin, {"ok", "bad", "worse"}),
                ("target=" + far, {"far"}), ("target=http://127.0.0.1:1", set()),
                ("code=500", {"worse"}), ("code=2xx", {"ok", "far"}), ("code=4xx", {"bad"}),
                ("code=none", {"down"}), ("code=none&status=delivered", set()),
                ("since=" + middle, {"worse", "far", "down"}), ("until=" + middle, {"ok", "bad"}),
                ("event=a.b&code=404&status=pending&webhook=%d" % hooks["bad"], {"bad"}),
                ("status=", {"ok", "bad", "worse", "far", "down"}),
                ("webhook=%d" % 2147483647, set())]:
            for per_page in ("", "&per_page=1"):
                rows = walk(project, "/deliveries/?" + query + per_page)
                report.equal("%s%s" % (query, per_page), sorted(names[row["webhook"]] for row in rows),
                             sorted(wanted))
        report.check("the webhook is the project's", public["id"] == hooks["ok"])
        for path, name, value, says in [
                ("/deliveries/", "status", "waiting", "pending, delivered, failed, cancelled"),
                ("/deliveries/", "webhook", "x7", "id of a webhook"),
                ("/deliveries/", "event", "a b", "evt_"), ("/deliveries/", "target", "x", "scheme"),
                ("/deliveries/", "code", "6xx", "5xx"), ("/deliveries/", "code", "20", "5xx"),
                ("/deliveries/", "since", "yesterday", "RFC 3339"),
                ("/deliveries/", "until", "1", "RFC 3339"),
                ("/deliveries/", "per_page", "0", "1 to 1000"),
                ("/deliveries/", "per_page", "1001", "1 to 1000"),
                ("/deliveries/", "per_page", "ten", "1 to 1000"),
                ("/deliveries/", "after", "evt_1", "dlv_"), ("/deliveries/", "colour", "red", "Known"),
                ("/events/", "after", NO_DELIVERY, "evt_"), ("/events/", "source", "mail", "tusd"),
                ("/events/", "event", "a b", "event name"), ("/events/", "status", "failed", "Known")]:
            answer = project.call("GET", "%s?%s=%s" % (path, name, urllib.parse.quote(value)))
            told = answer.json()
            report.equal("%s=%s: 400 that names it" % (name, value),
                         (answer.status, list(told)), (400, [name]))
            text = " ".join(told.get(name, []))
            report.check("%s=%s: what is allowed" % (name, value), says in text, text)
            report.check("%s=%s: the value" % (name, value), value in text or "Known" in text, text)
        both = project.call("GET", "/deliveries/?after=%s&before=%s" % (NO_DELIVERY, NO_DELIVERY))
        report.equal("after and before", (both.status, list(both.json())), (400, ["before"]))
        twice = project.call("GET", "/deliveries/?code=200&code=404")
        report.equal("a filter twice", (twice.status, list(twice.json())), (400, ["code"]))
        until = project.call("GET", "/deliveries/?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z")
        report.equal("until before since", (until.status, list(until.json())), (400, ["until"]))


def pages_while_rows_come_and_go(report, stage):
    """Page by page, in both directions, while others publish and settle: no row twice, and none
    left out that was there all the time."""
    project = stage.project()
    with receiving() as target:
        hook = project.subscribe(target.url("/now"), "order.paid", in_flight=8)
        project.subscribe("http://127.0.0.1:%d/" % free_port(), "order.held")
        held = project.subscribe(target.url("/held"), "order.held")
        project.act(held["id"], "pause")
        for _ in range(40):
            project.accepted("order.held", {})
        there = [row["id"] for row in walk(project, "/deliveries/?webhook=%d" % held["id"])]
        report.equal("there from the start", len(there), 40)
        stop, count = threading.Event(), [0]

        def publish():
            while not stop.is_set():
                project.accepted("order.paid", {})
                count[0] += 1

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            for query in ("per_page=3", "per_page=3&status=pending", "per_page=3&event=order.held",
                          "per_page=7&webhook=%d" % held["id"]):
                rows = [row["id"] for row in walk(project, "/deliveries/?" + query)]
                report.equal("%s: none twice" % query, len(rows), len(set(rows)))
                report.equal("%s: newest first" % query, rows, sorted(rows, reverse=True))
                report.equal("%s: none left out" % query, set(there) - set(rows), set())
                back = [row["id"] for row in walk(
                    project, "/deliveries/?%s&before=%s" % (query, NO_DELIVERY), "previous")]
                report.equal("%s backwards: none twice" % query, len(back), len(set(back)))
                report.equal("%s backwards: oldest first" % query, back, sorted(back))
                report.equal("%s backwards: none left out" % query, set(there) - set(back), set())
            events = [row["id"] for row in walk(project, "/events/?per_page=5")]
            report.equal("events: none twice", len(events), len(set(events)))
        finally:
            stop.set()
            publisher.join()
        report.check("others published meanwhile", count[0] > 0, count)
        page = get(project, "/deliveries/?per_page=2&webhook=%d" % hook["id"])
        report.equal("a first page has none before it", page["previous"], None)
        second = get(project, "/deliveries/" + page["next"])
        report.check("links keep the filters", "webhook=%d" % hook["id"] in page["next"], page)
        first = get(project, "/deliveries/" + second["previous"])
        report.equal("there and back", first["results"], page["results"])
        report.equal("per_page is told", page["per_page"], 2)


def strangers(report, stage):
    """Another project's ids are not there."""
    one, other = stage.project(), stage.project()
    with receiving() as target:
        made = one.subscribe(target.url())
        event = one.accepted()["id"]
        delivery = settled(one, 1)[0]["id"]
        for path in ("/events/%s/" % event, "/deliveries/%s/" % delivery,
                     "/deliveries/%s/explain/" % delivery,
                     "/deliveries/%s/attempts/1/request/" % delivery):
            report.equal("its own: " + path[:14], one.call("GET", path).status, 200)
            report.equal("a stranger's: " + path[:14], other.call("GET", path).status, 404)
        salted = delivery[:-1] + ("0" if delivery[-1] != "0" else "1")
        report.equal("an id that is guessed", one.call("GET", "/deliveries/%s/" % salted).status, 404)
        for query in ("", "?webhook=%d" % made["id"], "?event=" + event, "?event=file.uploaded",
                      "?target=" + target.url("").rstrip("/")):
            page = get(other, "/deliveries/" + query)
            report.equal("a stranger's list %s" % query.split("=")[0],
                         (page["results"], page["next"]), ([], None))
        one.call("DELETE", "/webhooks/%d/" % made["id"])
        query = "/deliveries/?webhook=%d" % made["id"]
        report.equal("of a webhook that is gone", len(get(one, query)["results"]), 1)
        page = get(other, query)
        report.equal("a stranger's of it", (page["results"], page["next"]), ([], None))


def backlog_and_statistics(report, stage):
    """What waits for a target, by age; what a webhook tells of its deliveries."""
    project = stage.project()
    with receiving() as target:
        made = project.subscribe(target.url())
        project.accepted()
        settled(project, 1)
        figures = project.webhook(made["id"])["statistics"]
        report.equal("a webhook's pending", (figures["pending"], figures["is_more_pending"]),
                     (0, False))
        report.check("its last success", figures["last_success_at"] is not None, figures)
        report.equal("no failure", (figures["last_failure_at"], figures["failing_since"]),
                     (None, None))
        report.check("not in Uploadcare's view", "statistics" not in
                     project.webhook(made["id"], "0.7"))
        project.act(made["id"], "pause")
        for _ in range(3):
            project.accepted()
        report.equal("pending", project.webhook(made["id"])["statistics"]["pending"], 3)
        row = next(row for row in get(project, "/targets/")["results"]
                   if row["target"] == target.url("").rstrip("/"))
        report.equal("by age", list(row["backlog"]),
                     ["5s", "1m", "5m", "1h", "6h", "24h", "72h", "older", "counted", "is_more"])
        report.equal("all of them", (row["backlog"]["counted"], row["backlog"]["is_more"]), (3, False))
        one = get(project, "/targets/%s/" % row["id"])
        report.equal("one target", one["backlog"]["counted"], 3)
        report.check("how others fare is not told", "health" not in one, one)


def operators(report, _):
    """The operator looks at any project, and sees how a target does."""
    with Desk("look") as desk, receiving() as target:
        project = desk.project()
        project.subscribe(target.url())
        event = project.accepted()["id"]
        delivery = settled(project, 1)[0]["id"]
        for path in ("/events/", "/events/%s/" % event, "/deliveries/",
                     "/deliveries/%s/" % delivery, "/deliveries/%s/explain/" % delivery):
            answer = desk.call("GET", "/projects/%d%s" % (project.id, path))
            report.equal("the operator: " + path[:14], answer.status, 200)
            report.equal("as the project: " + path[:14], answer.json(), get(project, path))
        row = desk.call("GET", "/targets/").json()["results"][0]
        report.equal("health", (row["health"]["breaker"], row["health"]["failed_connections"]),
                     ("closed", 0))
        report.check("its last success", row["health"]["last_success_at"] is not None, row)
        report.equal("its backlog", row["backlog"]["counted"], 0)


PARTS = (rows_of_deliveries, rows_of_events, filters, pages_while_rows_come_and_go, strangers,
         backlog_and_statistics, operators)
