"""The command `loomql`."""

import sys
from collections.abc import Sequence

from app.commands import health


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage, 3 imported but for some lines, or from a
    file that is not whole.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if "health" in given[:1]:
        return health.run(given[1:])
    from app.commands.dispatch import run  # noqa: PLC0415 -- a second's work, which a health check has no need of

    return run(given)


if __name__ == "__main__":
    sys.exit(main())
