"""tus: `@tus/server` and `tus-js-client`, through the shim that makes tusd's hooks of its events.

Owns one upload that reaches a webhook of every format, and one that is ended. Must never post to
the intake itself.
"""

import os
import pathlib
import subprocess
import tempfile

from harness import readme
from producers.suite import Suite

FORMS = [
    ("uploadcare-0.7", "file.uploaded"), ("uploadcare-0.6", "file.uploaded"),
    ("uploadcare-0.5", "file.uploaded"), ("uploadcare-0.7", "file.deleted"),
    ("jsonapi", "file.created"), ("jsonapi", "file.deleted"),
    ("lancer", "SESSION_CREATED"), ("lancer", "SESSION_COMPLETED"), ("lancer", "FILE_UPLOAD"),
    ("lancer", "FILE_DELETE"), ("standard", "file.uploaded"), ("standard", "session.completed"),
    ("cloudevents", "file.uploaded"), ("cloudevents", "session.created"),
]
BYTES = 200_000


class Tus:
    """The server with its client, in a process of its own."""

    def __init__(self, intake):
        self.folder = tempfile.TemporaryDirectory(prefix="postrider-tus-")
        script = pathlib.Path(__file__).with_name("tus.mjs")
        environment = {**os.environ, "INTAKE": intake, "FOLDER": self.folder.name}
        self.process = subprocess.Popen(["node", str(script)], env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *words):
        """One request; answers with the upload's id."""
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        """Ends it."""
        self.process.stdin.close()
        code = self.process.wait(timeout=30)
        self.folder.cleanup()
        return code


def run(report):
    """One upload, every format."""
    suite = Suite(report, "tus")
    try:
        for form, event in FORMS:
            suite.subscribe(form, event)
        script = pathlib.Path(__file__).with_name("tus.mjs").read_text()
        shim = script.split("// shim begin\n")[1].split("// shim end")[0]
        report.equal("the shim is README's", readme.block("js", "post-finish"), shim)
        token = suite.token(name="tus")["token"]
        tus = Tus("%s/in/tusd/%s/" % (suite.daemon.base, token))
        upload = tus.ask("upload", "Müller & Söhne.png", "image/png", BYTES)
        report.check("an upload", len(upload) == 32, upload)
        live = ["/%s/%s" % one for one in FORMS if "DELETE" not in one[1].upper()]
        suite.wait("one upload reaches every format", lambda paths: set(live) <= set(paths))
        report.equal("it is ended", tus.ask("terminate", upload), upload)
        gone = ["/%s/%s" % one for one in FORMS if "DELETE" in one[1].upper()]
        suite.wait("its end reaches every format", lambda paths: set(gone) <= set(paths))
        report.equal("the server stops", tus.close(), 0)
        suite.settle()
        judge(report, suite, upload)
        suite.verify()
    finally:
        suite.close()


def judge(report, suite, upload):
    """Each format's body."""
    uuid = "-".join([upload[:8], upload[8:12], upload[12:16], upload[16:20], upload[20:]])
    name = "Müller & Söhne.png"
    for form, event in FORMS:
        report.equal("%s %s comes once" % (form, event), len(suite.seen("/%s/%s" % (form, event))), 1)
    new = suite.seen("/uploadcare-0.7/file.uploaded")[0]
    report.equal("0.7 event", new["hook"]["event"], "file.uploaded")
    facts = {key: new["data"][key] for key in ("uuid", "original_filename", "mime_type", "size",
                                              "is_image", "is_ready", "datetime_removed")}
    report.equal("0.7 data", facts, {
        "uuid": uuid, "original_filename": name, "mime_type": "image/png", "size": BYTES,
        "is_image": True, "is_ready": True, "datetime_removed": None})
    report.equal("0.7 owner", new["data"]["metadata"]["owner_id"], "user-67890")
    old = suite.seen("/uploadcare-0.5/file.uploaded")[0]["data"]
    report.equal("0.5 data", (old["uuid"], old["filename"], old["total"]), (uuid, name, BYTES))
    middle = suite.seen("/uploadcare-0.6/file.uploaded")[0]["data"]
    report.equal("0.6 data", (middle["uuid"], middle["size"]), (uuid, BYTES))
    session = suite.seen("/lancer/SESSION_COMPLETED")[0]
    report.equal("Lancer's session", (session["event"], session["data"]["id"],
                                      session["data"]["file_size"], session["data"]["owner_id"]),
                 ("SESSION_COMPLETED", upload, BYTES, "user-67890"))
    file = suite.seen("/lancer/FILE_UPLOAD")[0]
    report.equal("Lancer's file", (file["data"]["id"], file["data"]["file_name"],
                                   file["data"]["file_size"]), (uuid, name, BYTES))
    document = suite.seen("/jsonapi/file.created")[0]
    report.check("JSON:API's document", document["data"]["type"] == "webhook_events", document)
    report.check("JSON:API's file", uuid in str(document.get("included")), document)
    standard = suite.seen("/standard/file.uploaded")[0]
    report.equal("standard", (standard["type"], standard["data"]["uuid"]), ("file.uploaded", uuid))
    cloud = suite.seen("/cloudevents/file.uploaded")[0]
    report.equal("cloudevents", (cloud["specversion"], cloud["type"], cloud["data"]["uuid"]),
                 ("1.0", "com.uploadcare.file.uploaded", uuid))
    removed = suite.seen("/uploadcare-0.7/file.deleted")[0]["data"]
    report.equal("0.7 deleted", removed["uuid"], uuid)
    report.check("0.7 deleted when", removed["datetime_removed"] is not None, removed)
