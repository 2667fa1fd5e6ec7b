"""What reaches the providers of models: secrets, base URLs, and the client library, which is imported when used."""

from app.providers.environment import EnvironmentProviders

__all__ = ["EnvironmentProviders"]
