"""Serve one launch: its lease, its secrets, its run, its report."""
