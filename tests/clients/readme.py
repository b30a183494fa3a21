"""What README.md shows of Uploadcare's clients and of verification, run as it stands there.

Owns three blocks: the CLI of pyuploadcare, @uploadcare/rest-client, and a verifier. Must never say
more than they do. Environment: see clients.run, and NODE_MODULES.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys

from harness import readme, wire
from harness.receiver import Receiver
from harness.report import Report
from harness.wire import JSON

BASE = os.environ["BASE_URL"].rstrip("/") + "/"
PUBLIC, SECRET = os.environ["PUBLIC_KEY"], os.environ["SECRET_KEY"]
SHOWN = {"http://127.0.0.1:8080/": BASE, "demopublic": PUBLIC, "demosecret": SECRET}
SECONDS_MAX = 60


def cli(report, target):
    """The commands, and whether what they print has the keys that are shown."""
    shown = readme.block("console", "ucare create_webhook")
    answer = json.loads(shown[shown.index("{"):])
    lines = [line[2:] for line in shown.splitlines() if line.startswith("$ ")]
    text = readme.with_values("\n".join(lines), {**SHOWN, "http://127.0.0.1:8081/hook2": target})
    environment = dict(os.environ)
    for line in text.splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            environment.update(word.split("=", 1) for word in words[1:])
            continue
        words[0] = str(pathlib.Path(sys.executable).with_name(words[0]))
        done = subprocess.run(words, env=environment, text=True, capture_output=True, timeout=SECONDS_MAX)
        made = json.loads(done.stdout)
        report.equal("ucare: the keys", list(made), list(answer))
        steady = ("event", "is_active", "signing_secret")
        report.equal("ucare: the values", [made[key] for key in steady],
                     [answer[key] for key in steady])


def javascript(report, target):
    """The module prints the list that the CLI's webhook is in."""
    text = readme.with_values(readme.block("js", "rest-client"), SHOWN)
    # Node looks for packages above the module's own folder.
    module = pathlib.Path(os.environ["NODE_MODULES"]).parent / ("readme-%d.mjs" % os.getpid())
    try:
        module.write_text(text)
        done = subprocess.run(["node", str(module)], text=True, capture_output=True, timeout=SECONDS_MAX)
    finally:
        module.unlink(missing_ok=True)
    report.equal("rest-client: it ends well", (done.returncode, done.stderr), (0, ""))
    report.check("rest-client: the list", target in done.stdout, done.stdout)


def verifier(report, receiver):
    """A delivery that is verified as shown, and one that is not."""
    text = readme.block("python", "standardwebhooks")
    secret = text.split('b64encode(b"')[1].split('"')[0]
    auth = {**wire.simple(PUBLIC, SECRET), "Content-Type": JSON}
    fields = {"target_url": receiver.url("/verified"), "event": "file.uploaded",
              "signing_secret": secret, "is_active": True}
    made = wire.request(port(), "POST", "/webhooks/", auth, json.dumps(fields).encode())
    report.equal("verifier: a webhook", made.status, 201)
    event = json.dumps({"event": "file.uploaded", "data": {"uuid": "a"}}).encode()
    report.equal("verifier: an event", wire.request(port(), "POST", "/events/", auth, event).status, 202)
    receiver.wait(lambda seen: any(one.path == "/verified" for one in seen), SECONDS_MAX)
    one = next(one for one in receiver.deliveries if one.path == "/verified")
    readme.run_python(text, raw_body=one.body, headers=one.headers)
    report.check("verifier: a delivery", True)
    report.raises("verifier: another body", Exception, lambda: readme.run_python(
        text, raw_body=one.body + b" ", headers=one.headers))


def port():
    """Where the API listens."""
    return int(BASE.rstrip("/").rsplit(":", 1)[1])


def main(report):
    """All three."""
    receiver = Receiver()
    try:
        target = receiver.url("/hook2")
        cli(report, target)
        javascript(report, target)
        verifier(report, receiver)
    finally:
        receiver.close()


if __name__ == "__main__":
    suite = Report("README.md's clients")
    suite.run(lambda: main(suite))
    suite.close()
