"""The command line of the release binary, as people and scripts use it.

Owns the order of the suites. Must never judge what they see.
Usage: run.py [SUITE...]. Environment: POSTRIDER_BINARY.
"""

import sys

from cli import (bench, configuration, dev, exits, first_start, listen, look, manage,
                 secrecy, verbs)
from harness.report import Report

SUITES = {module.__name__.split(".")[-1]: module
          for module in (exits, first_start, verbs, manage, look, configuration, dev, listen, secrecy,
                         bench)}


def main(report, names):
    """Every part of the suites named, or of all."""
    for name in names or SUITES:
        for part in SUITES[name].PARTS:
            print("# %s: %s" % (name, part.__name__), flush=True)
            report.run(lambda part=part: part(report))


if __name__ == "__main__":
    suite = Report("the command line")
    main(suite, sys.argv[1:])
    suite.close()
