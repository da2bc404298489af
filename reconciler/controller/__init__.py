"""`TaskActionReconciler` and its parts. Read reconciler.py first; the other files are functions that take a `Round`.

reconciler.py  claim, decide, commit; the methods of `TaskActionReconciler`
round.py       the round: record, time, plugin, and the one write; how it publishes and ends
task.py        the task path: validate, cache, plugin
outcome.py     from the phase of a round to the record
attempts.py    after a failed attempt: the next one, or the end
failures.py    failures that are the platform's fault; overruns.py those of rounds that never commit
cleanup.py     stopping what a plugin launched
ending.py      the end: by failure, by an abort, and what is still owed after it
cache.py       the cache before and after execution: cache_config.py says whether and under which key, cache_put.py publishes
approval.py    waiting for a person's signal; webhook.py calls the webhook of the condition
limits.py      time limits, and when to look again; planned.py: start times and expiry; quota_leases.py: units of quotas
services.py    what every plugin gets of its reconciler; dependencies.py describes the attributes
launches.py    counting lost, failed and suspended launches; traced.py makes spans of them; audit.py warns operators
step.py        a step is a batch of rounds; ahead.py overlaps full ones, handles.py runs side by side those that may block,
               delays.py postpones failed rounds, wakes.py sends messages, joined.py lets a running step take over further
               messages for its shard, concurrency.py bounds them
conclude.py    the step after an attempt, taken by its worker with the report
"""
