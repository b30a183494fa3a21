"""All real clients against one release binary.

Owns the daemon, a project for each session, and the count. Must never talk to the API itself.
Environment: POSTRIDER_BINARY, NODE_MODULES, and POSTRIDER_EXTRA_CLIENTS, a folder of more
scripts (`*.py`, `*.mjs`) that are run in the same way and must exit 0.
"""

import os
import pathlib
import re
import subprocess
import sys

from harness.daemon import Daemon
from harness.report import Report

HERE = pathlib.Path(__file__).resolve().parent
SESSION_SECONDS_MAX = 300
MODES, VERSIONS = ("signed", "simple"), ("0.7", "0.6", "0.5")


def sessions():
    """Each session: a script, and what its environment says."""
    out = [(HERE / "pyuploadcare_client.py", {"MODE": mode, "API_VERSION": version})
           for mode in MODES for version in VERSIONS]
    out.append((HERE / "ucare_cli.py", {}))
    out += [(HERE / "rest_client.mjs", {"MODE": mode}) for mode in MODES]
    out += [(HERE / "readme.py", {}), (HERE / "replays.py", {}), (HERE / "deliveries.py", {})]
    folder = os.environ.get("POSTRIDER_EXTRA_CLIENTS")
    if folder:
        scripts = sorted(p for p in pathlib.Path(folder).iterdir() if p.suffix in (".py", ".mjs"))
        if not scripts:
            raise SystemExit("POSTRIDER_EXTRA_CLIENTS holds no script: " + folder)
        for script in scripts:
            versions = VERSIONS if script.suffix == ".py" else VERSIONS[:1]
            out += [(script, {"MODE": mode, "API_VERSION": version})
                    for mode in MODES for version in versions]
    return out


def run(report, daemon, number, script, extra):
    """One session in a process of its own, on a project of its own."""
    _, public, secret = project(number)
    environment = {**os.environ, "BASE_URL": daemon.base, "PUBLIC_KEY": public,
                   "SECRET_KEY": secret, "PYTHONPATH": str(HERE.parent), **extra}
    command = [sys.executable if script.suffix == ".py" else "node", str(script)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=SESSION_SECONDS_MAX)
    counts = re.findall(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    passed, failed = map(int, counts[-1]) if counts else (0, 0)
    report.add(passed, failed)
    print(done.stdout.rstrip(), flush=True)
    if done.returncode != 0 and failed == 0:
        report.check(script.name + " exits 0", False, done.returncode)
    if not counts:
        report.check(script.name + " exits 0", done.returncode == 0, done.returncode)


def project(number):
    """Id, public key (20 hex digits) and secret key of a session's project."""
    return 1000 + number, "%020x" % (0xDE0000 + number), "%020x" % (0x5EC4E7000000 + number)


def main(report):
    """Every session; then what the daemon may not have said."""
    todo = sessions()
    projects = [project(number) for number in range(len(todo))]
    daemon = Daemon("clients", projects=projects).start()
    try:
        for number, (script, extra) in enumerate(todo):
            run(report, daemon, number, script, extra)
        report.equal("the daemon is ready after all of it", daemon.get_status("/readyz"), 200)
        said = [secret for _, _, secret in projects if secret in daemon.log()]
        report.equal("no secret key stands in the log", said, [])
        code, _ = daemon.terminate()
        report.equal("it stops with 0", code, 0)
    finally:
        daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    suite = Report("real clients")
    suite.run(lambda: main(suite))
    suite.close()
