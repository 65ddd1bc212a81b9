"""How the client library waits for its sockets, at a fraction of the calls to the system.

It registers a socket each time that it waits for it and takes it out when it is ready, which is two calls to the system
for each answer of a broker. To see whether a socket is registered it asks for its key, and the error that says no
quotes the socket with both its addresses: four more. After each such call a thread waits for the interpreter, which
whoever decides on sagas may keep for milliseconds.
"""

import selectors
from contextlib import suppress
from typing import Any


class KafkaSelector(selectors.DefaultSelector):
    """A socket that is taken out leaves with the next `select`, unless it was registered again by then.

    For the library's option `selector`: of sockets alone. One thread waits; others may take out what they close.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, selectors.SelectorKey] = {}
        """By descriptor: what is registered, as far as the library knows."""
        self._leaving: dict[int, selectors.SelectorKey] = {}
        """What the system still watches."""

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        descriptor = fileobj.fileno()
        if descriptor < 0:  # closed since: found by itself, if at all
            return super().get_key(fileobj)
        key = self._known.get(descriptor)
        if key is None:
            raise KeyError("not registered")
        return key

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        leaving = self._leaving.pop(fileobj.fileno(), None)
        if leaving is not None and leaving.fileobj is fileobj and leaving.events == events:
            key = super().modify(fileobj, events, data)  # no call to the system: only its data are others
        else:
            if leaving is not None:
                super().unregister(leaving.fd)
            key = super().register(fileobj, events, data)
        self._known[key.fd] = key
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._known[fileobj.fileno()] = super().modify(fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._known.pop(fileobj.fileno(), None)
        if key is None:  # closed, or never there
            key = super().unregister(fileobj)
            self._known.pop(key.fd, None)
            self._leaving.pop(key.fd, None)
        else:
            self._leaving[key.fd] = key
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        while self._leaving:  # one by one: another thread may close a client meanwhile
            with suppress(KeyError):
                super().unregister(self._leaving.popitem()[0])
        ready = super().select(timeout)
        return [one for one in ready if one[0].fd not in self._leaving] if self._leaving else ready
