"""Access to model providers: secrets, base URLs, and the HTTP client, which is imported at first use."""

from app.providers.environment import EnvironmentProviders

__all__ = ["EnvironmentProviders"]
