"""Real producers against the release binary, and the intake over the wire.

Owns the order of the suites. Names of suites on the command line choose.
"""

import sys

from harness.report import Report
from producers import intake, s3, tus

SUITES = {"intake": intake.run, "tus": tus.run, "s3": s3.run}


if __name__ == "__main__":
    report = Report("producers")
    for name in sys.argv[1:] or SUITES:
        report.run(lambda name=name: SUITES[name](report))
    report.close()
