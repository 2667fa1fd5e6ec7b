"""Providers of models that a team runs or rents itself, and their models."""

from typing import Literal

from pydantic import Field

from stores.objects.builtin.base import BaseObject


class Provider(BaseObject):
    """Where models are reached, and the name of the secret that opens it."""

    base_url: str
    api_key_name: str
    extra_headers: dict[str, str] = Field(default_factory=dict)
    return_type: Literal["openai"] = "openai"


class ProviderModel(BaseObject):
    """One model of a provider, which is named by its ref or digest."""

    provider: str
    max_tokens: int
