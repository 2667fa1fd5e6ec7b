"""Facts of a customer's case, which fill the placeholders of message templates."""

from dataclasses import asdict, dataclass
from random import Random

from app.demo import vocabulary


@dataclass(frozen=True, slots=True)
class Case:
    """A customer and a problem. `amount` is in euros; `days` is small enough to be used as months or pieces too."""

    customer: str
    first_name: str
    tier: str
    city: str
    country: str
    order: str
    case_number: str
    product: str
    other_product: str
    carrier: str
    reason: str
    days: int
    amount: float

    @classmethod
    def draw(cls, rng: Random) -> "Case":
        """Draw a random customer and problem."""
        customer = rng.choice(vocabulary.CUSTOMERS)
        city, country = rng.choice(list(vocabulary.CITIES.items()))
        product, other_product = rng.sample(vocabulary.PRODUCTS, 2)
        return cls(
            customer,
            customer.split()[0],
            rng.choice(vocabulary.TIERS),
            city,
            country,
            f"LQ-{rng.randint(100_000, 999_999)}",
            f"C-{rng.randint(10_000, 99_999)}",
            product,
            other_product,
            rng.choice(vocabulary.CARRIERS),
            rng.choice(vocabulary.REASONS),
            rng.randint(2, 9),
            rng.randint(790, 28_900) / 100,
        )

    def tell(self, template: str) -> str:
        """Fill the placeholders of a template."""
        return template.format(**asdict(self))
