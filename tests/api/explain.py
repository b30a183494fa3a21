"""`/deliveries/{id}/explain/`: each reason that can be had within seconds, for real.

Owns bringing a delivery into each state and judging what is said of it. Must never wait for hours:
what takes them is judged in simulated time, in the program's own tests.
"""

import socket
import ssl
import tempfile
import threading

from api.operator import Desk
from api.scene import SECONDS_MAX, Configured, Project, keys, receiving
from harness.daemon import Daemon, free_port

POLL_SECONDS = 0.05
# A certificate of nobody's, for 127.0.0.1.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgz1FgaxUciO457zKs
UL76W26w9AEQlcgKZswiScUWd32hRANCAATCPn1/bJNxD8uaAz82cNoCv8+MH5AK
/ynkmqNf2lFMmwQg4gV09Lb12wccX/M+oJojecVFxjEX1Y/qCy1ahGe+
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUd5g78s/THCtLEbHTkibAE3myU4cwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjAyMjIwMFoYDzIxMjYxMDI5
MDIyMjAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATCPn1/bJNxD8uaAz82cNoCv8+MH5AK/ynkmqNf2lFMmwQg4gV09Lb1
2wccX/M+oJojecVFxjEX1Y/qCy1ahGe+o2QwYjAdBgNVHQ4EFgQUDEeWHJQ94VpV
UAdv3EsPPZKKLPEwHwYDVR0jBBgwFoAUDEeWHJQ94VpVUAdv3EsPPZKKLPEwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
ICmfcJspi1brNXLc9uk9EthrsHv6+NWER3DXje+AOvG1AiA0kZlALt0En4OUSp/u
9/i5LPM4iIEHrzea2MringMKYA==
-----END CERTIFICATE-----
"""
KEYS = ["id", "status", "reason", "explanation", "next", "next_at", "action", "fields"]


class Wire:
    """A target that answers every connection with the same bytes, over TLS if it is told to."""

    def __init__(self, answer, over_tls=False):
        self._answer, self._tls = answer, None
        if over_tls:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.NamedTemporaryFile("w") as pem:
                pem.write(CERTIFICATE)
                pem.flush()
                self._tls.load_cert_chain(pem.name)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection = self._server.accept()[0]
            except OSError:
                return
            with connection:
                try:
                    if self._tls:
                        connection = self._tls.wrap_socket(connection, server_side=True)
                    connection.settimeout(SECONDS_MAX)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        part = connection.recv(65536)
                        if not part:
                            break
                        head += part
                    connection.sendall(self._answer)
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side hung up

    def close(self):
        """Stops listening."""
        self._server.close()


def down():
    """Where nobody listens, and no other part has tried to reach anybody."""
    return "http://127.0.0.1:%d/" % free_port()


def answer(status, *headers):
    """A whole answer that closes its connection."""
    lines = ["HTTP/1.1 %d X" % status, "Content-Length: 0", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def delivery(project, event):
    """The id of the only delivery of an event."""
    rows = project.call("GET", "/deliveries/?event=" + event, accept="own").json()["results"]
    if len(rows) != 1:
        raise RuntimeError("%d deliveries" % len(rows))
    return rows[0]["id"]


def explained(project, number):
    """What is said of a delivery."""
    return project.call("GET", "/deliveries/%s/explain/" % number, accept="own").json()


def expect(report, project, number, reason, says=(), acts=None, status="pending", **fields):
    """Waits until a delivery is where it is for this reason, and judges what is said of it."""
    told = None
    for _ in range(int(SECONDS_MAX / POLL_SECONDS)):
        told = explained(project, number)
        # A lane may be closed on disk before the outcome that closed it: by 200 ms at most.
        known = told.get("fields") or {}
        if told.get("reason") == reason and all(known.get(key) == fields[key] for key in fields):
            break
        threading.Event().wait(POLL_SECONDS)
    name = reason if isinstance(reason, str) else "/".join(reason)
    report.equal("%s: the reason" % name, told.get("reason"), reason)
    report.equal("%s: the keys" % name, list(told), KEYS)
    report.equal("%s: the status" % name, told.get("status"), status)
    for text in says:
        report.check("%s says %r" % (name, text), text in told["explanation"], told)
    if acts is not None:
        report.check("%s: what to do: %r" % (name, acts), acts in (told["action"] or ""), told)
    seen = {key: told["fields"].get(key) for key in fields}
    report.equal("%s: the fields" % name, seen, fields)
    report.check("%s: what is next" % name, told["next"].endswith("."), told)
    return told


def answers(report, stage):
    """What the target answered, and a retry by the table."""
    for status, reason, says, acts in [
            (500, "retry_server_error", "500", "receiver's log"),
            (404, "retry_client_error", "404", "/deliveries/{id}/"),
            (302, "retry_redirect", "never followed", "target_url"),
            (429, "retry_too_many_requests", "429", "rate_per_second")]:
        project = stage.project()
        with receiving(lambda _, status=status: status) as target:
            project.subscribe(target.url())
            number = delivery(project, project.accepted()["id"])
            told = expect(report, project, number, reason, [says, "ttempt 1"], acts,
                          last_attempt=1, last_code=status, last_failure=None, why_then="slot")
            shown = project.call("GET", "/deliveries/%s/" % number, accept="own").json()
            report.equal("%s: when" % reason, told["next_at"], shown["next_attempt_at"])
            report.equal("%s: in fields" % reason, told["fields"]["at"], told["next_at"])


def silence(report, stage):
    """No answer, and why."""
    closing, plain = Wire(b""), Wire(b"nonsense\r\n\r\n")
    secure = Wire(answer(200), over_tls=True)
    try:
        for url, failures, says, acts in [
                (down(), {"connect_refused"}, "refused the connection", "listens"),
                ("http://nowhere.invalid/", {"dns", "dns_timeout"}, "", "target_url"),
                ("https://127.0.0.1:%d/" % secure.port, {"tls_certificate"}, "certificate", "TLS"),
                ("http://127.0.0.1:%d/" % closing.port, {"connection_closed"}, "closed", "log"),
                ("http://127.0.0.1:%d/" % plain.port, {"response_malformed"}, "HTTP/1", "log")]:
            project = stage.project()
            project.subscribe(url)
            number = delivery(project, project.accepted()["id"])
            for _ in range(int(SECONDS_MAX / POLL_SECONDS)):
                told = explained(project, number)
                if told["reason"].startswith("retry_"):
                    break
                threading.Event().wait(POLL_SECONDS)
            failure = told["fields"].get("last_failure")
            report.check("%s: why" % url, failure in failures, told)
            expect(report, project, number, "retry_" + str(failure), [says], acts, last_code=None)
    finally:
        for one in (closing, plain, secure):
            one.close()


def too_late(report, _):
    """A target that answers nothing in time."""
    daemon = Daemon("late", delivery={"attempt_timeout": '"300ms"', "connect_timeout": '"300ms"'}, projects=[keys(0)])
    release = threading.Event()
    try:
        daemon.start()
        project = Project(daemon, *keys(0))
        with receiving(lambda _: release.wait(SECONDS_MAX) and 200) as target:
            project.subscribe(target.url())
            number = delivery(project, project.accepted()["id"])
            expect(report, project, number, "retry_timeout", ["did not answer"], "after the answer",
                   last_failure="timeout")
            release.set()
    finally:
        release.set()
        daemon.close(keep=report.failed > 0)


def parked(report, stage):
    """`Retry-After` parks the webhook's lane."""
    project = stage.project()
    busy = Wire(answer(503, "Retry-After: 1800"))
    try:
        project.subscribe("http://127.0.0.1:%d/" % busy.port)
        number = delivery(project, project.accepted()["id"])
        told = expect(report, project, number, "retry_after", ["Retry-After", "503"], "Retry-After",
                      last_code=503)
        report.equal("until then", told["next_at"], told["fields"]["until"])
        other = delivery(project, project.accepted()["id"])
        expect(report, project, other, "retry_after", ["Retry-After"], last_attempt=None)
    finally:
        busy.close()


