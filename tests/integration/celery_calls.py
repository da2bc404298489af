"""The calls of `celery_app` that both sides make: apart, as Celery shares tasks with whatever process imports them."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

PATH = "<a file of this side>"
WHEN, KEY = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), uuid.UUID(int=7)
CALLS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "add": ("shop.add", [1], {}),
    "add by name": ("shop.add", [1], {"y": 4}),
    "types": ("shop.types", [WHEN, Decimal("1.5"), KEY, (1, 2)], {}),
    "gathers": ("shop.gathers", [1, 2, 3], {"last": 4, "z": 5}),
    "bound": ("shop.bound", [7], {}),
    "bound by name": ("shop.bound", [], {"x": 7}),
    "retries": ("shop.retries", [0], {}),
    "retries by name": ("shop.retries", [], {"x": 1, "log": "-"}),
    "exhausts": ("shop.exhausts", [], {}),
    "too often": ("shop.too_often", [], {}),
    "again": ("shop.again", [PATH], {}),
    "expected": ("shop.expected", ["k"], {}),
    "fails": ("shop.fails", [], {}),
    "ignores": ("shop.ignores", [], {}),
    "marks": ("shop.marks", [], {}),
    "rejects": ("shop.rejects", [], {}),
    "requeues": ("shop.requeues", [PATH], {}),
    "softly": ("shop.softly", [], {}),
    "progress": ("shop.progress", [2], {}),
    "hooked": ("shop.hooked", [2], {"y": 3}),
    "hooked fails": ("shop.hooked", [0], {}),
    "hooked retry": ("shop.hooked_retry", [3], {}),
    "area": ("shop.area", [{"width": 2}], {"scale": 3}),
    "area fails": ("shop.area", [{"width": "wide"}], {}),
    "forgets": ("shop.forgets", [], {}),
    "unwritable": ("shop.unwritable", [], {}),
    "routed": ("shop.routed", [], {}),
    "shared": ("shop.shared", [4], {}),
    "by class": ("shop.by_class", [1], {}),
    "overruns": ("shop.overruns", [], {}),
}
SILENT = {"ignores", "rejects", "forgets", "marks"}
"""Calls of which Celery's result does not say that they have ended."""
KILLED = {"overruns"}
"""Calls that say nothing at their end."""
