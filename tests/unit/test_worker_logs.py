"""What a worker leaves out of its log."""

from __future__ import annotations

import warnings

from celery.exceptions import CPendingDeprecationWarning
from celery.worker.consumer.consumer import CANCEL_TASKS_BY_DEFAULT

from worker.logs import leave_out_advice


def test_a_lost_connection_brings_no_advice_on_a_setting_that_is_chosen() -> None:
    """Celery warns whatever is set; what it says of tasks that run is not so here. Its other warnings stay."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        leave_out_advice()
        warnings.warn(CANCEL_TASKS_BY_DEFAULT, CPendingDeprecationWarning, stacklevel=1)
        warnings.warn("another", CPendingDeprecationWarning, stacklevel=1)
    assert [str(one.message) for one in told] == ["another"]
