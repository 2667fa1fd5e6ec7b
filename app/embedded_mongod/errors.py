"""What keeps the embedded mongod from running, told so that a reader knows what to change."""

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
    """The embedded mongod cannot run; the message says what to change and is safe to print."""


def explain(exit_code: int | None, gist: str, recent: str) -> str:
    """How a mongod ended, what it said, and what may help; minus a signal's number is its exit code.

    What a killed mongod said before is not why it ended.
    """
    if exit_code is None:
        how = "did not start"
    elif exit_code < 0:
        how = f"was ended by {signal.Signals(-exit_code).name}"
    else:
        how = f"ended with exit code {exit_code}"
    hints = [hint for sign, hint in HINTS if sign in recent]
    if exit_code == -signal.SIGILL:
        hints.append("The processor lacks an instruction that the binary uses, most likely AVX.")
    if exit_code == -signal.SIGKILL:
        return f"{how}: by someone, or by a system short of memory (LOOMQL_MONGOD_CACHE_GB says how much it takes)."
    said = f" and said: {gist.rstrip('.')}." if gist else " without a word of why."
    return " ".join([how + said, *hints])
