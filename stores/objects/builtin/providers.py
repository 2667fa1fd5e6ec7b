"""Custom model providers of a team, and their models."""

from typing import Literal

from pydantic import Field

from stores.objects.builtin.base import BaseObject


class Provider(BaseObject):
    """API endpoint of models, and the name of its API key."""

    base_url: str
    api_key_name: str
    extra_headers: dict[str, str] = Field(default_factory=dict)
    return_type: Literal["openai"] = "openai"


class ProviderModel(BaseObject):
    """One model of a provider, which is identified by its ref or digest."""

    provider: str
    max_tokens: int
