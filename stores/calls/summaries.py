"""A call's summary as it reads: what the writer sent, with what LoomQL knows under `weave`; and its token usage."""

from typing import Any, Final

from stores import json_text
from stores.paging import Row

USAGE_COUNTS: Final = (
    "prompt_tokens",
    "input_tokens",
    "completion_tokens",
    "output_tokens",
    "requests",
    "total_tokens",
)


def summary_text(row: Row) -> str:
    """The JSON text of a row's summary, its own keys first, then `weave`; keys that a writer put there survive."""
    own: str = row.get("json", {}).get("summary", "{}")
    weave = _weave(row)
    if '"weave"' not in own:
        return own[:-1] + ("," if len(own) > len("{}") else "") + f'"weave":{json_text.encode(weave)}}}'
    summary = _object(own)
    sent = summary.get("weave")
    summary["weave"] = (sent if isinstance(sent, dict) else {}) | weave
    return json_text.encode(summary)


def _weave(row: Row) -> dict[str, Any]:
    name = "display_name" if row.get("display_name") else "trace_name"
    weave = {"status": row["status"], name: row[name]}
    return weave | ({"latency_ms": row["latency_ms"]} if "latency_ms" in row else {})


def usage(row: Row) -> list[dict[str, Any]]:
    """The token counts of each model that a row's summary names, under `model`; counts not sent are absent."""
    by_model = _object(row.get("json", {}).get("summary", "{}")).get("usage")
    if not isinstance(by_model, dict):
        return []
    return [{"model": model, **_counts(counts)} for model, counts in by_model.items() if isinstance(counts, dict)]


def _counts(sent: dict[str, Any]) -> dict[str, int]:
    return {name: int(sent[name]) for name in USAGE_COUNTS if _is_count(sent.get(name))}


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 63


def _object(text: str) -> dict[str, Any]:
    value = json_text.loads(text.encode())
    return value if isinstance(value, dict) else {}
