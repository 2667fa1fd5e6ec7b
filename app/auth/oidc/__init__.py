"""OpenID Connect: tokens of an issuer in the place of keys. It needs the extra `loomql[oidc]`."""

from app.auth.oidc.tokens import OidcTokens

__all__ = ["OidcTokens"]
