"""The real pyuploadcare against the daemon: every call and every error that it can meet.

Owns one session in one mode and one API version. Must never send a request by other means than
the client. Environment: BASE_URL, PUBLIC_KEY, SECRET_KEY, MODE (signed, simple), API_VERSION.
"""

import datetime
import os

from harness.report import Report
from pyuploadcare import Uploadcare, __version__
from pyuploadcare.api.auth import UploadcareAuth, UploadcareSimpleAuth
from pyuploadcare.exceptions import (
    AuthenticationError,
    InvalidRequestError,
    WebhookIsNotUnique,
)

BASE = os.environ["BASE_URL"].rstrip("/") + "/"
MODE, VERSION = os.environ["MODE"], os.environ["API_VERSION"]
EVENTS = ["file.uploaded"]
if VERSION == "0.7":
    EVENTS += ["file.infected", "file.stored", "file.deleted", "file.info_updated"]
UNKNOWN_ID = 2000000001
TARGET = "https://example.com/pyuploadcare/%s/%s" % (MODE, VERSION)


def client(secret=os.environ["SECRET_KEY"], public=os.environ["PUBLIC_KEY"]):
    """A client in this session's mode and version."""
    scheme = UploadcareSimpleAuth if MODE == "simple" else UploadcareAuth
    return Uploadcare(public_key=public, secret_key=secret, api_base=BASE, api_version=VERSION,
                      auth_class=scheme, retry_throttled=0)


def creates(report, ours):
    """Create: defaults, every field, every event."""
    made = ours.create_webhook(TARGET)
    report.check("create: id is an integer below 2^31", 0 < made.id < 2**31, made)
    report.equal("create: target_url", made.target_url, TARGET)
    report.equal("create: event", made.event, "file.uploaded")
    report.equal("create: is_active", made.is_active, True)
    report.equal("create: signing_secret", made.signing_secret, None)
    report.check("create: project", isinstance(made.project, int), made)
    report.equal("create: created is UTC", made.created.utcoffset(), datetime.timedelta(0))
    report.equal("create: updated = created", made.updated, made.created)
    full = ours.create_webhook(TARGET + "/full", is_active=False, signing_secret="s" * 32)
    report.equal("create: secret of 32", full.signing_secret, "s" * 32)
    report.equal("create: inactive", full.is_active, False)
    odd = TARGET + "/odd?a=b&c=%20d+e#f"
    report.equal("create: query and escapes are kept", ours.create_webhook(odd).target_url, odd)
    local = "http://127.0.0.1:9/pyuploadcare/%s/%s" % (MODE, VERSION)
    report.equal("create: an allowed address", ours.create_webhook(local).target_url, local)
    for event in EVENTS[1:]:
        other = ours.create_webhook(TARGET, event=event)
        report.equal("create: %s on the same target" % event, other.event, event)
    return made


def lists(report, ours, made):
    """List: order-free, whole, cut by the client only."""
    listed = {webhook.id: webhook for webhook in ours.list_webhooks()}
    report.equal("list: holds all", len(listed), 3 + len(EVENTS))
    report.equal("list: equals what create answered", listed[made.id], made)
    report.equal("list: limit", len(list(ours.list_webhooks(limit=2))), 2)


def updates(report, ours, made):
    """Update: partial, every field, and back."""
    off = ours.update_webhook(made, is_active=False)
    report.equal("update: is_active", off.is_active, False)
    kept = (off.id, off.target_url, off.event, off.created, off.project)
    wanted = (made.id, made.target_url, made.event, made.created, made.project)
    report.equal("update: the rest is kept", kept, wanted)
    report.check("update: updated moves", off.updated > made.updated, (made.updated, off.updated))
    report.equal("update: on again", ours.update_webhook(made.id, is_active=True).is_active, True)
    moved = ours.update_webhook(made.id, target_url=TARGET + "/moved")
    report.equal("update: target_url", moved.target_url, TARGET + "/moved")
    secret = ours.update_webhook(made.id, signing_secret="abc").signing_secret
    report.equal("update: signing_secret", secret, "abc")
    kept = ours.update_webhook(made.id, is_active=True).signing_secret
    report.equal("update: a partial one keeps the secret", kept, "abc")
    cleared = ours.update_webhook(made.id, signing_secret="").signing_secret
    report.check("update: an empty secret clears", not cleared, cleared)
    report.equal("update: what list says", by_id(ours, made.id).target_url, TARGET + "/moved")


