"""`python -m tests.app.refused_calls COMMAND…`: runs a command whose setpriority calls the kernel refuses.

systemd does so for a unit with `SystemCallFilter=~@resources` and `SystemCallErrorNumber=EPERM`.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

NUMBERS: Final = {"x86_64": 141, "aarch64": 140}
"""Number of the system call setpriority, by machine; the test skips other machines."""

# These numbers are from Linux's headers prctl.h, seccomp.h and bpf_common.h.
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def refuse(number: int) -> None:
    """Make the kernel refuse a system call with EPERM, for this process and all its children."""
    steps = [
        (_LOAD, 0, 0, 0),
        (_IF_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(instructions))
    tell = ctypes.CDLL(None, use_errno=True).prctl
    if tell(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or tell(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    refuse(NUMBERS[platform.machine()])
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 -- the command that it was given
