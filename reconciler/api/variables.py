"""Environment variables that a submission may set for its attempts, and those it may not.

What is refused decides how the process of the function starts, whom it talks to, or as whom: that is for whoever runs
the worker to say. The function itself may set any of them while it runs.
"""

from __future__ import annotations

import re

_KEPT = re.compile(
    r"PYTHON.*|VIRTUAL_ENV|C_FORCE_ROOT|REMAP_SIGTERM"  # the interpreter, and Celery
    r"|(?:LD|DYLD|GLIBC|MALLOC|GCONV|BASH)_.*|LOCPATH|NLSPATH|PATH|HOME|TMPDIR|TEMP|TMP|XDG_.*"  # its libraries and files
    r"|(?:AWS|BOTO|RECONCILER|CELERY|KOMBU|OTEL|SECRET)_.*"  # our clients, and who we are to them
    r"|(?:SSL|OPENSSL|CURL|REQUESTS|HTTPX|GNUTLS|NSS|GRPC|GSS|GSSAPI|SASL|LDAPTLS)_.*|KRB5.*"  # every client
    r"|SSLKEYLOGFILE|(?:.*_)?PROXY|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|RESOLV_.*|NETRC|WGETRC|CURLRC|LDAPRC|LDAPCONF"
    r"|(?:DOCKER|BUILDKIT|KUBERNETES|HELM|GOOGLE|GCLOUD|CLOUDSDK|GCE|AZURE|ARM|MSI|IDENTITY|OCI|ALIBABA|VAULT|CONSUL|NOMAD"
    r"|ETCDCTL|MC|RCLONE|TF_CLI|TF_PLUGIN|HF|HUGGINGFACE|REDISCLI|VALKEYCLI|MYSQL|SSH|ANSIBLE)_.*|KUBECONFIG"  # services
    r"|PG(?:HOST|HOSTADDR|PORT|DATABASE|USER|PASS|PASSWORD|PASSFILE|REQUIRE.*|SERVICE|SERVICEFILE|SSL.*|SYSCONFDIR|OPTIONS"
    r"|KRB.*|GSS.*|CHANNELBINDING|TARGETSESSIONATTRS|LOADBALANCEHOSTS|LOCALEDIR|APPNAME|TZ|CONNECT_TIMEOUT)"  # libpq
    r"|IFS|ENV|SHELL|SHELLOPTS|PS4|PROMPT_COMMAND|GIT_.*|EDITOR|VISUAL|PAGER|BROWSER|LESS(?:OPEN|CLOSE)"  # programs
    r"|(?:NODE|NPM|YARN|PNPM|BUN|DENO|PIP|PIPX|PIPENV|POETRY|PDM|UV|CONDA|MAMBA|GEM|BUNDLE|CARGO|RUSTUP|RUSTC|COMPOSER)_.*"
    r"|PERL.*|RUBY(?:OPT|LIB)|LUA_.*|PHPRC|PHP_INI_SCAN_DIR|GO(?:PROXY|FLAGS|SUMDB|PRIVATE|ENV|ROOT|PATH)|JULIA_.*"
    r"|R_(?:HOME|PROFILE|ENVIRON|LIBS).*|_?JAVA_.*|JDK_JAVA_OPTIONS|CLASSPATH|(?:MAVEN|GRADLE|JVM)_OPTS"
    r"|(?:DOTNET|COMPLUS|CORECLR|COR)_.*"
    r"|(?:CUDA|NVTX|CUPTI|ROCPROFILER|HSA_TOOLS)_(?:INJECTION.*|LIB.*)|OMP_TOOL_LIBRARIES|(?:GTK|GIO|QT)_.*(?:MODULES?|PATH).*",
    re.ASCII | re.DOTALL,
)
"""Names in upper case; a curl reads `http_proxy` as well. Those of common programs: no list can have all of them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)


def variable_problem(name: str, value: str) -> str:
    """Say why a submission may not set a variable, as a sentence; empty when it may."""
    if not _NAME.fullmatch(name) or "\0" in value:
        return (
            f"the environment variable {name!a:.100} cannot be set: a name has letters, digits, '_', '.' and '-', the "
            "first one no digit, and no value holds a NUL"
        )
    if _KEPT.fullmatch(name.upper()):
        return (
            f"the environment variable {name!r:.100} cannot be set: it changes the process or its connections; "
            "set it for the worker, or in the function"
        )
    return ""
