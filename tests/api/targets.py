"""Which targets may be set: private ones by the operator's leave alone.

Owns judging create and update, and that a canary is not reached once the leave is taken back.
Must never need a name to resolve: the net's own tests try every spelling.
"""

from api.scene import Configured, Project, keys, receiving, wait_events
from harness.daemon import Daemon

PRIVATE = ["http://127.0.0.1/", "http://127.0.0.1:8080/hook", "http://localhost/",
           "http://[::1]:9/", "http://0.0.0.0/", "http://10.1.2.3/", "http://172.16.0.1/",
           "http://192.168.1.1/", "http://100.64.0.1/", "http://169.254.169.254/latest/meta-data/",
           "http://[fe80::1]/", "http://[fd00::1]/", "http://[::ffff:127.0.0.1]/",
           "http://[64:ff9b::7f00:1]/", "http://2130706433/", "http://0x7f.1/", "http://127.1/",
           "http://127.0.0.1./"]
NOT_URLS = ["", "example.com", "ftp://example.com/", "http://", "http://user:pass@example.com/",
            "http:///x", "javascript:alert(1)", "http://example.com:99999/", "http://a b/"]


def refused(report, name, answer):
    """A 400 about the target that names the setting."""
    report.equal("%s: 400" % name, answer.status, 400)
    told = answer.json().get("target_url", [])
    report.check("%s: the setting is named" % name, "[delivery] allow" in " ".join(told), answer)


def private(report, _):
    """Without `[delivery] allow`, no private target can be made or changed to."""
    daemon = Daemon("private", allow=(), projects=[keys(0)]).start()
    try:
        project = Project(daemon, *keys(0))
        made = project.subscribe("http://nowhere.invalid/")
        report.equal("a host that does not resolve is taken", made["target_url"],
                     "http://nowhere.invalid/")
        for url in PRIVATE:
            fields = {"target_url": url, "event": "file.uploaded"}
            for view in ("own", "0.7", "0.5"):
                answer = project.call("POST", "/webhooks/", fields, view)
                refused(report, "%s, %s" % (url, view), answer)
            changed = project.call("PUT", "/webhooks/%d/" % made["id"], {"target_url": url})
            refused(report, "change to " + url, changed)
        for url in NOT_URLS:
            answer = project.call("POST", "/webhooks/", {"target_url": url,
                                                         "event": "file.uploaded"})
            report.equal("%r is no target" % url, answer.status, 400)
        report.equal("one webhook, unchanged", project.call("GET", "/webhooks/").json(),
                     [{key: made[key] for key in project.webhook(made["id"], "0.7")}])
    finally:
        daemon.close(keep=report.failed > 0)


def for_one_project(report, _):
    """A project's own `allow` opens for that project alone."""
    daemon = Configured("project-allow", 'allow = ["127.0.0.1"]\n', allow=(),
                        projects=[keys(1), keys(0)]).start()
    try:
        allowed, other = Project(daemon, *keys(0)), Project(daemon, *keys(1))
        with receiving() as target:
            allowed.subscribe(target.url())
            sent = allowed.accepted()["id"]
            report.equal("it is delivered", wait_events(target, 1), [sent])
            fields = {"target_url": target.url(), "event": "file.uploaded"}
            refused(report, "another project", other.call("POST", "/webhooks/", fields))
            outside = {**fields, "target_url": "http://127.0.0.2/"}
            refused(report, "another address", allowed.call("POST", "/webhooks/", outside))
    finally:
        daemon.close(keep=report.failed > 0)


def leave_taken_back(report, _):
    """A target that was allowed once is refused at the next connect when it is no more."""
    daemon = Configured("leave", projects=[keys(0)]).start()
    try:
        project = Project(daemon, *keys(0))
        with receiving() as target:
            made = project.subscribe(target.url())
            report.equal("at first it is reached", project.act(made["id"], "test").json()["status"],
                         200)
            daemon.terminate()
            daemon.take_leave_back()
            daemon.start()
            shown = project.act(made["id"], "test").json()
            report.equal("then not", (shown["delivered"], shown["status"]), (False, None))
            report.check("and it says why", "address" in shown["reason"], shown)
            report.equal("the canary was not reached", len(target.deliveries), 1)
    finally:
        daemon.close(keep=report.failed > 0)


PARTS = (private, for_one_project, leave_taken_back)
