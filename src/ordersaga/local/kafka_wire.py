"""The two questions that tell whether a broker is ready, in the bytes of Kafka's protocol.

They are asked without a client library, so that a server can be judged apart from the client that is tested against it.
"""

import socket
import struct

_CREATE_TOPICS, _API_VERSIONS = 19, 18
_CLIENT_ID = b"ordersaga-local"
_PROBE_TOPIC = b"is-this-broker-ready"


def answers(port: int, timeout_seconds: float = 0.5) -> bool:
    """Whether the listener speaks Kafka (ApiVersions, version 0). A broker may do so and yet be unable to work."""
    answer = _ask(port, _API_VERSIONS, 0, b"", timeout_seconds)
    return answer is not None and answer[:2] == b"\0\0"


def listens(port: int, timeout_seconds: float = 0.5) -> bool:
    """Whether anything does: all that can be said of an encrypted listener without its certificates."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout_seconds).close()
    except OSError:
        return False
    return True


def accepts_partitions(port: int, node_id: int, timeout_seconds: float = 2.0) -> bool:
    """Whether a topic could be created now with its only partition on node `node_id`: there is a quorum, and it counts
    that node among the living. Only validated (CreateTopics, version 2): no topic is made.
    """
    unset, one_assignment, no_configs = struct.pack(">ih", -1, -1), struct.pack(">iiii", 1, 0, 1, node_id), bytes(4)
    topic = _text(_PROBE_TOPIC) + unset + one_assignment + no_configs
    body = struct.pack(">i", 1) + topic + struct.pack(">i?", int(timeout_seconds * 500), True)
    answer = _ask(port, _CREATE_TOPICS, 2, body, timeout_seconds)
    error_at = 4 + 4 + 2 + len(_PROBE_TOPIC)  # after the throttle time, the number of topics and the name
    return answer is not None and answer[error_at : error_at + 2] == b"\0\0"


def _ask(port: int, api_key: int, api_version: int, body: bytes, timeout_seconds: float) -> bytes | None:
    """The body of the answer; None when there is none."""
    request = struct.pack(">hhi", api_key, api_version, 1) + _text(_CLIENT_ID) + body
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                return stream.read(size)[4:]  # without the correlation id
    except (OSError, struct.error):
        return None


def _text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value
