"""`kill -9` at random moments under load and in jobs, SIGTERM, and two daemons on one directory.

Owns the rounds and the judgement: everything acknowledged arrives; nothing repeats but what a
kill explains; a batch is accepted whole or not at all. Must never excuse a repeat without a kill.
Usage: run.py [ROUNDS]. Environment: POSTRIDER_BINARY, POSTRIDER_SEED.
"""

import collections
import json
import os
import random
import subprocess
import sys
import threading
import time

from api import rotation
from crash import jobs
from crash.load import Books, Publishers
from harness import wire
from harness.daemon import Daemon, free_port
from harness.receiver import Receiver
from harness.report import Report

ROUNDS = 30
# A round of a job takes longer; 10 are many, and 100 of 1,000 rounds.
ROUNDS_PER_JOB_ROUND = 10
PATHS = ["/a", "/b", "/c"]
# What a crash may repeat: attempts in flight and outcomes of the last 200 ms, which the receiver
# sees earlier by as long as its answer takes to be read; a second leaves room for a slow machine.
EXPLAINED_SECONDS_MAX = 1.0
# A request of a killed daemon may still lie in a socket's buffer when the receiver reads it.
LATE_SECONDS_MAX = 0.3
NO_PROGRESS_SECONDS_MAX = 100  # longer than the first retry's minute
ANSWER_SECONDS_MAX = 0.02
DRAIN_SECONDS_MAX = 5
DRAIN = {"drain_timeout": '"%ds"' % DRAIN_SECONDS_MAX}


class Scene:
    """A daemon with webhooks to a receiver that keeps the books."""

    def __init__(self, name, answer=None):
        self.books = Books(PATHS)
        self.kills = []
        self.receiver = Receiver(lambda delivery: self._answer(delivery, answer))
        self.daemon = Daemon(name, server=DRAIN).start()
        for path in PATHS:
            body = json.dumps({"target_url": self.receiver.url(path), "event": "file.uploaded"})
            headers = {**wire.simple(), "Accept": wire.ACCEPT["0.7"], "Content-Type": wire.JSON}
            made = wire.request(self.daemon.port, "POST", "/webhooks/", headers, body.encode())
            if made.status != 201:
                raise RuntimeError("create: %r" % made)

    def _answer(self, delivery, answer):
        status = answer(delivery) if answer else 200
        if status == 200:
            self.books.arrived(number_of(delivery), delivery.path)
        return status

    def kill(self):
        """`kill -9`, with its moment in the books."""
        self.daemon.kill()
        self.kills.append(time.monotonic())

    def close(self, failed):
        """Ends both."""
        self.daemon.close(keep=failed)
        self.receiver.close()


def number_of(delivery):
    """The number that a publisher gave the event."""
    return json.loads(delivery.body)["data"]["n"]


def judge(report, name, scene):
    """What was lost, what was repeated without reason, what was mixed up or torn."""
    lost = scene.books.wait_all_arrived(NO_PROGRESS_SECONDS_MAX)
    count = len(scene.books.acknowledged)
    report.check("%s: 0 of %d acknowledged events lost" % (name, count), count > 0 and not lost,
                 "%d deliveries lost, e.g. %s" % (len(lost), sorted(lost)[:5]))
    by_id, by_place = collections.defaultdict(list), collections.defaultdict(set)
    for delivery in list(scene.receiver.deliveries):
        by_id[delivery.headers["webhook-id"]].append(delivery)
        by_place[number_of(delivery), delivery.path].add(delivery.headers["webhook-id"])
    mixed = [place for place, ids in by_place.items() if len(ids) != 1]
    report.equal("%s: one webhook-id for each event and webhook" % name, mixed, [])
    wrong = [d for all_ in by_id.values() for d in all_
             if scene.books.acknowledged.get(number_of(d), d.headers["postrider-event"])
             != d.headers["postrider-event"]]
    report.equal("%s: each carries the id that its publisher was told" % name, wrong, [])
    repeats, odd = 0, []
    for number, all_ in by_id.items():
        for first, second in zip(all_, all_[1:]):
            repeats += 1
            if not explained(first, second, scene.kills):
                odd.append((number, first.at, second.at))
    report.check("%s: %d repeats in %d deliveries, each explained by a kill"
                 % (name, repeats, len(by_place)), not odd, odd[:5])
    torn = [numbers for numbers in scene.books.unknown
            if len({(n, p) in scene.books.early for n in numbers for p in PATHS}) != 1]
    report.equal("%s: unanswered batches are whole or absent" % name, torn, [])


def explained(first, second, kills):
    """Whether a kill came between the two, soon enough after the first was answered."""
    done = first.answered_at or first.at
    return any(-LATE_SECONDS_MAX <= kill - done <= EXPLAINED_SECONDS_MAX and kill <= second.at
               for kill in kills)


