"""`TaskActionReconciler`: read reconciler.py first. The rooms, each a few functions that take a `Round`, are these.

reconciler.py  claim, decide, commit; the methods of `TaskActionReconciler`
round.py       what a round has, and how it publishes and ends
task.py        the task path: validate, cache, plugin
outcome.py     from the phase of a round to the record
attempts.py    what becomes of an attempt that failed
failures.py    failures by the platform's fault
cleanup.py     stopping what a plugin launched
ending.py      the end: by failure, by an abort, and what is owed after it
cache.py       the cache before and after execution
approval.py    asking a person; webhook.py tells somebody else that a person is asked
limits.py      limits of time, and when to look again; planned.py: not before a time, or not after it
launches.py    what became of launches, to be counted; traced.py makes spans of it
step.py        a step is a batch of such rounds; ahead.py overlaps full ones, delays.py puts off what failed, wakes.py sends,
               joined.py lets two steps of a shard do what further messages ask for
"""
