"""A call's summary as it reads: what the writer sent, with what LoomQL knows under `weave`; and its token usage."""

from functools import lru_cache
from typing import Any, Final

from stores.json import codec
from stores.paging import Row
from stores.row_fields import JsonField
from stores.usage.counts import class_fields
from stores.usage.entries import by_model, sent_counts

_SENT: Final = JsonField("summary")


class Summary(JsonField):
    """The summary of rows: the writer's own keys first, then `weave`; keys that a writer put there survive."""

    def text(self, row: Row) -> str:
        """The JSON text, made without parsing what was sent unless that has a `weave` of its own."""
        sent = _SENT.text(row) or "{}"
        if '"weave"' in sent:
            return codec.encode(self.value(row))
        comma = "," if len(sent) > len("{}") else ""
        latency = row.get("latency_ms")
        took = "" if latency is None else f',"latency_ms":{int(latency)}'
        name = _name(row)
        return f"{sent[:-1]}{comma}{_told(row['status'], name, row[name])}{took}}}}}"

    def value(self, row: Row) -> dict[str, Any]:
        """The parsed value."""
        sent = _object(_SENT.value(row))
        return {**sent, "weave": _object(sent.get("weave")) | _weave(row)}


SUMMARY: Final = Summary("summary")


@lru_cache(1024)
def _told(status: str, name: str, text: str) -> str:
    """The text of a call's status and name under `weave`: many calls of a page have theirs in common."""
    return f'"weave":{{"status":"{status}","{name}":{codec.encode(text)}'


def _name(row: Row) -> str:
    return "display_name" if row.get("display_name") else "trace_name"


def _weave(row: Row) -> dict[str, Any]:
    name = _name(row)
    weave = {"status": row["status"], name: row[name]}
    return weave | ({"latency_ms": row["latency_ms"]} if "latency_ms" in row else {})


def usage(row: Row) -> list[dict[str, Any]]:
    """The token counts of each model that a row's summary names, under `model`, and by class as the row keeps them.

    What is no whole number of 64 bits is absent, as is what was not sent; a class that has no tokens has 0.
    """
    kept = {entry["model"]: entry for entry in row.get("usage", ())}
    return [
        {"model": model, **sent_counts(counts), **_classes(kept.get(model))}
        for model, counts in by_model(_SENT.value(row)).items()
    ]


def _classes(entry: dict[str, Any] | None) -> dict[str, int]:
    return class_fields(entry["prompt_tokens"], entry.get("classes", {})) if entry else class_fields(0, {})


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
