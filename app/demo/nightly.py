"""A nightly batch job that summarises the day's tickets, with a chart, for the morning meeting."""

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import orjson

from app.demo.company import COMPANY, TOPICS, Json, draw_case
from app.demo.simulation import HOUR, Span, Trace, World, chat
from stores.files import NewFile
from stores.files.data_urls import METADATA_NAME, value_of

_WIDTH, _HEIGHT, _BAR, _GAP = 320, 120, 24, 12
_COLOURS: Final = bytes.fromhex("ffffff 6b4eff 00a38d f2a541 e4572e 3d5a80 9c89b8 7a9e7e b56576 4f6d7a")
"""RGB colours of the background, then of the bars in order."""
_BAR_COLOURS: Final = len(_COLOURS) // 3 - 1


def night(world: World, days_ago: int) -> Span:
    """Record the run of one night, at 02:00 UTC."""
    rng = world.rng
    started_at = world.timestamp(days_ago, 2 * HOUR + rng.randrange(HOUR // 60))
    run_id = f"{world.library.project_id}/nightly-{rng.getrandbits(32):08x}"
    ids = {"wb_user_id": "nightly-jobs", "wb_run_id": run_id}
    trace = Trace(world, started_at, "production", "eu-central-1", ids)
    topics = rng.choices(TOPICS, k=rng.randint(9, 17))
    with Span(trace, "tickets.summarise_night", {"queue": "support", "tickets": len(topics)}, started_at) as batch:
        lines = [_summarise(batch, topic) for topic in topics]
        areas = Counter(sorted(topic["area"] for topic in topics))
        batch.output = {
            "summaries": [line for line in lines if line],
            "failed": lines.count(None),
            "areas": dict(areas),
            "chart": _chart(world, areas),
        }
    return batch


def _summarise(batch: Span, topic: Json) -> Json | None:
    """Return one line for the meeting; None if the summary fails, so that the ticket waits for the next night."""
    rng = batch.rng
    case = draw_case(rng)
    ticket = rng.choice(topic["exchanges"])[0].format_map(case)
    opening = "{first_name} ({city}): {product}.".format_map(case)
    line = f"{opening} {topic['area']}, priority {rng.randint(1, 3)}, {rng.choice(COMPANY['moods'])}"
    summary = {"ticket_id": case["case_number"], "summary": line}
    with batch.step("summarise_ticket", {"ticket_id": case["case_number"], "text": ticket}, optional=True) as call:
        chat(call, "open", COMPANY["prompts"]["summary"], ticket, line)
        call.output = summary
    return None if call.exception else summary


def _chart(world: World, areas: Counter[str]) -> Json:
    """Return a bar chart of the areas as Weave's client represents a picture, and add its files to the library."""
    picture = NewFile.of(bar_chart(list(areas.values())), "tickets-by-area.png")
    known = {
        "id": world.new_id(),
        "size": picture.size_bytes,
        "mimetype": "image/png",
        "digest": picture.digest,
        "filename": picture.name,
        "content_type": "bytes",
        "input_type": "bytes",
        "encoding": "utf-8",
        "metadata": None,
        "extension": ".png",
    }
    metadata = NewFile.of(orjson.dumps(known), METADATA_NAME)
    world.library.files += [picture, metadata]
    return value_of(picture, metadata)


def bar_chart(counts: Sequence[int]) -> bytes:
    """Return a PNG with one bar for each count; the highest bar has the height of the picture."""
    tops = [_HEIGHT - (_HEIGHT - _GAP) * count // max([*counts, 1]) for count in counts]
    lines = b""
    for y in range(_HEIGHT):
        line = b""
        for number, top in enumerate(tops):
            colour = 1 + number % _BAR_COLOURS if y >= top else 0
            line += bytes(_GAP) + bytes([colour]) * _BAR
        lines += b"\0" + line.ljust(_WIDTH, b"\0")[:_WIDTH]  # the first byte of a line says that it is unfiltered
    return _png(lines)


def _png(lines: bytes) -> bytes:
    """Encode lines of pixels as a PNG; each byte is an index into the colours."""
    png = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", _WIDTH, _HEIGHT, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": _COLOURS, b"IDAT": zlib.compress(lines, 9), b"IEND": b""}
    for kind, data in chunks.items():
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png
