"""GraphiQL, the browser IDE for the API: its page, and the assets that the build hook bundles."""

from os import PathLike, stat_result
from pathlib import Path

from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from app.browser_security import page_headers

DIST = Path(__file__).parent / "dist"

# Monaco, the editor, adds <style> elements; GraphiQL's style sheet contains fonts as data URLs.
PAGE_HEADERS = page_headers(
    {
        "worker-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "font-src": "'self' data:",
        "img-src": "'self' data:",
    }
)
DOCS_LINK = '<meta name="loomql-docs" content="docs" />'
"""Element of the page that makes GraphiQL link to the documentation."""

MISSING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>LoomQL</title>
<h1>GraphiQL was not built</h1>
<p>This installation of LoomQL lacks the assets of GraphiQL. To build them, run this in LoomQL's source
folder, without <code>LOOMQL_SKIP_GRAPHIQL</code> in the environment, then reload this page:</p>
<pre>pip install .</pre>
<p>The API itself is up: it answers POST requests at this address.</p>
</html>
"""


def page(dist: Path = DIST, *, has_docs: bool = True) -> Response:
    """Return the page for a browser's GET of the API; 503 with instructions if the bundle was not built.

    Args:
        dist: the bundle.
        has_docs: True if the page links to the documentation.
    """
    try:
        html = (dist / "index.html").read_text()
        return HTMLResponse(html if has_docs else html.replace(DOCS_LINK, ""), headers=PAGE_HEADERS)
    except FileNotFoundError:
        return HTMLResponse(MISSING, status_code=503, headers=PAGE_HEADERS)


class Assets(StaticFiles):
    """Scripts, styles and fonts of the page, to be mounted at /graphiql.

    File names contain a hash of the content, so browsers may cache them permanently.
    """

    def __init__(self, dist: Path = DIST) -> None:
        self.folder = dist / "graphiql"
        super().__init__(directory=self.folder, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file; 404 if it does not exist or the bundle was not built."""
        if self.folder.is_dir():
            await super().__call__(scope, receive, send)
        else:
            await PlainTextResponse("GraphiQL was not built", status_code=404)(scope, receive, send)

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return the file with headers that let browsers cache it permanently."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


assets = Assets()