def limits(report, _):
    """What is full: the webhook, the target, the daemon; and what is under way."""
    release = threading.Event()
    with Desk("limits") as desk, receiving(lambda _: release.wait(SECONDS_MAX) and 200) as target:
        try:
            project = desk.project()
            project.subscribe(target.url(), in_flight=1)
            first = delivery(project, project.accepted()["id"])
            expect(report, project, first, "in_flight", ["Attempt 1"], attempt=1)
            second = delivery(project, project.accepted()["id"])
            expect(report, project, second, "webhook_concurrency", ["1 attempt is under way"],
                   "in_flight", in_flight=1, in_flight_max=1)
            desk.call("POST", "/targets/", {"target": target.url("").rstrip("/"), "in_flight": 1})
            other = desk.project("other")
            other.subscribe(target.url("/other"))
            third = delivery(other, other.accepted()["id"])
            expect(report, other, third, "target_concurrency", ["no more may be"], "target set",
                   in_flight=1, in_flight_max=1)
        finally:
            release.set()


def shares(report, _):
    """The daemon's slots, and the share of targets that have not answered."""
    release = threading.Event()
    daemon = Daemon("shares", delivery={"in_flight": "4"}, projects=[keys(0)])
    with receiving(lambda _: release.wait(SECONDS_MAX) and 200) as target, receiving() as other:
        try:
            daemon.start()
            project = Project(daemon, *keys(0))
            project.subscribe(target.url(), "a.a", in_flight=8)
            project.subscribe(other.url(), "b.b")
            first = delivery(project, project.accepted("a.a")["id"])
            expect(report, project, first, "in_flight")
            second = delivery(project, project.accepted("b.b")["id"])
            expect(report, project, second, "target_unproven", ["has not answered lately"])
        finally:
            release.set()
            daemon.close(keep=report.failed > 0)


