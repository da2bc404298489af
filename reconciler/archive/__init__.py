"""The archive: ended runs in S3, after Redis has forgotten them. Its format stands in docs/archive.md.

- `archive.py` one run, one object: write and read; `lines.py` what stands in it, `fields.py` its fields by name,
  `packing.py` how it is compressed, `layout.py` where each object lies.
- `index.py` which runs there are, `query.py` questions to it, `question_fields.py` what they may ask, `recent.py` pages of
  it, `compaction.py` keeps it small.
- `deleting.py` removes runs on request: `requests.py` stores the request, `folders.py` and `unread.py` find what belongs to
  a run, `forgetting.py` forgets what is still stored, `unneeded.py` says which events go.
- `bulk.py` what was asked of many runs at once.
- `segments.py` old events of runs that live for long.
- `record.py` what is read from it: `ArchivedRun`, `ArchivedAction`.
"""
