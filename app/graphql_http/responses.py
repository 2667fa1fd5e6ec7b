"""Results as answers over HTTP, with the status that their errors ask for."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from strawberry.types import ExecutionResult

from app.graphql_http.errors import INTERNAL, STATUS_BY_CODE, UNAVAILABLE
from app.graphql_http.result_body import body_of
from app.http.media_types import JSON
from graphql_schema.engine.results import is_unanswered
from graphql_schema.errors import RETRY_AFTER
from stores.json import codec

_LARGE: Final = 16 * 1024
"""Bytes of an answer whose data takes longer to be let go of than to be handed on."""

_ANSWER_HEADERS: Final = ((b"vary", b"Accept"), (b"cache-control", b"no-store"))


def result_response(result: ExecutionResult, media_type: str) -> Response:
    """The answer that a result makes."""
    body = body_of(result)
    status = 200
    extensions = [error.extensions or {} for error in result.errors or ()]
    if extensions and "data" not in body:
        status = STATUS_BY_CODE.get(extensions[0].get("code", ""), 400)
        # A client of the older media type takes only 200 for a GraphQL response.
        status = 200 if media_type == JSON and status < INTERNAL else status
    passing = next((each for each in extensions if RETRY_AFTER in each), None)
    if passing and is_unanswered(result):
        # Scripts, and whatever stands between, go by these rather than by what the body says, and send it all again.
        status = STATUS_BY_CODE.get(passing["code"], UNAVAILABLE)
        return json_response(body, media_type, status, {"Retry-After": str(passing[RETRY_AFTER])})
    return json_response(body, media_type, status)


def _let_go(_held: object) -> None:
    """Whoever has this called later holds something until then."""


class _JsonResponse(Response):
    """JSON with the headers of a GraphQL answer; of these Starlette would look at each, to see what is missing."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set them, and what there is beside them."""
        self.raw_headers = [
            (b"content-type", f"{self.media_type}; charset=utf-8".encode()),
            (b"content-length", b"%d" % len(self.body)),
            *_ANSWER_HEADERS,
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
        ]


def json_response(
    body: dict[str, Any], media_type: str, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of JSON."""
    text = codec.dumps(body)
    if len(text) > _LARGE:
        # It takes a while to be let go of, for which its client need not wait: the answer is written first.
        asyncio.get_running_loop().call_soon(_let_go, body)
    return _JsonResponse(text, status, headers, media_type)