def full_daemon(report, _):
    """One attempt at once, and it takes long."""
    release = threading.Event()
    daemon = Daemon("full", delivery={"in_flight": "1"}, projects=[keys(0)])
    slow = lambda one: (one.path != "/slow" or release.wait(SECONDS_MAX)) and 200  # noqa: E731
    with receiving(slow) as target:
        try:
            daemon.start()
            project = Project(daemon, *keys(0))
            project.subscribe(target.url("/slow"), "a.a", in_flight=8)
            project.subscribe(target.url("/quick"), "b.b", in_flight=8)
            # An attempt of a target that has answered gives its slot back after a while; one of
            # another does not.
            first = delivery(project, project.accepted("a.a")["id"])
            expect(report, project, first, "in_flight")
            second = delivery(project, project.accepted("b.b")["id"])
            told = explained(project, second)
            report.check("it waits for a slot", told["reason"] in
                         ("daemon_concurrency", "target_unproven"), told)
        finally:
            release.set()
            daemon.close(keep=report.failed > 0)


def rates(report, _):
    """The webhook's own rate, and the target's."""
    with Desk("rates") as desk, receiving() as target, receiving() as other:
        project = desk.project()
        project.subscribe(target.url(), "a.a", rate_per_second=1, burst=1)
        events = [project.accepted("a.a")["id"] for _ in range(30)]
        number = delivery(project, events[-1])
        told = expect(report, project, number, "webhook_rate", ["1 attempts a second", "before it"],
                      "rate_per_second", rate_per_second=1, is_ahead_exact=True)
        report.check("others are before it", 20 < told["fields"]["ahead"] < 30, told)
        report.check("its turn comes later", told["next_at"] > told["fields"]["permit_at"], told)
        desk.call("POST", "/targets/", {"target": other.url("").rstrip("/"), "rate_per_second": 1,
                                        "burst": 1})
        project.subscribe(other.url(), "b.b")
        events = [project.accepted("b.b")["id"] for _ in range(30)]
        number = delivery(project, events[-1])
        expect(report, project, number, "target_rate", ["1 attempts a second"], "target set",
               rate_per_second=1)


