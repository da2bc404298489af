"""The rules, as pure functions of (record, what was observed, now)."""
