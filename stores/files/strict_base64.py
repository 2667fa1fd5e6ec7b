"""Strict Base64 (RFC 4648, section 4): each content has exactly one valid encoding."""

import binascii


def decode(text: str) -> bytes | None:
    """Decode a text; None if it is no Base64, lacks padding, has line breaks, or has non-zero trailing bits."""
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    whole = len(content) // 3
    return content if encode(content[whole * 3 :]) == text[whole * 4 :] else None


def encode(content: bytes) -> str:
    """Encode bytes without line breaks."""
    return binascii.b2a_base64(content, newline=False).decode()
