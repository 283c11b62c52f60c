"""The event queue: sends each message once, never again, whatever the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException

from .clock import Clock
from .messages import Message


@dataclass(eq=False)
class Delivery:
    """One queued message; `statuses` has an entry per copy, None where no answer came."""

    message: Message
    statuses: list[int | None] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, timeout: float = 20.0) -> Delivery:
        self.done.wait(timeout)
        return self

    @property
    def finished(self) -> bool:
        return self.done.is_set()

    @property
    def status(self) -> int | None:
        return self.statuses[-1] if self.statuses else None


class EventQueue:
    """A thread per message, so that a handler that hangs holds up nobody else."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deliveries: list[Delivery] = []

    def deliveries(self) -> list[Delivery]:
        """Everything ever queued, dropped messages included."""
        return list(self._deliveries)

    def send(self, message: Message, delay: float = 0, drop: bool = False, copies: int = 1,
             then: Callable[[Delivery], None] = lambda delivery: None) -> Delivery:
        """Queues a message; `delay` counts simulated seconds. `then` is called for each copy that
        was sent."""
        delivery = Delivery(message)
        self._deliveries.append(delivery)
        if drop:
            delivery.done.set()
        else:
            due = self._clock.now() + delay
            threading.Thread(target=self._deliver, args=(delivery, due, copies, then),
                             daemon=True).start()
        return delivery

    def _deliver(self, delivery: Delivery, due: float, copies: int,
                 then: Callable[[Delivery], None]) -> None:
        if self._clock.wait_until(due):
            for _ in range(copies):
                self._post(delivery)
                then(delivery)
        delivery.done.set()

    def _post(self, delivery: Delivery) -> None:
        try:
            status, answer = delivery.message.send()
            delivery.answers.append(answer)
            delivery.statuses.append(status)
        except (OSError, HTTPException) as error:
            delivery.errors.append(repr(error))
            delivery.statuses.append(None)
