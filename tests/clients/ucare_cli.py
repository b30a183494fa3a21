"""Uploadcare's own command line, `ucare`, against the daemon.

Owns one session of list, create, update, delete and their errors. Must never use anything but the
command. Environment: BASE_URL, PUBLIC_KEY, SECRET_KEY.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from harness.report import Report

COMMAND_SECONDS_MAX = 60
TARGET = "https://example.com/ucare"


def ucare(home, *arguments, secret=None):
    """Runs the command; answers with its exit code and everything that it printed."""
    environment = {
        "HOME": home,
        "PATH": os.environ["PATH"],
        "UPLOADCARE_API_BASE": os.environ["BASE_URL"].rstrip("/") + "/",
        "UPLOADCARE_PUBLIC_KEY": os.environ["PUBLIC_KEY"],
        "UPLOADCARE_SECRET_KEY": secret or os.environ["SECRET_KEY"],
    }
    command = [str(pathlib.Path(sys.executable).with_name("ucare")), *arguments]
    done = subprocess.run(command, env=environment, cwd=home, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX)
    return done.returncode, done.stdout + done.stderr


def main(report, home):
    """One whole session, on an empty project."""
    code, text = ucare(home, "list_webhooks")
    report.equal("list_webhooks: empty", (code, json.loads(text)), (0, []))
    code, text = ucare(home, "create_webhook", TARGET, "--active", "--signing_secret", "s3cret")
    made = json.loads(text)
    seen = (made["target_url"], made["event"], made["is_active"], made["signing_secret"])
    report.equal("create_webhook", seen, (TARGET, "file.uploaded", True, "s3cret"))
    number = str(made["id"])
    code, text = ucare(home, "create_webhook", TARGET + "/2", "--event", "file.stored")
    second = json.loads(text)
    seen = (second["event"], second["is_active"])
    report.equal("create_webhook: without --active", seen, ("file.stored", False))
    code, text = ucare(home, "update_webhook", number, "--deactivate")
    report.equal("update_webhook --deactivate", json.loads(text)["is_active"], False)
    code, text = ucare(home, "update_webhook", number, "--activate", "--target_url", TARGET + "/3",
                       "--event", "file.deleted", "--signing_secret", "other")
    seen = {key: json.loads(text)[key] for key in ("is_active", "target_url", "event")}
    wanted = {"is_active": True, "target_url": TARGET + "/3", "event": "file.deleted"}
    report.equal("update_webhook: every flag", seen, wanted)
    code, text = ucare(home, "list_webhooks")
    ids = sorted(webhook["id"] for webhook in json.loads(text))
    report.equal("list_webhooks: both", ids, sorted([made["id"], second["id"]]))
    failing(report, home, second)
    for webhook in (number, str(second["id"])):
        report.equal("delete_webhook " + webhook, ucare(home, "delete_webhook", webhook), (0, ""))
    code, text = ucare(home, "list_webhooks")
    report.equal("list_webhooks: empty again", json.loads(text), [])
    code, text = ucare(home, "get_project")
    report.check("get_project", os.environ["PUBLIC_KEY"] in text, text)


def failing(report, home, second):
    """The messages that a person at a terminal sees."""
    for name, arguments, secret, message in [
        ("duplicate", ["create_webhook", second["target_url"], "--event", "file.stored"], None,
         "already subscribed"),
        ("bad URL", ["create_webhook", "invalid"], None, "valid URL"),
        ("bad event", ["create_webhook", TARGET, "--event", "no.such"], None, "valid choice"),
        ("unknown id", ["update_webhook", "2000000001", "--activate"], None, "Not found"),
        ("delete unknown id", ["delete_webhook", "2000000001"], None, "Not found"),
        ("wrong secret", ["list_webhooks"], "wrong", "secret"),
    ]:
        _, text = ucare(home, *arguments, secret=secret)
        report.check("says so: " + name, message.lower() in text.lower(), text)


if __name__ == "__main__":
    suite = Report("ucare, Uploadcare's command line")
    with tempfile.TemporaryDirectory() as folder:
        suite.run(lambda: main(suite, folder))
    suite.close()
