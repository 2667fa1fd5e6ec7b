"""Periodic removal of unfinished uploads."""

import asyncio
import logging
from typing import Final

from pymongo.errors import PyMongoError

from app.background.tasks import JobStats
from stores.errors import StoreError
from stores.files import FilesStore
from stores.tables import TablesStore

logger = logging.getLogger("loomql")

_PAUSE_SECONDS: Final = 60


async def sweep_uploads(store: FilesStore | TablesStore, of: str, runs: JobStats) -> None:
    """Remove unfinished uploads periodically until cancelled; `of` names their kind in the log."""
    while True:
        try:
            with runs.counted():
                count = await store.sweep()
            if count:
                logger.info("removed %d unfinished uploads of %s", count, of)
        except (StoreError, PyMongoError) as error:
            logger.debug("the sweep of unfinished uploads of %s failed; it is tried again: %s", of, error)
        await asyncio.sleep(_PAUSE_SECONDS)
