"""The dataset: two hundred questions with expected answers, identical in every project."""

from random import Random
from typing import Final

from app.demo.cases import Case
from app.demo.span import Json
from app.demo.topics import TOPICS

NAME: Final = "support-questions"
ROWS: Final = 200


def rows() -> list[Json]:
    """Return the rows; questions of different areas alternate."""
    rng = Random(NAME)  # noqa: S311 -- demo data, not a secret
    return [_row(number, rng) for number in range(ROWS)]


def _row(number: int, rng: Random) -> Json:
    case, topic = Case.draw(rng), TOPICS[number % len(TOPICS)]
    question, expected = rng.choice(topic.exchanges)
    return {
        "id": f"q-{number + 1:03}",
        "area": topic.area,
        "intent": topic.intent,
        "question": case.tell(question),
        "expected": case.tell(expected),
        "customer": {"tier": case.tier, "country": case.country},
    }
