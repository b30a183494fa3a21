"""The publish API and the life of webhooks, over HTTP against the release binary.

Owns the order of the suites and what the daemon may not have said by their end. Must never judge
an answer itself. Usage: run.py [SUITE...]. Environment: POSTRIDER_BINARY.
"""

import sys

from api import (again, delivery, explain, health, idempotency, isolation, lifecycle, look,
                 notices, operator, publish, rotation, stream, targets)
from api.scene import PROJECTS, SECRET, Stage, keys
from harness.report import Report

SUITES = {module.__name__.split(".")[-1]: module
          for module in (publish, idempotency, delivery, lifecycle, rotation, isolation, targets,
                        operator, again, stream, notices, look, explain, health)}


def main(report, names):
    """Every part of the suites named, or of all, each on projects of its own."""
    stage = Stage()
    try:
        for name in names or SUITES:
            for part in SUITES[name].PARTS:
                print("# %s: %s" % (name, part.__name__), flush=True)
                report.run(lambda part=part: part(report, stage))
        report.equal("the daemon is ready after all of it", stage.daemon.get_status("/readyz"), 200)
        log = stage.daemon.log()
        said = [secret for _, _, secret in map(keys, range(PROJECTS)) if secret in log]
        report.equal("no secret key stands in the log", said, [])
        report.check("no signing secret stands in the log", SECRET not in log)
        report.equal("it stops with 0", stage.daemon.terminate()[0], 0)
    finally:
        stage.daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    suite = Report("publish and lifecycle")
    suite.run(lambda: main(suite, sys.argv[1:]))
    suite.close()
