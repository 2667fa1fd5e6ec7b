"""The data of the demo: the company, topics of conversation, and cases of customers.

`company.toml` and `conversations.toml` contain the data.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

Json = dict[str, Any]
Exchange = Sequence[str]
"""A message of the customer and the assistant's answer."""

Case = dict[str, Any]
"""Facts of a customer and a problem by name; they fill the placeholders of texts."""


def _read(name: str) -> Json:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


COMPANY: Final = _read("company.toml")
_CONVERSATIONS: Final = _read("conversations.toml")


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of request: openings and follow-ups with their answers, related articles, and tools it may need."""

    intent: str
    area: str
    tools: Sequence[str]
    articles: Sequence[str]
    exchanges: Sequence[Exchange]
    follow_ups: Sequence[Exchange]
    thanks: Sequence[Exchange]
    apology: str
    language: str = "en"
    greetings: Sequence[str] = ("",)
    sign_offs: Sequence[str] = ("",)
    lead_ins: Sequence[str] = ("",)
    openings: Sequence[str] = ("",)
    closings: Sequence[str] = ("",)


TOPICS: Final = [Topic(**_CONVERSATIONS["english"], **topic) for topic in _CONVERSATIONS["topics"]]
FOREIGN_TOPICS: Final = [
    Topic(area="international", tools=["order_status"], follow_ups=topic["exchanges"], **topic)
    for topic in _CONVERSATIONS["foreign_topics"]
]


def draw_case(rng: Random) -> Case:
    """Draw a customer and a problem; `amount` is in euros, and `days` is small enough for months or pieces too."""
    customer = rng.choice(COMPANY["customers"])
    city, country = rng.choice(COMPANY["cities"])
    product, other_product = rng.sample(COMPANY["products"], 2)
    return {
        "customer": customer,
        "first_name": customer.split()[0],
        "tier": rng.choice(COMPANY["tiers"]),
        "city": city,
        "country": country,
        "order": f"LQ-{rng.randint(100_000, 999_999)}",
        "case_number": f"C-{rng.randint(10_000, 99_999)}",
        "product": product,
        "other_product": other_product,
        "carrier": rng.choice(COMPANY["carriers"]),
        "reason": rng.choice(COMPANY["reasons"]),
        "days": rng.randint(2, 9),
        "amount": rng.randint(790, 28_900) / 100,
    }
