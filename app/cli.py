"""The `loomql` command."""

import sys
from collections.abc import Sequence

from app.commands import health


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code.

    The codes are 0 for success, 1 for failure (one line on stderr gives the reason), 2 for wrong usage, and 3 for an
    import with rejected lines or a truncated file.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if "health" in given[:1]:
        return health.run(given[1:])
    from app.commands.dispatch import run  # noqa: PLC0415 -- takes a second to import, which a health check need not wait for

    return run(given)


if __name__ == "__main__":
    sys.exit(main())
