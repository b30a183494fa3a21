"""Counting checks.

Owns the `ok`/`FAIL` lines and the closing `N passed, N failed`. Must never decide what is right.
"""

import sys
import threading
import traceback


class Report:
    """The checks of one suite. Usable from several threads."""

    def __init__(self, title, quiet=False):
        self.passed = 0
        self.failed = 0
        self._quiet = quiet
        self._lock = threading.Lock()
        print("# " + title, flush=True)

    def check(self, name, holds, detail=""):
        """Counts one check, and says so: every failure, and a success unless the suite is quiet."""
        with self._lock:
            if holds:
                self.passed += 1
            else:
                self.failed += 1
            if not holds or not self._quiet:
                tail = "" if holds else "  -- %s" % (detail,)
                print(("ok   " if holds else "FAIL ") + name + tail, flush=True)
        return bool(holds)

    def equal(self, name, seen, wanted):
        """Checks that two values are equal."""
        return self.check(name, seen == wanted, "saw %r, wanted %r" % (seen, wanted))

    def raises(self, name, kind, call):
        """Checks that a call raises `kind`; answers with what it raised."""
        try:
            value = call()
        except kind as error:
            self.check(name, True)
            return error
        except Exception as error:  # noqa: BLE001 - a wrong exception is a failed check
            self.check(name, False, "raised %r, wanted %s" % (error, kind.__name__))
            return error
        self.check(name, False, "returned %r, wanted %s" % (value, kind.__name__))
        return None

    def add(self, passed, failed):
        """Counts the checks of a suite that ran in a process of its own."""
        with self._lock:
            self.passed += passed
            self.failed += failed

    def run(self, body):
        """Runs a suite's body; an exception that escapes it is a failure, never the end."""
        try:
            body()
        except Exception:  # noqa: BLE001
            traceback.print_exc(file=sys.stdout)
            self.check("the suite ran to its end", False, "see above")

    def close(self):
        """Prints the count and ends the process with its exit code."""
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        sys.exit(0 if self.failed == 0 and self.passed > 0 else 1)
