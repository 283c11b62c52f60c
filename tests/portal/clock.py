"""The simulated time, which tests move instead of sleeping."""

from __future__ import annotations

import threading
import time


class Clock:
    """Wall time plus what tests added; with `start`, time that moves only when it is told to."""

    def __init__(self, start: float | None = None) -> None:
        self._start = start
        self._added = 0.0
        self._closed = False
        self._moved = threading.Condition()

    def now(self) -> float:
        """Seconds since 1970 in the simulated world."""
        return (time.time() if self._start is None else self._start) + self._added

    def advance(self, seconds: float) -> float:
        """Moves the time on and wakes whoever waits for it."""
        with self._moved:
            self._added += seconds
            self._moved.notify_all()
        return self.now()

    def wait_until(self, moment: float) -> bool:
        """Blocks until `moment`; False if the world ended before."""
        with self._moved:
            while not self._closed and self.now() < moment:
                self._moved.wait(None if self._start is not None else moment - self.now())
            return not self._closed

    def close(self) -> None:
        """Ends every wait, so that the simulator stops at once."""
        with self._moved:
            self._closed = True
            self._moved.notify_all()
