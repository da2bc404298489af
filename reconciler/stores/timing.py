"""Times and bounds that both stores follow."""

PENDING_TTL = 3000
"""Life of the mark "a wake-up message is on its way", ms. After this, another one may be sent even if the first was lost."""
GRACE = 250
"""Between the end of an attempt's lease and the step that notices, ms."""
REFILL_AFTER = 200
"""Pause from the end of a member to the next look at a group that wants more of them, ms; none when much room is free."""
APART = 100
"""How far the launches of one run stand apart in a line, ms: a run of many lets those pass that come meanwhile."""
CROWD = 100
"""So many due actions of a shard are a crowd: what becomes due behind them is noted as next …"""
FEW = 10
"""… but no more of one call than these, or the crowd would be next itself."""
TICKET_TTL = 3000
"""Life of the mark "a ticket is on its way", ms. Until it ends no second ticket is sent."""
AGED = 30_000
"""How long a launch has stood when it may go before those of higher priority, ms …"""
AGED_EVERY = 10
"""… with every so many choices of a queue."""
PART = 4
"""A draw takes at most the line's launches divided by this, and leaves the rest to other workers; but see `least` there."""
RULINGS = 100
"""Notes kept of who paused, moved or limited a queue."""
PRIORITIES = 20
"""Notes a record keeps of who gave it a priority."""
LINES_AT_ONCE = 200
"""Lines of a shard one look tells of."""
EVENT_IDS = 200
"""Positions a record keeps of its newest events: history is bounded."""
