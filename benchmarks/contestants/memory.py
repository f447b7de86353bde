"""The command line with the arguments given, everything imported beforehand: prints the peak memory above that."""

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 (the report's, imported when it is drawn)

import variate.apps.fit
import variate.apps.report  # noqa: F401
from variate import cli


def peak() -> float:
    """MB that the process has held at most."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


imported = peak()
cli.main(sys.argv[1:])
print(json.dumps({"megabytes": peak() - imported, "imported": imported}))
