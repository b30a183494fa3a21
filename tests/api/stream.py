"""The live feed of deliveries, as a dashboard and the command line follow it.

Owns judging `/deliveries/stream/`: what it tells, how a client goes on, and what ends it. Must never
wait for a time to pass: every wait is for an event of the stream, a comment or an exit.
"""

import signal
import time

from api.scene import SECONDS_MAX, Project, keys, receiving
from harness import wire
from harness.daemon import Daemon
from harness.sse import Stream

PATH = "/deliveries/stream/"
POLL_SECONDS = 0.01
FLOOD_BATCH, FLOOD_BATCHES = 500, 24


def follow(project, query="", last=None, **rest):
    """Opens a stream with the project's key."""
    head = {**wire.simple(project.public, project.secret), "Accept": "text/event-stream"}
    if last:
        head["Last-Event-ID"] = last
    return Stream(project.daemon.port, PATH + query, head, **rest)


def daemon_with(name, **server):
    """A daemon of its own, with settings of `[server]`."""
    daemon = Daemon(name, server=server, projects=[keys(0), keys(1)]).start()
    return daemon, Project(daemon, *keys(0)), Project(daemon, *keys(1))


def tells(report, stage):
    """Each change of a delivery, in order, with what is known of it."""
    project = stage.project()
    codes = iter([503])
    with receiving(lambda _: next(codes, 200)) as target:
        hook = project.subscribe(target.url())
        with follow(project) as stream:
            report.equal("200", stream.status, 200)
            report.equal("the type", stream.headers["content-type"], "text/event-stream")
            report.equal("no cache", stream.headers["cache-control"], "no-store")
            report.equal("no proxy's buffer", stream.headers["x-accel-buffering"], "no")
            event = project.accepted()
            new, tried = stream.take(2)
            report.equal("accepted", new.name, "delivery.pending")
            first = new.json()
            report.equal("its fields", sorted(first), sorted([
                "id", "event_id", "event", "webhook", "target", "status", "reason", "attempts",
                "last_code", "last_failure", "next_attempt_at", "at"]))
            report.equal("the event's id", first["event_id"], event["id"])
            report.equal("its name", first["event"], "file.uploaded")
            report.equal("the webhook", first["webhook"], hook["id"])
            report.equal("the target", first["target"], target.url("").rstrip("/"))
            report.check("the delivery's id", first["id"].startswith("dlv_"), first)
            report.equal("attempted", tried.name, "delivery.attempt")
            second = tried.json()
            report.equal("the same delivery", second["id"], first["id"])
            report.equal("what came of it", (second["status"], second["attempts"],
                         second["last_code"], second["last_failure"]), ("pending", 1, 503, None))
            report.check("when the next one is", second["next_attempt_at"] > second["at"], second)
            report.equal("what is told is so",
                         target.deliveries[0].headers["webhook-id"], first["id"])
            project.call("PUT", "/webhooks/%d/" % hook["id"], {"is_active": False}, accept="own")
            ended = stream.next()
            report.equal("all that wait end at once", ended.name, "deliveries.cancelled")
            report.equal("how", (ended.json()["webhook"], ended.json()["reason"]),
                         (hook["id"], "inactive"))
            project.call("PUT", "/webhooks/%d/" % hook["id"], {"is_active": True}, accept="own")
            project.accepted()
            names = [one.name for one in stream.take(2)]
            report.equal("delivered", names, ["delivery.pending", "delivery.delivered"])
    refused = project.subscribe("http://127.0.0.1:9/", event="order.paid")
    with follow(project, "?webhook=%d" % refused["id"]) as stream:
        project.accepted("order.paid")
        _, tried = stream.take(2)
        report.equal("a failure has its name", tried.json()["last_failure"], "connect_refused")


def resumes(report, stage):
    """Whoever comes back sees every id once, however often it goes."""
    project = stage.project()
    with receiving() as target:
        hook = project.subscribe(target.url())
        seen, last = [], None
        with follow(project) as stream:
            report.check("it says where it is at once", stream.beat() and stream.last_id)
            last = stream.last_id
        wanted = 0
        for count in (1, 3, 20):
            for _ in range(count):
                project.accepted()
            wanted += 2 * count
            while len(seen) < wanted:
                with follow(project, last=last) as stream:
                    for event in stream.take(min(3, wanted - len(seen))):
                        seen.append(event)
                        last = event.id
        numbers = [int(event.id.split("-")[1]) for event in seen]
        report.equal("each number once, in order", numbers,
                     list(range(numbers[0], numbers[0] + wanted)))
        report.check("no gap", all(event.name != "gap" for event in seen))
        ended = [event.json()["id"] for event in seen if event.name == "delivery.delivered"]
        report.equal("each delivery ended once", sorted(ended),
                     sorted({event.json()["id"] for event in seen}))
        with follow(project, "?last_event_id=" + seen[0].id) as stream:
            report.equal("the query does as well", stream.next().id, seen[1].id)
        report.equal("the webhook is the one", {event.json()["webhook"] for event in seen},
                     {hook["id"]})


