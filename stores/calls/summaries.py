"""A call's summary as read: the client's keys plus computed fields under `weave`; and the call's token usage."""

from functools import lru_cache
from typing import Any, Final

from stores.json import codec
from stores.paging import JsonField, Row
from stores.usage.classes import class_fields
from stores.usage.entries import by_model, sent_counts

_SENT: Final = JsonField("summary")


class Summary(JsonField):
    """The summary of a row: the client's keys first, then `weave`, merged with the client's own `weave` keys."""

    def text(self, row: Row) -> str:
        """Return the JSON text; it parses the client's summary only if that has its own `weave`."""
        sent = _SENT.text(row) or "{}"
        if '"weave"' in sent:
            return codec.encode(self.value(row))
        comma = "," if len(sent) > len("{}") else ""
        latency_ms = row.get("latency_ms")
        latency_text = "" if latency_ms is None else f',"latency_ms":{int(latency_ms)}'
        name = _name(row)
        return f"{sent[:-1]}{comma}{_status_and_name(row['status'], name, row[name])}{latency_text}}}}}"

    def value(self, row: Row) -> dict[str, Any]:
        """Return the parsed value."""
        sent = _object(_SENT.value(row))
        return {**sent, "weave": _object(sent.get("weave")) | _weave(row)}


SUMMARY: Final = Summary("summary")


@lru_cache(1024)
def _status_and_name(status: str, name: str, text: str) -> str:
    """Return the JSON text of status and name under `weave`; cached, since many calls of a page share it."""
    return f'"weave":{{"status":"{status}","{name}":{codec.encode(text)}'


def _name(row: Row) -> str:
    return "display_name" if row.get("display_name") else "trace_name"


def _weave(row: Row) -> dict[str, Any]:
    name = _name(row)
    weave = {"status": row["status"], name: row[name]}
    return weave | ({"latency_ms": row["latency_ms"]} if "latency_ms" in row else {})


def usage(row: Row) -> list[dict[str, Any]]:
    """Return the token counts per model in a row's summary: `model`, the counts as sent, and the counts by class.

    Counts that were not sent, or are no 64-bit integers, are absent; a class without tokens has 0.
    """
    stored = {entry["model"]: entry for entry in row.get("usage", ())}
    return [
        {"model": model, **sent_counts(counts), **_classes(stored.get(model))}
        for model, counts in by_model(_SENT.value(row)).items()
    ]


def _classes(entry: dict[str, Any] | None) -> dict[str, int]:
    return class_fields(entry["prompt_tokens"], entry.get("classes", {})) if entry else class_fields(0, {})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
