"""Web pages that the build hook bundles: the Explorer at `/`, and GraphiQL for a browser's GET of the API."""

import html
import re
from collections.abc import Mapping, Sequence
from os import PathLike, stat_result
from pathlib import Path
from typing import Final

from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.browser_security import page_headers

DIST: Final = Path(__file__).parent / "dist"

EXPLORER_DOCUMENTS: Final = Path(__file__).parent / "explorer" / "generated" / "persisted-documents.json"
"""Manifest of the documents that the Explorer sends."""

_META: Final = re.compile(r' *<meta name="loomql-([a-z-]+)" content="" />\n')

_MISSING: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>LoomQL</title>
<h1>{title} was not built</h1>
<p>This installation of LoomQL lacks the assets of its web pages. To build them, run this in LoomQL's source
folder, without <code>LOOMQL_SKIP_PAGES</code> in the environment, then reload this page:</p>
<pre>pip install .</pre>
<p>The API itself is up: it answers POST requests at /graphql.</p>
</html>
"""


class Page(StaticFiles):
    """A page and its assets: scripts, styles and fonts, to be mounted at the name of the page.

    The names of assets contain a hash of the content, so browsers may cache them permanently.

    Args:
        name: name of the page's folder in `dist`.
        title: name of the page for people.
        sources: directives of the content security policy that this page adds or replaces.
        dist: folder of all bundles.
    """

    def __init__(self, name: str, title: str, sources: Mapping[str, str], dist: Path = DIST) -> None:
        self.name, self.title, self._sources = name, title, sources
        self._html = dist / name / "index.html"
        self._assets = dist / name / name
        super().__init__(directory=self._assets, check_dir=False)

    @property
    def is_built(self) -> bool:
        """True if the bundle exists."""
        return self._html.is_file()

    def response(self, values: Mapping[str, str | None], origins: Sequence[str] = ()) -> Response:
        """Return the page; 503 with instructions if the bundle was not built.

        Args:
            values: contents of the page's `<meta name="loomql-...">` elements, by the rest of their names. An element
                without a value is left out.
            origins: origins of other servers to which the page may send requests.
        """
        headers = page_headers({**self._sources, "connect-src": " ".join(["'self'", *origins])})
        if not self.is_built:
            return HTMLResponse(_MISSING.format(title=self.title), status_code=503, headers=headers)

        def filled(found: re.Match[str]) -> str:
            value = values.get(found[1])
            return "" if value is None else found[0].replace('""', f'"{html.escape(value)}"')

        return HTMLResponse(_META.sub(filled, self._html.read_text()), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send an asset; 404 if it does not exist or the bundle was not built."""
        if self._assets.is_dir():
            await super().__call__(scope, receive, send)
        else:
            await PlainTextResponse(f"{self.title} was not built", status_code=404)(scope, receive, send)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file with headers that let browsers cache it permanently."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


EXPLORER: Final = Page("explorer", "The Explorer", {"img-src": "'self' data: blob:"})

# Monaco, the editor, adds <style> elements; GraphiQL's style sheet contains fonts as data URLs.
GRAPHIQL: Final = Page(
    "graphiql",
    "GraphiQL",
    {
        "worker-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "font-src": "'self' data:",
        "img-src": "'self' data:",
    },
)
