"""Errors of the embedded mongod, with hints for the operator."""

import signal

HINTS = (
    ("GLIBC_", "This system's C library is older than the binary needs."),
    ("Exec format error", "The binary is for another kind of machine."),
    ("No space left on device", "The disk is full: free some space."),
    ("Too many open files", "Raise the limit of open files (ulimit -n)."),
    ("Permission denied", "Files in the data folder belong to another user: chown them to this one."),
    (
        "UPGRADE PROBLEM",
        "Another version of MongoDB wrote this data folder: run that one, or choose another folder.",
    ),
)


class EmbeddedMongodError(Exception):
    """The embedded mongod cannot run; the message says what to change and contains no secret."""


def explain(exit_code: int | None, gist: str, recent: str) -> str:
    """Return how a mongod ended, its last words and hints. A negative exit code is a signal number.

    The output of a killed mongod is left out, because it does not explain the end.
    """
    if exit_code is None:
        ending = "did not start"
    elif exit_code < 0:
        ending = f"was stopped by {signal.Signals(-exit_code).name}"
    else:
        ending = f"ended with exit code {exit_code}"
    hints = [hint for sign, hint in HINTS if sign in recent]
    if exit_code == -signal.SIGILL:
        hints.append("The processor lacks an instruction that the binary uses, most likely AVX.")
    if exit_code == -signal.SIGKILL:
        return f"{ending}: by a user, or by a system short of memory (LOOMQL_MONGOD_CACHE_GB limits its cache)."
    said = f" and reported: {gist.rstrip('.')}." if gist else " without an error message."
    return " ".join([ending + said, *hints])
