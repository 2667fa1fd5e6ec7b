"""The routes of the documentation, which anyone may read."""

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from app.browser_security import page_headers
from app.files import matches_etag

if TYPE_CHECKING:
    from app.docs.site import Site

FOLDER: Final = Path(__file__).parent

_HEADERS: Final = page_headers()


class Documentation:
    """The documentation at `/docs`, rendered at the first request.

    Args:
        folder: the Markdown pages.
        others: addresses of the server's other pages, relative to `/`, by title; the pages link to them.
    """

    def __init__(self, folder: Path = FOLDER, *, others: Mapping[str, str]) -> None:
        self._folder = folder
        self._others = others
        self._site: Site | None = None

    def routes(self) -> list[Route]:
        """Return the route of the start page, and that of all other files."""
        return [Route("/docs", self.answer), Route("/docs/{path:path}", self.answer)]

    async def answer(self, request: Request) -> Response:
        """Answer with a file, 304 if the browser has it, or 404 with a link to the start page."""
        path = request.path_params.get("path")
        if path == "":
            return RedirectResponse("../docs")
        address = "docs" if path is None else f"docs/{path}"
        if self._site is None:
            # Most servers start, and all commands run, without the Markdown parser and the highlighter.
            module = await asyncio.to_thread(importlib.import_module, "app.docs.site")
            rendered: Site = await asyncio.to_thread(module.Site, self._folder, self._others)
            self._site = rendered
        file = self._site.files.get(address)
        if file is None:
            missing = self._site.not_found(address)
            return Response(missing.content, 404, _HEADERS, missing.media_type)
        headers = {**_HEADERS, "ETag": file.etag}
        if matches_etag(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)
