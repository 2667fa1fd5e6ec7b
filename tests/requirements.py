"""Requirements that a machine may lack: tests skip without them, except in CI."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest


def go_without(reason: str, variable: str) -> NoReturn:
    """Skip the test, or fail it if the environment variable is 1, as .ci/run sets it.

    Args:
        reason: what the machine lacks, and the command that installs it; the end of a run shows its first line.
        variable: name of the environment variable.
    """
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason} ({variable} is 1)")
    pytest.skip(reason)


def skips_by_reason(skipped: Iterable[pytest.CollectReport | pytest.TestReport]) -> list[str]:
    """Return a line for each reason, with the number of tests that were skipped for it; the most frequent comes first.

    Names of temporary files and the like would make a line of each test, so only the first line of a reason counts.
    """
    reasons = (report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    counts = Counter(reason.removeprefix("Skipped: ").partition("\n")[0] for reason in reasons)
    return [f"{count:5} {reason}" for reason, count in counts.most_common()]
