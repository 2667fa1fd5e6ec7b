"""The samples that /metrics reports."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Sample = tuple[str, frozenset[tuple[str, str]]]


async def read_samples(client: httpx.AsyncClient) -> dict[Sample, float]:
    """Return every sample of /metrics by its name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def sample(name: str, **labels: str) -> Sample:
    """Return the key of a sample."""
    return name, frozenset(labels.items())
