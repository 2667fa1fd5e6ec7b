"""What goes on as long as the server does: uploads that came to no end are taken back."""

import asyncio
import logging
from typing import Final

from pymongo.errors import PyMongoError

from app.background import Runs
from stores.errors import StoreError
from stores.files import FilesStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 60


async def sweep_files(files: FilesStore, runs: Runs) -> None:
    """Sweep, now and then, for good; what goes wrong is tried again."""
    while True:
        try:
            with runs.counted():
                count = await files.sweep()
            if count:
                logger.info("took back %d uploads of files that came to no end", count)
        except (StoreError, PyMongoError) as error:
            logger.debug("the sweep of uploads did not get through, and is tried again: %s", error)
        await asyncio.sleep(_PAUSE_SECONDS)
