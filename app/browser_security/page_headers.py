"""Headers of the HTML pages that the server shows to browsers: GraphiQL and the documentation."""

from collections.abc import Mapping
from typing import Final

_CONTENT_SOURCES: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


def page_headers(more_sources: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return headers that keep a page to its own origin, out of frames, and revalidated before each use.

    Args:
        more_sources: directives of the content security policy that this page adds or replaces.
    """
    sources = _CONTENT_SOURCES | dict(more_sources or {})
    return {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": "; ".join(" ".join(rule) for rule in sources.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
