"""CRC32c, the checksum of the PROXY protocol (RFC 9260, appendix A). The standard library has only another CRC-32."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, with its bits reversed


def _entry(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (_POLYNOMIAL if index & 1 else 0)
    return index


_TABLE = tuple(_entry(index) for index in range(256))


def crc32c(data: bytes) -> int:
    """Return the CRC32c of the data."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
