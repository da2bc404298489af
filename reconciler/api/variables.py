"""Environment variables that a submission may set for its attempts, and those it may not.

What is refused decides how the process of the function starts, whom it talks to, or as whom: that is for whoever runs
the worker to say. The function itself may set any of them while it runs.
"""

from __future__ import annotations

import re

_KEPT = re.compile(
    r"PYTHON.*|C_FORCE_ROOT|REMAP_SIGTERM"  # the interpreter, and Celery
    r"|(?:LD|DYLD|GLIBC|MALLOC|GCONV|BASH)_.*|LOCPATH|NLSPATH|PATH|HOME|TMPDIR|TEMP|TMP|XDG_.*"  # its libraries and files
    r"|(?:AWS|BOTO|RECONCILER|CELERY|KOMBU|SECRET)_.*"  # our clients, and who we are to them
    r"|(?:SSL|OPENSSL|CURL|REQUESTS)_.*|SSLKEYLOGFILE|[A-Z]+_PROXY|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS"  # every client
    r"|IFS|ENV|SHELL|SHELLOPTS|PS4|PROMPT_COMMAND|GIT_.*|NODE_OPTIONS|PERL5OPT|PERL5LIB|RUBYOPT|RUBYLIB"  # programs
    r"|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|JAVA_TOOL_OPTIONS",
    re.ASCII | re.DOTALL,
)
"""Names in upper case; a curl reads `http_proxy` as well."""


def variable_problem(name: str, value: str) -> str:
    """Why a submission may not set a variable, as a sentence; empty when it may."""
    if not name or "=" in name or "\0" in name + value:
        return (
            f"the environment variable {name!r:.100} cannot be set: names are not empty and without '=', "
            "nothing holds a NUL"
        )
    if _KEPT.fullmatch(name.upper()):
        return (
            f"the environment variable {name!r:.100} cannot be set: it changes the process or its connections; "
            "set it for the worker, or in the function"
        )
    return ""
