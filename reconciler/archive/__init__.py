"""The archive: ended runs in S3, after Redis has forgotten them. Its format stands in docs/archive.md.

- `archive.py` one run, one object: write and read; `lines.py` what stands in it, `packing.py` how it is compressed.
- `index.py` which runs there are, `query.py` questions to it, `compaction.py` keeps it small.
- `deleting.py` removes runs on request; `bulk.py` what was asked of many runs at once.
- `segments.py` old events of runs that live for long.
- `record.py` what is read from it: `ArchivedRun`, `ArchivedAction`.
"""
