"""What happened at the portals, in order: for tests, which look into it, and for the demo's list."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from .clock import Clock

# What a portal's page tells of itself; everything else is written by the simulator.
FROM_PAGES = ("load", "refused", "command", "dropped", "slider", "closed")


@dataclass(frozen=True)
class Entry:
    """`time` is simulated. Facts by kind:

    load: row, page, user, uri, nth, elapsed_ms, slow     one load event of one frame
    refused: row, page, user, uri                         the portal answered without a frame
    report: row, count, deleted                           a slow load that reached the portal
    bound, unbound, deleted: row, title, user_id          registrations come and go
    notice: status, error                                 what the error URL answered
    command: page, app, command, params, result           a message of a frame that was carried out
    dropped: page, app, command, reason                   one that was not; the frame learns nothing
    slider: page, what, path, params; closed: page, path  openApplication, openPath
    card: page, event, payload                            what the call card told the frames
    signal: app, command, params                          pull.application.event.add
    """

    number: int
    time: float
    kind: str
    portal: str
    facts: dict[str, Any]


class Activity:
    """An append-only list that many threads fill."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def add(self, kind: str, portal: str, **facts: Any) -> Entry:
        with self._lock:
            entry = Entry(len(self._entries) + 1, self._clock.now(), kind, portal, facts)
            self._entries.append(entry)
        return entry

    def entries(self, portal: str = "", kind: str = "", since: int = 0) -> list[Entry]:
        """All, or one portal's, or those of one kind, behind number `since`."""
        with self._lock:
            return [e for e in self._entries[since:]
                    if portal in ("", e.portal) and kind in ("", e.kind)]
