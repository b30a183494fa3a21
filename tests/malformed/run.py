"""Malformed requests against the release binary.

Owns sending every case and judging its answer: a 4xx as documented, a JSON body, no 5xx, no hang
(the socket's timeout is a failure), no secret or payload in the log, and nothing made by any of
it. Must never loosen what `cases.py` expects. Environment: POSTRIDER_BINARY, POSTRIDER_SEED.
"""

import concurrent.futures
import json
import os
import socket

from harness import wire
from harness.daemon import Daemon
from harness.report import Report
from malformed.cases import CANARY, generate, mutations

CASES_MIN = 150
MUTATIONS = 500
AT_ONCE = 8
# The one sound webhook; nobody listens there.
OWN = b'{"target_url":"http://127.0.0.1:9/own","event":"file.uploaded"}'
# Short, so that what is cut off is told so well before the socket's timeout.
TIMEOUTS = {"header_timeout": '"2s"', "body_timeout": '"2s"'}


def judge(report, case, port):
    """Sends one case and checks what came back."""
    try:
        answer = wire.exchange(port, case.raw)
    except socket.timeout:
        return report.check(case.name + ": answered in time", False, "it hangs")
    except (ConnectionResetError, ValueError, IndexError) as error:
        return report.check(case.name + ": an HTTP answer", case.may_close, repr(error))
    if answer is None:
        return report.check(case.name + ": an answer", case.may_close, "closed without one")
    if not report.check(case.name, answer.status in case.statuses,
                        "%r, wanted %s" % (answer, sorted(case.statuses)[:8])):
        return False
    if case.allow:
        allowed = [method.strip() for method in answer.headers.get("allow", "").split(",")]
        report.check(case.name + ": Allow", allowed != [""] and case.allow not in allowed, answer)
    if case.json_body:
        return report.check(case.name + ": a JSON body", is_error(answer), answer)
    return True


def judge_all(report, cases, port):
    """Sends all of them, several at once: what is cut off waits for a timeout of the daemon."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(judge, report, case, port) for case in cases]:
            done.result()


def is_error(answer):
    """An object of Uploadcare's two error shapes, under a JSON content type."""
    try:
        shown = json.loads(answer.body)
    except ValueError:
        return False
    kind = answer.headers.get("content-type", "")
    if not isinstance(shown, dict) or not shown or not kind.endswith("json"):
        return False
    if "detail" in shown:
        return isinstance(shown["detail"], str) and shown["detail"] != ""
    return all(isinstance(told, list) and told and all(isinstance(text, str) and text for text in told)
               for told in shown.values())


def webhooks(port):
    """The project's webhooks, as our own view lists them."""
    headers = {**wire.simple(), "Accept": wire.JSON}
    return wire.request(port, "GET", "/webhooks/", headers).json()


def throttling(report):
    """Failed authentication is limited for each client: 429 with whole seconds."""
    daemon = Daemon("throttle", server={"auth_failures_per_minute": "5"}).start()
    try:
        wrong = wire.simple(secret=CANARY)
        answers = [wire.request(daemon.port, "GET", "/webhooks/", wrong) for _ in range(20)]
        report.equal("first a 401", answers[0].status, 401)
        last = answers[-1]
        report.equal("then a 429", last.status, 429)
        report.check("Retry-After in seconds", last.headers.get("retry-after", "").isdigit(), last)
        report.check("429 has a JSON body", is_error(last), last)
        report.check("and says so", "throttled" in last.body.decode().lower(), last)
        report.check("no secret in the log", CANARY not in daemon.log())
    finally:
        daemon.close(keep=report.failed > 0)


def main(report, seed):
    """All cases, then the mutations, then what the daemon kept of them."""
    daemon = Daemon("malformed", server=TIMEOUTS).start()
    try:
        made = wire.request(daemon.port, "POST", "/webhooks/",
                            {**wire.simple(), "Content-Type": wire.JSON},
                            OWN)
        before = webhooks(daemon.port)
        cases = generate(made.json()["id"])
        documented = sum(1 for case in cases if case.json_body)
        report.check("%d cases with a JSON answer" % documented, documented >= CASES_MIN)
        judge_all(report, cases, daemon.port)
        report.equal("nothing was made or changed", webhooks(daemon.port), before)
        judge_all(report, mutations(made.json()["id"], seed, MUTATIONS), daemon.port)
        report.equal("the daemon is ready after all of it", daemon.get_status("/readyz"), 200)
        log = daemon.log()
        report.check("no canary in the log", CANARY not in log, first_line(log, CANARY))
        report.check("no secret key in the log", wire.SECRET_KEY not in log)
        report.equal("it stops with 0", daemon.terminate()[0], 0)
    finally:
        daemon.close(keep=report.failed > 0)


def first_line(text, part):
    """The first line that holds `part`."""
    return next((line for line in text.splitlines() if part in line), "")


if __name__ == "__main__":
    number = int(os.environ.get("POSTRIDER_SEED", "1"))
    suite = Report("malformed requests, seed %d" % number, quiet=True)
    suite.run(lambda: main(suite, number))
    suite.run(lambda: throttling(suite))
    suite.close()