def filters(report, stage):
    """By webhook, status and event's name; what is not known is refused."""
    project, stranger = stage.project(), stage.project()
    with receiving() as target:
        one = project.subscribe(target.url("/one"))
        two = project.subscribe(target.url("/two"), event="order.paid")
        theirs = stranger.subscribe(target.url("/three"))
        streams = {name: follow(project, query) for name, query in (
            ("webhook", "?webhook=%d" % two["id"]), ("status", "?status=delivered"),
            ("event", "?event=file.uploaded&status=delivered"))}
        project.accepted()
        project.accepted("order.paid")
        report.equal("one webhook's", [one.json()["event"] for one in streams["webhook"].take(2)],
                     ["order.paid"] * 2)
        names = [(event.name, event.json()["webhook"]) for event in streams["status"].take(2)]
        report.equal("one status", sorted(names), sorted(
            [("delivery.delivered", one["id"]), ("delivery.delivered", two["id"])]))
        report.equal("one event's", streams["event"].next().json()["webhook"], one["id"])
        for stream in streams.values():
            stream.close()
        ask = lambda query: project.call("GET", PATH + query)  # noqa: E731
        for query, status in (("?webhook=%d" % theirs["id"], 404), ("?webhook=x", 404),
                              ("?webhook=2147483647", 404), ("?status=done", 400),
                              ("?event=a%20b", 400), ("?until=x", 400),
                              ("?last_event_id=7", 400)):
            report.equal("refused: " + query, ask(query).status, status)
        bad = project.call("GET", PATH, headers={"Last-Event-ID": "7"})
        report.equal("a Last-Event-ID that is none", bad.status, 400)
        report.check("names itself", "Last-Event-ID" in bad.json(), bad)
        report.equal("HEAD", project.call("HEAD", PATH).status, 200)
        report.equal("POST", project.call("POST", PATH).status, 405)


def apart(report, stage):
    """A project's stream tells nothing of another, not even that something happened."""
    one, other = stage.project(), stage.project()
    with receiving() as target:
        one.subscribe(target.url("/one"))
        other.subscribe(target.url("/other"))
        with follow(other) as stream, follow(one) as own:
            for _ in range(5):
                one.accepted()
            own.take(10)
            other.accepted()
            first = stream.next()
            report.equal("its own is the first", first.json()["target"],
                         target.url("").rstrip("/"))
            report.equal("and has the first number", first.id.split("-")[1], "1")
            position = own.last_id
        with follow(other, last=position) as stream:
            gap = stream.next()
            report.equal("another's position is no key to anything", gap.name, "gap")
            report.check("what follows is its own", all(
                event.json()["webhook"] == first.json()["webhook"] for event in stream.take(2)))
        operator = wire.request(other.daemon.port, "GET", "/projects/%d%s" % (other.id, PATH),
                                wire.bearer(one.secret))
        report.equal("the operator's way is the operator's", operator.status, 401)


def gaps(report, _):
    """Who comes back too late, or to another process, is told once, and goes on."""
    daemon, project, noise = daemon_with("gaps", stream_changes_max="20")
    try:
        with receiving() as target:
            project.subscribe(target.url())
            noise.subscribe(target.url("/noise"))
            with follow(project) as stream:
                project.accepted()
                first, _ = stream.take(2)
                for _ in range(30):
                    project.accepted()
                stream.until(lambda event: event.id.endswith("-62"))
            with follow(project, last=first.id) as stream:
                seen = stream.take(21)
                report.equal("a gap first", seen[0].name, "gap")
                report.equal("what is known of it", seen[0].json(),
                             {"after": first.id, "upto": seen[0].id, "missed": 41})
                numbers = [int(event.id.split("-")[1]) for event in seen]
                report.equal("then all that is kept", numbers, list(range(42, 63)))
            with follow(project, last=seen[0].id) as stream:
                report.equal("the gap's id goes on behind it", stream.next().id, seen[1].id)
            with follow(noise) as stream:
                for _ in range(30):
                    noise.accepted()
                stream.until(lambda event: event.id.endswith("-60"))
            with follow(project, last=seen[-1].id) as stream:
                project.accepted()
                report.equal("others' changes are no gap", stream.next().name, "delivery.pending")
                last = stream.next().id
            report.equal("it stops with 0", daemon.terminate()[0], 0)
            daemon.start()
            with follow(project, last=last) as stream:
                gap = stream.next()
                report.equal("after a restart: a gap", gap.name, "gap")
                report.equal("of unknown size", gap.json()["missed"], None)
                project.accepted()
                after = stream.take(2)
                report.check("then it goes on", all(event.name != "gap" for event in after), after)
            report.check("no id comes again", gap.id.split("-")[0] != last.split("-")[0], gap)
    finally:
        daemon.close(keep=report.failed > 0)


