"""The portal's slow-load counter, literally (protocol.md 2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import Portal, Row


@dataclass(frozen=True)
class Rule:
    """Today: ten are tolerated, with a reset. An older component: Rule(limit=3, resets=False)."""

    limit: int = 10
    resets: bool = True
    delay_ms: int = 5000
    window: int = 86400


def is_slow(elapsed_ms: float, rule: Rule) -> bool:
    """Strictly greater: 5000 ms is fine."""
    return rule.delay_ms < elapsed_ms


def report(portal: Portal, row: Row, now: float) -> bool:
    """Counts one slow load; True if it deleted the row.

    The deadline belongs to the portal, not to the row: the first slow load of any row moves it,
    and a reset caused by one row leaves the others their old counts.
    """
    rule, now = portal.rule, int(now)  # unix time
    count = row.options.get("maxTimeCount", 0)
    if rule.resets and (not count or portal.overtime_deadline < now):
        count = 0
        portal.overtime_deadline = now + rule.window
    count += 1
    if count > rule.limit:
        portal.rows.remove(row)
        return True
    row.options["maxTimeCount"] = count
    return False
