"""The partition of a key: murmur2 as Kafka's Java client computes it, so that records of any client with one key meet
on one partition.
"""

from functools import lru_cache
from struct import unpack_from

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


@lru_cache(maxsize=16_384)
def partition_of(key: bytes, partitions: int) -> int:
    """Cached: a saga's key comes back a dozen times, and the hash in Python costs twenty times the look-up. Full, the
    cache is 4 MB.
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for word in unpack_from(f"<{length >> 2}I", data):
        k = (word * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if length > whole:
        h = ((h ^ int.from_bytes(data[whole:], "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)
