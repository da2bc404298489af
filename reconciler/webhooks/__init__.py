"""Calling the webhooks of conditions: the one place that connects to addresses a user has named."""