def bounded(report, _):
    """So many streams, and no more; one that ends makes room, and beats say that it is alive."""
    daemon, project, _other = daemon_with("streams", streams_max="2", stream_heartbeat='"100ms"')
    try:
        with follow(project) as one, follow(project) as two:
            report.check("both beat", one.beat(3) and two.beat(3))
            third = project.call("GET", PATH)
            report.equal("a third is refused", third.status, 503)
            report.check("with a time", int(third.headers["retry-after"]) > 0, third)
            report.check("and the setting's name", "streams_max" in third.json()["detail"], third)
        deadline = time.monotonic() + SECONDS_MAX
        stream = follow(project)
        while stream.status != 200 and time.monotonic() < deadline:
            stream.close()
            time.sleep(POLL_SECONDS)
            stream = follow(project)
        report.equal("one that has gone makes room", stream.status, 200)
        stream.close()
    finally:
        daemon.close(keep=report.failed > 0)


def beats_move(report, _):
    """A filter that lets nothing through is no reason for a gap: beats say where the stream is."""
    daemon, project, _other = daemon_with("beats", stream_changes_max="20",
                                          stream_heartbeat='"100ms"')
    try:
        with receiving() as target:
            project.subscribe(target.url())
            with follow(project, "?status=cancelled") as stream:
                for _ in range(30):
                    project.accepted()
                deadline = time.monotonic() + SECONDS_MAX
                while not (stream.last_id or "").endswith("-60") and time.monotonic() < deadline:
                    stream.beat()
                last = stream.last_id
            report.check("it was told where it is", last.endswith("-60"), last)
            with follow(project, last=last) as stream:
                project.accepted()
                report.equal("no gap", stream.next().name, "delivery.pending")
    finally:
        daemon.close(keep=report.failed > 0)


def flood(report, project):
    """Changes that cost no delivery: of a paused webhook. More than a connection takes unread."""
    hook = project.subscribe("http://127.0.0.1:9/flood")
    project.act(hook["id"], "pause")
    batch = [{"event": "file.uploaded", "data": {}}] * FLOOD_BATCH
    answers = [project.call("POST", "/events/", batch).status for _ in range(FLOOD_BATCHES)]
    report.equal("published", set(answers), {202})
    return FLOOD_BATCH * FLOOD_BATCHES


def drains(report, _):
    """A stop ends every stream with a hint, and waits for none: neither idle nor stalled."""
    daemon, project, _other = daemon_with("drains", drain_timeout='"60s"')
    try:
        stalled = follow(project, receive_bytes=4096)
        with follow(project) as stream:
            report.check("it is there", stream.beat())
            last = "-%d" % flood(report, project)
            seen = stream.until(lambda event: event.id.endswith(last))
            report.check("no gap for who reads", all(event.name != "gap" for event in seen))
            before = stream.comments
            daemon.process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            report.equal("a regular end", stream.next(), None)
            report.check("a hint before it", stream.comments > before and stream.retry)
            report.equal("it ends with 0", daemon.process.wait(timeout=SECONDS_MAX), 0)
            took = time.monotonic() - started
            report.check("without waiting for who reads nothing", took < 20, took)
        stalled.close()
    finally:
        daemon.close(keep=report.failed > 0)


def slow(report, _):
    """A client that reads nothing for a while holds nothing up and is told what it missed."""
    daemon, project, _other = daemon_with("slow", stream_changes_max="100")
    try:
        with follow(project, receive_bytes=4096) as stream:
            report.check("it is there", stream.beat())
            count = flood(report, project)
            seen = stream.until(lambda event: event.id.endswith("-%d" % count))
            number, whole = 0, True
            for event in seen:
                if event.name == "gap":
                    whole &= event.json()["after"].endswith("-%d" % number)
                    number += event.json()["missed"]
                else:
                    number += 1
                whole &= event.id.endswith("-%d" % number)
            report.check("gaps and events make the whole", whole and number == count, number)
            report.check("there is a gap", any(event.name == "gap" for event in seen))
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (tells, resumes, filters, apart, gaps, bounded, beats_move, drains, slow)
