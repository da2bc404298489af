"""The process in which users' functions run, and the runner that supervises it."""
