"""What a worker does about one launch: its lease, its secrets, its run, its report."""
