"""Base64, read strictly: each content has one spelling (RFC 4648, section 4)."""

import binascii


def decode(text: str) -> bytes | None:
    """The bytes; None where the text is no Base64, lacks padding, has line breaks, or has bits that no byte holds."""
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    whole = len(content) // 3
    return content if encode(content[whole * 3 :]) == text[whole * 4 :] else None


def encode(content: bytes) -> str:
    """The text."""
    return binascii.b2a_base64(content, newline=False).decode()
