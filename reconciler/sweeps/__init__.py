"""Periodic duties, one per file, each safe to run twice and on two hosts."""
