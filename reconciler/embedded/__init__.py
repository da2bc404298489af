"""A complete backend on one machine, with pip alone: Valkey, an S3 server and the Celery processes."""
