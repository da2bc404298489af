"""Runs in Flower: pages and a JSON API beside Flower's own, read from the records."""
