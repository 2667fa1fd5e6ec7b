"""The table of faults in the format of `app/docs/explanation/fault-tolerance.md`."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.faults.trial import Row

HEAD = "| Fault | Duration | Results | Longest answer | Lost |\n| --- | ---: | --- | ---: | --- |"
_ACKNOWLEDGED = "acknowledged"


def line(row: Row) -> str:
    """Return a fault as a row of the table."""
    others = sorted(name for name in row.seen if name != _ACKNOWLEDGED)
    results = [f"{row.seen[name]:,} {name}" for name in (_ACKNOWLEDGED, *others)]
    results += [f"WRONG: {count:,} {what}" for what, count in row.wrong.items()]
    lost = f"{len(row.lost):,}: {row.lost[0]}" if row.lost else "nothing"
    seconds = f"{row.seconds:g} s" if row.seconds else "at once"
    return f"| {row.fault} | {seconds} | {', '.join(results)} | {row.longest_seconds:.1f} s | {lost} |"


def origin() -> str:
    """Return the version, commit and date for a table that is made now, in the page's format."""
    command = ["/usr/bin/env", "git", "rev-parse", "--short=8", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return f"LoomQL {version('loomql')} at {done.stdout.strip()} ({datetime.now(UTC):%Y-%m-%d})"
