"""UUID version 7 (RFC 9562, section 5.7): keys that sort by the time they were made."""

import os
import time
import uuid


def uuid7() -> uuid.UUID:
    """A new key: 48 bits of milliseconds, 12 bits of their fraction (method 3 of section 6.2), 62 random bits."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random_bits = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | random_bits)
