"""The data of the demo: the company, topics of conversation, and cases of customers.

`company.toml` and `conversations.toml` contain the data, and describe it.
"""

import tomllib
from pathlib import Path
from random import Random
from typing import Any, Final

Json = dict[str, Any]


def _read(name: str) -> Json:
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


COMPANY: Final = _read("company.toml")
CHANCES: Final[dict[str, float]] = COMPANY["chances"]

_CONVERSATIONS: Final = _read("conversations.toml")
TOPICS: Final[list[Json]] = [{**_CONVERSATIONS["english"], **topic} for topic in _CONVERSATIONS["topics"]]
FOREIGN_TOPICS: Final[list[Json]] = [
    {**_CONVERSATIONS["foreign"], "follow_ups": topic["exchanges"], **topic}
    for topic in _CONVERSATIONS["foreign_topics"]
]


def draw_case(rng: Random) -> Json:
    """Draw a customer's case: facts that fill the placeholders of texts.

    `amount` is in euros; `days` is small enough to be used as months or pieces too.
    """
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