def kills(report, seed, rounds):
    """The rounds: most kills fall under load, some into the start itself."""
    chance = random.Random(seed)
    lag = random.Random(seed + 1)

    def answer(_):
        time.sleep(lag.random() * ANSWER_SECONDS_MAX)  # so that attempts are in flight
        return 200

    scene = Scene("crash", answer)
    publishers = Publishers(scene.daemon.port, scene.books, seed)
    try:
        for number in range(rounds):
            acknowledged = len(scene.books.acknowledged)
            during_start = chance.random() < 0.25
            # Some rounds are long, so that a repeat without reason has room to be told from one
            # that the kill explains.
            longest = 0.15 if during_start else chance.choice([0.6, 0.6, 0.6, 2.5])
            moment = chance.random() * longest
            if number == 0:
                during_start = False
            elif during_start:
                scene.daemon.spawn()
            else:
                scene.daemon.start()
            if not during_start:
                under_load = scene.books.wait_acknowledged(acknowledged + 20, 30)
                if not report.check("round %d: under load" % number, under_load):
                    return
            time.sleep(moment)  # the random moment itself
            scene.kill()
            place = "the start" if during_start else "load"
            print("# round %d: killed %.3f s into %s, %d acknowledged"
                  % (number, moment, place, len(scene.books.acknowledged)), flush=True)
        publishers.stop()
        scene.daemon.start()
        judge(report, "%d kills" % rounds, scene)
        report.equal("then it stops with 0", scene.daemon.terminate()[0], 0)
    finally:
        publishers.stop()
        scene.close(report.failed > 0)


def drains(report, seed, rounds=5):
    """SIGTERM under load: exit 0 in time, nothing lost, nothing repeated."""
    def answer(_):
        time.sleep(0.1)  # attempts are in flight at the signal
        return 200

    scene = Scene("drain", answer)
    try:
        for number in range(rounds):
            if number > 0:
                scene.daemon.start()
            publishers = Publishers(scene.daemon.port, scene.books, seed + number)
            try:
                count = len(scene.books.acknowledged)
                report.check("drain %d: under load" % number,
                             scene.books.wait_acknowledged(count + 50, 30))
                code, seconds = scene.daemon.terminate()
            finally:
                publishers.stop()
            report.equal("drain %d: exit code" % number, code, 0)
            report.check("drain %d: in time" % number, seconds <= DRAIN_SECONDS_MAX + 2, seconds)
        scene.daemon.start()
        judge(report, "%d drains" % rounds, scene)
    finally:
        scene.close(report.failed > 0)


def hanging_drain(report, seed):
    """SIGTERM while the target hangs: it still ends in time, and returns what was in flight."""
    release = threading.Event()

    def answer(_):
        if release.is_set():
            return 200
        release.wait(60)
        return 503  # nobody reads this one: its daemon is gone

    scene = Scene("hang", answer)
    publishers = Publishers(scene.daemon.port, scene.books, seed)
    try:
        loaded = scene.books.wait_acknowledged(50, 30)
        report.check("hanging target: under load", loaded)
        code, seconds = scene.daemon.terminate()
        ended = time.monotonic()
        report.equal("hanging target: exit code", code, 0)
        report.check("hanging target: in time", seconds <= DRAIN_SECONDS_MAX + 3, seconds)
        publishers.stop()
        release.set()
        scene.kills.append(ended)  # what hung may come again, nothing else
        scene.daemon.start()
        judge(report, "hanging target", scene)
    finally:
        release.set()
        publishers.stop()
        scene.close(report.failed > 0)


def two_daemons(report):
    """The second daemon on a directory says so and ends with 75; the first is untouched."""
    daemon = Daemon("twice").start()
    try:
        for number in range(3):
            command = daemon.command()
            command[command.index("--listen") + 1] = "127.0.0.1:%d" % free_port()
            second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=30, cwd=daemon.home,
                                    env=daemon.environment())
            report.equal("second daemon %d: exit code" % number, second.returncode, 75)
            said = second.stdout + second.stderr
            report.check("second daemon %d: names the directory" % number,
                         str(daemon.data) in said, said)
        report.equal("the first goes on", daemon.get_status("/readyz"), 200)
        report.equal("and stops with 0", daemon.terminate()[0], 0)
    finally:
        daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    suite_seed = int(os.environ.get("POSTRIDER_SEED", "1"))
    suite_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    suite = Report("crashes: %d rounds, seed %d" % (suite_rounds, suite_seed))
    suite.run(lambda: two_daemons(suite))
    suite.run(lambda: drains(suite, suite_seed))
    suite.run(lambda: hanging_drain(suite, suite_seed))
    job_rounds = max(jobs.ROUNDS, suite_rounds // ROUNDS_PER_JOB_ROUND)
    suite.run(lambda: jobs.jobs(suite, suite_seed, job_rounds))
    if job_rounds > rotation.ROUNDS:  # so many, the API's own suite makes
        suite.run(lambda: rotation.killed(suite, None, job_rounds))
    suite.run(lambda: kills(suite, suite_seed, suite_rounds))
    suite.close()