def breakers(report, stage):
    """A target that is down, and a webhook that refuses everything: what was never tried waits."""
    project = stage.project()
    nobody = down()
    project.subscribe(nobody, in_flight=1)
    events = [project.accepted()["id"] for _ in range(12)]
    told = expect(report, project, delivery(project, events[-1]), "target_failing",
                  [nobody.rstrip("/")], "receiver back", is_probing=False)
    report.equal("the next probe", told["next_at"], told["fields"]["probe_at"])
    project = stage.project()
    with receiving(lambda _: 500) as target:
        project.subscribe(target.url(), in_flight=1)
        events = [project.accepted()["id"] for _ in range(16)]
        expect(report, project, delivery(project, events[-1]), "webhook_failing",
               ["one delivery after another"], "Repair", is_probing=False)


def pauses(report, _):
    """By the webhook's owner, and by the operator."""
    with Desk("pauses") as desk, receiving() as target:
        project = desk.project()
        made = project.subscribe(target.url())
        project.act(made["id"], "pause")
        number = delivery(project, project.accepted()["id"])
        expect(report, project, number, "webhook_paused", ["Webhook %d is paused" % made["id"]],
               "/webhooks/%d/resume/" % made["id"])
        desk.call("POST", "/targets/", {"target": target.url("").rstrip("/"), "paused": True})
        project.act(made["id"], "resume")
        expect(report, project, number, "target_paused", ["operator"], "target resume")
        desk.call("POST", "/targets/", {"target": target.url("").rstrip("/"), "paused": False})
        told = expect(report, project, number, "delivered", ["200"], status="delivered",
                      last_attempt=1, last_code=200)
        report.equal("nothing more", (told["next_at"], told["action"]), (None, None))


def ended(report, stage):
    """410, an inactive webhook, a deleted one, an erased event."""
    project = stage.project()
    with receiving(lambda one: 410 if one.path == "/gone" else 500) as target:
        made = project.subscribe(target.url("/gone"), "a.a")
        project.act(made["id"], "pause")
        numbers = [delivery(project, project.accepted("a.a")["id"]) for _ in range(2)]
        project.act(made["id"], "resume")
        expect(report, project, numbers[0], "disabled_gone", ["this delivery with 410"],
               "is_active=true", "failed", by_this_delivery=True)
        expect(report, project, numbers[1], "disabled_gone", ["another delivery"],
               "is_active=true", "failed", by_this_delivery=False)
        for event, reason, act in [
                ("b.b", "webhook_inactive", lambda path: project.call(
                    "PUT", path, {"is_active": False}, "own")),
                ("c.c", "webhook_deleted", lambda path: project.call("DELETE", path, accept="own"))]:
            made = project.subscribe(target.url("/" + event), event)
            number = delivery(project, project.accepted(event)["id"])
            expect(report, project, number, "retry_server_error")
            act("/webhooks/%d/" % made["id"])
            expect(report, project, number, reason, status="cancelled")
        # It was never attempted.
        made = project.subscribe(target.url("/d"), "d.d")
        project.act(made["id"], "pause")
        event = project.accepted("d.d")["id"]
        number = delivery(project, event)
        project.call("POST", "/events/%s/erase/" % event)
        project.act(made["id"], "resume")
        expect(report, project, number, "erased", ["erased"], status="cancelled")
        # It was, and its next attempt is a minute away.
        project.subscribe(target.url("/e"), "e.e")
        event = project.accepted("e.e")["id"]
        number = delivery(project, event)
        expect(report, project, number, "retry_server_error")
        project.call("POST", "/events/%s/erase/" % event)
        expect(report, project, number, "erased", ["erased"], status="cancelled")


def forbidden(report, _):
    """A target that was allowed once."""
    daemon = Configured("forbidden", projects=[keys(0)]).start()
    try:
        project = Project(daemon, *keys(0))
        project.subscribe(down())
        daemon.terminate()
        daemon.take_leave_back()
        daemon.start()
        number = delivery(project, project.accepted()["id"])
        expect(report, project, number, "retry_address_forbidden", ["not allowed"],
               "[delivery] allow", last_failure="address_forbidden")
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (answers, silence, too_late, parked, limits, shares, full_daemon, rates, breakers, pauses,
         ended, forbidden)
