"""Run a command that Linux ends with SIGTERM when its parent is gone; arguments: PARENT_PID COMMAND...

A program of its own because what tells Linux so has to happen between fork and exec, where a process with
threads must not run Python code (`preexec_fn` can deadlock there). "Parent" means the thread that forked.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, then become the command."""
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # it was gone before the line above
        sys.exit(f"process {parent} is gone")
    try:
        os.execv(command[0], command)  # noqa: S606 - the command is the caller's, and there is no shell in it
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
