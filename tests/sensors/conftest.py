"""The fixtures that the tests of the sensor and of its trigger share."""

from __future__ import annotations

from tests.sensors.waiting import firstpromoter, postgresql, sqlite

__all__ = ["firstpromoter", "postgresql", "sqlite"]
