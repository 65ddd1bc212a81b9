"""Keys go where any other client sends them."""

from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.bus import kafka_client  # noqa: F401 (the library warns when it is imported by others)
from ordersaga.bus.partitioner import murmur2, partition_of

library_murmur2 = import_module("kafka.partitioner.default").murmur2


@given(st.binary(max_size=200))
def test_our_hash_is_the_client_librarys(key: bytes) -> None:
    assert murmur2(key) == library_murmur2(key)


@pytest.mark.parametrize(
    ("key", "hashed"), [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)]
)
def test_our_hash_is_the_java_clients(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed % 2**32


@given(st.binary(min_size=1, max_size=50), st.integers(min_value=1, max_value=100))
def test_a_partition_exists(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
