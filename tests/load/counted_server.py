"""`python -m tests.load.counted_server`: the command `loomql`, which writes its task count to a file on SIGUSR1."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from app.cli import main

FILE: Final = "LOAD_TASKS_FILE"


def _count(_number: int, _frame: FrameType | None) -> None:
    file = Path(os.environ[FILE])
    new = file.with_suffix(".new")
    new.write_text(str(len(asyncio.all_tasks())))
    new.rename(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _count)
    sys.exit(main())
