"""`kill -9` in the middle of jobs: nothing selected is left out, and nothing is done twice.

Owns the rounds and the judgement. Each delivery has to be sent again exactly once in each round:
its attempts are counted by the daemon, and an attempt that a kill cut off does not count. Must never
excuse a count that differs.
"""

import collections
import json
import random
import time

from harness import wire
from harness.daemon import Daemon
from harness.receiver import Receiver

EVENTS = 2400
EVENTS_PER_REQUEST = 100
ROUNDS = 10
IN_FLIGHT = 64
KILLED_AFTER_SECONDS_MAX = 0.25
POLL_SECONDS = 0.02
SECONDS_MAX = 120
EPOCH = "2020-01-01T00:00:00Z"


class Scene:
    """A daemon, a webhook, and what arrives in a round."""

    def __init__(self, name):
        self.receiver = Receiver()
        self.daemon = Daemon(name).start()
        fields = {"target_url": self.receiver.url(), "event": "file.uploaded",
                  "in_flight": IN_FLIGHT}
        self.webhook = self.call("POST", "/webhooks/", fields).json()["id"]
        self.kills = 0

    def call(self, method, path, fields=None):
        """One request with a JSON body, in our own view."""
        body = b"" if fields is None else json.dumps(fields).encode()
        head = {**wire.simple(), "Accept": wire.JSON, "Content-Type": wire.JSON}
        return wire.request(self.daemon.port, method, path, head, body)

    def publish(self, count):
        """So many events, each accepted."""
        for start in range(0, count, EVENTS_PER_REQUEST):
            events = [{"event": "file.uploaded", "data": {"n": n}}
                      for n in range(start, start + EVENTS_PER_REQUEST)]
            answer = self.call("POST", "/events/", events)
            if answer.status != 202:
                raise RuntimeError("publish: %r" % answer)

    def kill_and_start(self):
        """`kill -9`, and a new process."""
        self.daemon.kill()
        self.kills += 1
        self.daemon.start()

    def until(self, ask, holds):
        """Asks until the answer is what it has to come to; answers with it, or with the last."""
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            answer = ask()
            if holds(answer) or time.monotonic() > deadline:
                return answer
            time.sleep(POLL_SECONDS)

    def close(self, failed):
        """Ends both."""
        self.daemon.close(keep=failed)
        self.receiver.close()


def settled(scene, count):
    """Waits until so many deliveries stand as delivered; answers with how many do."""
    trial = {"status": "delivered", "dry_run": True}
    ask = lambda: scene.call("POST", "/deliveries/resend/", trial).json()["matched"]  # noqa: E731
    return scene.until(ask, lambda matched: matched == count)


def judge(report, name, scene, number, ids):
    """Each delivery was sent again once: it has one attempt more, and it arrived."""
    report.equal("%s: all are delivered" % name, settled(scene, len(ids)), len(ids))
    last = collections.defaultdict(int)
    for one in list(scene.receiver.deliveries):
        attempt = int(one.headers["postrider-attempt"])
        last[one.headers["webhook-id"]] = max(last[one.headers["webhook-id"]], attempt)
    report.equal("%s: the same deliveries" % name, set(last), ids)
    wrong = {one: attempt for one, attempt in last.items() if attempt != number}
    report.check("%s: each was sent again exactly once" % name, not wrong,
                 "%d were not, e.g. %s" % (len(wrong), sorted(wrong.items())[:5]))


def again(report, name, seed, path, fields, rounds):
    """A job over all deliveries in each round, killed somewhere in it."""
    chance = random.Random(seed)
    scene = Scene(name)
    try:
        scene.publish(EVENTS)
        scene.receiver.wait(lambda all_: len(all_) >= EVENTS, SECONDS_MAX)
        settled(scene, EVENTS)
        ids = {one.headers["webhook-id"] for one in list(scene.receiver.deliveries)}
        report.equal("%s: all arrive at first" % name, len(ids), EVENTS)
        cut = 0
        # How long a job takes is the machine's affair: a kill that comes after its end has the next
        # one come sooner.
        window = KILLED_AFTER_SECONDS_MAX
        for number in range(rounds):
            what = "%s, round %d" % (name, number)
            begun = scene.call("POST", path % {"webhook": scene.webhook}, fields)
            if not report.equal("%s: begun" % what, begun.status, 202):
                return
            place = "/jobs/%s/" % begun.json()["job"]["id"]
            time.sleep(chance.random() * window)  # the random moment itself
            scene.kill_and_start()
            was_cut = scene.call("GET", place).json()["state"] == "running"
            cut += was_cut
            window = window if was_cut else window / 2
            job = scene.until(lambda place=place: scene.call("GET", place).json(),
                              lambda job: job["state"] != "running")
            report.equal("%s: the job is done, with exact counts" % what,
                         [job[key] for key in ("state", "matched", "done", "skipped")],
                         ["done", EVENTS, EVENTS, 0])
            judge(report, what, scene, number + 2, ids)
        report.check("%s: kills hit running jobs" % name, cut > 0, cut)
        repeats = len(scene.receiver.deliveries) - EVENTS * (rounds + 1)
        print("# %s: %d kills, %d in a running job, %d arrivals more than asked for"
              % (name, scene.kills, cut, repeats), flush=True)
        # What was under way or not yet on disk at a kill comes again, and nothing else.
        report.check("%s: no more repeats than kills explain" % name,
                     0 <= repeats <= rounds * EVENTS // 2, repeats)
    finally:
        scene.close(report.failed > 0)


def jobs(report, seed, rounds):
    """Bulk resends and recoveries, each killed in the middle."""
    again(report, "resend", seed, "/deliveries/resend/",
          {"status": "delivered", "event": "file.uploaded"}, rounds)
    again(report, "recover", seed + 1, "/webhooks/%(webhook)d/recover/",
          {"since": EPOCH, "only": "all"}, rounds)
