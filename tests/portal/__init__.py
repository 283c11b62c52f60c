"""A Bitrix24 for tests: portals, OAuth servers and the event queue in one process."""

from .clock import Clock
from .simulator import Simulator
from .worker import OPTION_VARIANTS, Render, worker_post

__all__ = ["OPTION_VARIANTS", "Clock", "Render", "Simulator", "worker_post"]
