"""The few models the app keeps in memory; the least recently used is dropped first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass
class ModelCache(Generic[K, V]):
    """Keeps what `load` returns for the last `capacity` keys.

    One lock for all: loading two models at once would double the peak of memory.
    """

    load: Callable[[K], V]
    capacity: int = 2
    _models: "OrderedDict[tuple[K, str], V]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: K, version: str = "") -> V:
        """What `load` returns for `name`, loaded unless this version is here already."""
        key = (name, version)
        with self._lock:
            if key in self._models:
                self._models.move_to_end(key)
                return self._models[key]
            while len(self._models) >= self.capacity:
                self._models.popitem(last=False)
            self._models[key] = self.load(name)
            return self._models[key]

    def loaded(self) -> tuple[V, ...]:
        """All loaded values."""
        with self._lock:
            return tuple(self._models.values())

    def holds(self, name: K, version: str = "") -> bool:
        """Whether this version is loaded."""
        return (name, version) in self._models
