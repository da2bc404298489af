"""OpenTelemetry (R93): the only package that uses it. Its libraries are an extra, imported only where traces are wanted.

config.py   what the standard variables say, without importing anything
current.py  the trace context of the program that submits
export.py   turns our spans into theirs, and sends them
"""