def duplicates(report, ours, made):
    """Uniqueness of (project, event, target URL), on create and on update."""
    twin = TARGET + "/moved"
    report.raises("create: duplicate", WebhookIsNotUnique, lambda: ours.create_webhook(twin))
    full = next(w for w in ours.list_webhooks() if w.target_url == TARGET + "/full")
    report.raises("update: into a duplicate", WebhookIsNotUnique,
                  lambda: ours.update_webhook(full.id, target_url=twin))
    report.equal("update: refused whole", by_id(ours, full.id), full)
    same = ours.update_webhook(made.id, target_url=twin)
    report.equal("update: to what it is", same.target_url, twin)


def errors(report, ours):
    """Every error case that the client can provoke."""
    bad = InvalidRequestError
    for name, call in {
        "no URL": lambda: ours.create_webhook("invalid"),
        "no scheme of ours": lambda: ours.create_webhook("ftp://example.com/"),
        "empty URL": lambda: ours.create_webhook(""),
        "URL of 256": lambda: ours.create_webhook("https://example.com/" + "a" * 236),
        "unknown event": lambda: ours.create_webhook(TARGET + "/x", event="no.such"),
        "empty event": lambda: ours.create_webhook(TARGET + "/x", event=""),
        "secret of 33": lambda: ours.create_webhook(TARGET + "/x", signing_secret="s" * 33),
        "private address": lambda: ours.create_webhook("http://10.0.0.1/hook"),
        "metadata address": lambda: ours.create_webhook("http://169.254.169.254/latest"),
        "update: no URL": lambda: ours.update_webhook(first(ours).id, target_url="invalid"),
        "update: unknown event": lambda: ours.update_webhook(first(ours).id, event="no.such"),
        "update: private address":
            lambda: ours.update_webhook(first(ours).id, target_url="http://192.168.0.1/"),
        "update: secret of 33":
            lambda: ours.update_webhook(first(ours).id, signing_secret="s" * 33),
        "update: unknown id": lambda: ours.update_webhook(UNKNOWN_ID, is_active=True),
        "delete: unknown id": lambda: ours.delete_webhook(UNKNOWN_ID),
    }.items():
        report.raises(name, bad, call)
    edge = "https://example.com/" + "a" * 235
    report.equal("create: URL of 255", ours.create_webhook(edge).target_url, edge)
    stranger = client(public="nobodyspublickey0001")
    report.raises("wrong secret", AuthenticationError, lambda: list(client("no").list_webhooks()))
    report.raises("wrong secret: create", AuthenticationError,
                  lambda: client("no").create_webhook(TARGET + "/never"))
    report.raises("unknown key", AuthenticationError, lambda: list(stranger.list_webhooks()))
    urls = [webhook.target_url for webhook in ours.list_webhooks()]
    report.check("nothing of it was made", TARGET + "/never" not in urls, urls)


def deletes(report, ours, made):
    """Delete: by id, once."""
    report.equal("delete: answers None", ours.delete_webhook(made), None)
    report.raises("delete: again", InvalidRequestError, lambda: ours.delete_webhook(made.id))
    report.raises("update: after delete", InvalidRequestError,
                  lambda: ours.update_webhook(made.id, is_active=True))
    again = ours.create_webhook(made.target_url)
    report.check("create: after delete it is a new one", again.id != made.id, again)
    for webhook in list(ours.list_webhooks()):
        ours.delete_webhook(webhook)
    report.equal("list: empty", list(ours.list_webhooks()), [])


def by_id(ours, wanted):
    """The webhook of that id as the list shows it."""
    return next(webhook for webhook in ours.list_webhooks() if webhook.id == wanted)


def first(ours):
    """Some webhook that exists."""
    return next(iter(ours.list_webhooks()))


def main(report):
    """One whole session, on an empty project."""
    ours = client()
    report.equal("list: empty at first", list(ours.list_webhooks()), [])
    made = creates(report, ours)
    lists(report, ours, made)
    updates(report, ours, made)
    duplicates(report, ours, made)
    errors(report, ours)
    deletes(report, ours, made)
    project = ours.get_project_info()
    report.equal("project: pub_key", project.pub_key, os.environ["PUBLIC_KEY"])


if __name__ == "__main__":
    suite = Report("pyuploadcare %s, %s, API %s" % (__version__, MODE, VERSION), quiet=True)
    suite.run(lambda: main(suite))
    suite.close()
