"""boto3 clients that pick up new credentials while they are in use.

A client of boto3 keeps the keys it was made with for as long as it lives. So once a server refuses them, they are looked up
anew where boto3 finds them (files, a process, a role, the environment), and the request is sent again if there are others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    import boto3

C = TypeVar("C")
T = TypeVar("T")
Keys = tuple[str, str, str]
"""Access key, secret key, session token."""

_CODES = frozenset(
    {
        "AccessDenied", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId",
        "InvalidClientTokenId", "InvalidSecurity", "InvalidSignatureException", "InvalidToken",
        "MissingAuthenticationToken", "RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)  # fmt: skip
_RENEWALS = 3
"""How often one request follows; keys are not exchanged faster."""


def refused(error: ClientError) -> bool:
    """Tell whether a server does not accept our credentials; answers to HEAD have only the HTTP status."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status in {401, 403} or error.response.get("Error", {}).get("Code", "") in _CODES


def new_session() -> boto3.session.Session:
    """Make a separate session: the default one must not be shared by threads."""
    from boto3.session import Session  # noqa: PLC0415  # 7 MB, 12 with a client: most that take steps do without
    from botocore.session import get_session  # noqa: PLC0415  # as above

    from reconciler.stores.s3.descriptions import UsedDescriptions  # noqa: PLC0415  # imports botocore, as above

    core = get_session()
    core.get_component("data_loader").file_loader = UsedDescriptions()
    return Session(botocore_session=core)


def keys_of(session: boto3.session.Session) -> Keys | None:
    """Return the keys that a session finds now; None when there are none, for example while a file is being written."""
    try:
        found: Any = session.get_credentials()
        frozen = found and found.get_frozen_credentials()
    except (BotoCoreError, OSError, ValueError):
        return None
    return (frozen.access_key or "", frozen.secret_key or "", frozen.token or "") if frozen else None


class _Slot(Generic[C]):
    """The client of one process. A forked child gets its own slot, and so its own lock, which nobody can hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.client: C | None = None
        self.session: boto3.session.Session | None = None
        self.keys: Keys | None = None


class RenewedClient(Generic[C]):
    """One client for each process, made when it is first needed and again when its keys are refused.

    Args:
        make: a client of a session. What it raises is raised.
    """

    def __init__(self, make: Callable[[boto3.session.Session], C]) -> None:
        self._make = make
        self._slots: dict[int, _Slot[C]] = {}

    def call(self, do: Callable[[C], T]) -> T:
        """Do something with the client; it must be harmless to repeat it after a refusal.

        Raises:
            Whatever `do` or making a client raises.
        """
        client = self.get()
        for _ in range(_RENEWALS):
            try:
                return do(client)
            except ClientError as error:
                renewed = self._renewed(client) if refused(error) else client
                if renewed is client:
                    raise
                client = renewed
        return do(client)

    def get(self) -> C:
        """Return the client of this process; its threads share it."""
        slot = self._slot()
        with slot.lock:
            return self._new(slot) if slot.client is None else slot.client

    def session(self) -> boto3.session.Session:
        """Return the session the client of this process belongs to: the one source of its credentials.

        Raises:
            What making a client raises.
        """
        self.get()
        session = self._slot().session
        assert session is not None
        return session

    def _slot(self) -> _Slot[C]:
        return self._slots.setdefault(os.getpid(), _Slot())

    def _new(self, slot: _Slot[C]) -> C:
        session = new_session()
        client = self._make(session)
        slot.client, slot.session, slot.keys = client, session, keys_of(session)
        return client

    def _renewed(self, old: C) -> C:
        """Make a client with other keys than the refused ones; return the old client when there are none."""
        slot = self._slot()
        with slot.lock:
            if slot.client is not None and slot.client is not old:
                return slot.client  # another thread was faster
            keys = keys_of(new_session())
            # The old one is not closed: other threads may be sending with it.
            return old if keys in {None, slot.keys} else self._new(slot)
