"""Failures in the demo data, with the tracebacks that the programs record."""

from dataclasses import dataclass
from random import Random
from typing import Final

from app.demo.cases import Case
from app.demo.span import Span, StepError

_COMPLETE: Final = (
    '  File "assistant/llm.py", line 71, in complete\n    return client.chat.completions.create(**request)'
)
_SEARCH: Final = (
    '  File "assistant/retrieval.py", line 112, in vector_search\n    hits = index.query(vector, top_k=top_k)'
)
_TOOL: Final = '  File "assistant/tools/{tool}.py", line {line}, in {tool}\n    {code}'


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure: its traceback, the seconds until it occurs, and its weight in the random choice."""

    traceback: str
    seconds: float
    weight: int = 1

    def strike(self, call: Span) -> StepError:
        """Let the time pass, then return the exception to raise."""
        call.work(self.seconds, spread=0.02)
        return StepError(self.traceback)


def _traceback(frame: str, error: str) -> str:
    return f"Traceback (most recent call last):\n{frame}\n{error}"


_MODEL: Final = (
    Failure(
        _traceback(
            _COMPLETE,
            "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached for tokens per min "
            "(TPM): Limit 450000, Used 448211, Requested 3120. Please try again in 177ms.', 'type': 'tokens', "
            "'code': 'rate_limit_exceeded'}}",
        ),
        0.4,
        5,
    ),
    Failure(
        _traceback(
            '  File "httpx/_transports/default.py", line 101, in map_httpcore_exceptions\n    yield\n'
            f"httpcore.ReadTimeout: The read operation timed out\n\n{_COMPLETE}",
            "openai.APITimeoutError: Request timed out.",
        ),
        30.0,
        3,
    ),
    Failure(_traceback(_COMPLETE, "openai.InternalServerError: Error code: 503 - upstream connect error"), 1.8, 2),
)

SEARCH_TIMEOUT: Final = Failure(
    _traceback(_SEARCH, "TimeoutError: index help-centre did not answer within 5.0 s (shard 3 of 4)"), 5.0
)

_ORDER_CODE: Final = 'raise ValueError(f"order {order_id!r} is unknown in this region")'
_AMOUNT_CODE: Final = 'raise ValueError(f"refund of {amount:.2f} EUR for {order_id} needs an approval")'
_TOOLS: Final = {
    "order_status": (58, _ORDER_CODE, "ValueError: order '{order}' is unknown in this region"),
    "refund": (133, _AMOUNT_CODE, "ValueError: refund of {amount:.2f} EUR for {order} needs an approval"),
    "billing_history": (40, "return [Invoice(**row) for row in rows]", "KeyError: 'vat_rate'"),
    "device_diagnostics": (
        77,
        "report = await device.report(timeout=8.0)",
        "TimeoutError: the {product} did not answer within 8.0 s; last seen {days} h ago",
    ),
    "replacement": (91, "stock.reserve(sku, 1)", "ValueError: no {product} left in the warehouse of {city}"),
}
_CRM_DOWN: Final = (29, "response.raise_for_status()", "ConnectionError: crm.internal:8443 refused the connection")


def of_model(rng: Random) -> Failure:
    """Return a failure of a model provider, most often a rate limit."""
    return rng.choices(_MODEL, [failure.weight for failure in _MODEL])[0]


def of_tool(tool: str, case: Case) -> Failure:
    """Return the failure of a tool, with the facts of the case."""
    line, code, error = _TOOLS.get(tool, _CRM_DOWN)
    frame = _TOOL.format(tool=tool, line=line, code=code)
    return Failure(_traceback(frame, case.tell(error)), 8.0 if error.startswith("TimeoutError") else 0.2)
