"""OpenID Connect: an issuer's tokens, accepted like API keys; needs the extra `loomql[oidc]`."""

from app.auth.oidc.tokens import OidcTokens

__all__ = ["OidcTokens"]
