"""Requests to the Weave SDK's door that a page in a browser makes: those of a page from elsewhere are refused.

A page may send a body that says it is text to any server that its reader's machine reaches, and the SDK's bodies are
read whatever they say they are. Browsers tell which page asks, which no page can keep them from; programs tell nothing.
"""

from typing import Final

from starlette.datastructures import Headers

from stores.errors import ForbiddenError

_OURS: Final = frozenset({"same-origin", "none"})


def check_page(headers: Headers) -> None:
    """Refuse a request of a page that this server did not serve.

    Raises:
        ForbiddenError: it is one.
    """
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    is_ours = site in _OURS if site else origin is None or origin.partition("://")[2] == headers.get("host")
    if not is_ours:
        raise ForbiddenError(
            f"pages of {(origin or 'another site')[:200]} may send nothing here: the Weave SDK's door is for programs, "
            "which send neither Origin nor Sec-Fetch-Site"
        )
