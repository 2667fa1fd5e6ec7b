"""Run a command that Linux ends with SIGTERM when its parent dies; arguments: PARENT_PID COMMAND...

This is a separate program, because the signal must be requested between fork and exec. There, a process with threads
must not run Python code (`preexec_fn` can deadlock). The parent is the thread that forked.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Request the signal, then execute the command."""
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # the parent died before prctl
        sys.exit(f"process {parent} is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 - the caller chose the command, and no shell runs it
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
