"""How a server's URL is read, for records, broker and exchange alike; no server is asked."""

from __future__ import annotations

import pytest

from reconciler.address import mask, read_redis
from reconciler.api.errors import InvalidSettings
from reconciler.broker.address import read_address
from reconciler.settings import Settings
from reconciler.stores.redis.connect import connect

PASSWORD = "s3;c/r@e:t%3B&+#?"
QUOTED = "s3%3Bc%2Fr%40e%3At%253B%26%2B%23%3F"


def test_every_part_is_read() -> None:
    """Nothing of a URL is dropped, and what is escaped is unescaped once."""
    found = read_redis(
        f"sentinel://a:1;sentinel://u%3Br:{QUOTED}@B/3?master_name=m%20n&ssl_ca_certs=/ca&sentinel_ssl=true"
        f"&sentinel_username=su&sentinel_password={QUOTED}"
    )
    assert (found.hosts, found.db, found.master_name) == ((("a", 1), ("b", 26379)), 3, "m n")
    assert (found.username, found.password) == ("u;r", PASSWORD)
    assert found.tls == {"ssl_ca_certs": "/ca", "ssl_cert_reqs": "required"}
    assert found.sentinel_options() == {
        "username": "su", "password": PASSWORD, "ssl": True, "ssl_ca_certs": "/ca", "ssl_cert_reqs": "required",
    }  # fmt: skip
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(
    ("url", "path", "db"),
    [
        (f"unix:///run/a%20b.sock?db=2&password={QUOTED}", "/run/a b.sock", 2),
        (f"unix://:{QUOTED}@/s", "/s", 0),
        (f"redis+socket:///s?virtual_host=4&password={QUOTED}", "/s", 4),
    ],
)
def test_sockets(url: str, path: str, db: int) -> None:
    """A password may stand before the path or after it, the database has two names."""
    found = read_redis(url)
    assert (found.path, found.db, found.password, found.hosts) == (path, db, PASSWORD, ())


REFUSED = [
    ("redis://:half;s3cret@h/0", "must start with redis://; write"),
    ("redis://:12/s3cret@h/0", "would be misread; write"),
    ("redis://:12?s3cret@h/0", "would be misread; write"),
    ("redis://:12#s3cret@h/0", "would be misread; write"),
    ("redis://:s3cret rest@h/0", "white space; write a space as %20"),
    ("redis://s3cret@h/0", "a user without a password; write user:password@"),
    ("redis://h/x", "the database must be a number"),
    ("redis://h/1?db=2", "it names two databases; leave one"),
    ("redis://h?socket_timeout=3", r"socket_timeout \(allowed: db\)"),
    ("redis://h?ssl_ca_certs=/ca", "TLS is spoken with rediss://"),
    ("rediss://h?ssl_ca_cert=/ca", r"ssl_ca_cert \(did you mean ssl_ca_certs\?\)"),
    ("rediss://h?ssl_ca_certs=", "ssl_ca_certs has no value"),
    ("rediss://h?ssl_check_hostname=perhaps", "ssl_check_hostname must be true or false"),
    ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true", "does nothing with ssl_cert_reqs=none"),
    ("rediss://h?ssl_keyfile=/key", "add ssl_certfile"),
    ("sentinel://h?master_nam=m", r"master_nam \(did you mean master_name\?\)"),
    ("sentinel://h?master_nam=m&ssl_cert=/c", "master_nam .*; .* ssl_cert "),
    ("sentinel://h", r"add \?master_name=NAME"),
    ("sentinel://h?master_name=m&sentinel_username=u", "without a sentinel_password"),
    ("sentinel://:a@h;sentinel://:s3cret@i?master_name=m", "name different users or passwords"),
    ("unix://h/s", "three slashes"),
    ("unix:///s?password=half&s3cret", "has not the form name=value"),
    ("unix:///s?password=half;s3cret&db=1", "must start with unix://; write"),
    ("unix://:a@/s?password=s3cret", "it names two passwords; leave one"),
]


@pytest.mark.parametrize(("url", "why"), REFUSED)
def test_what_would_be_dropped_or_misread_is_refused(url: str, why: str) -> None:
    """For records and for messages, with a remedy, and without any part of a password."""
    with pytest.raises(InvalidSettings, match=why) as of_settings:
        Settings.from_env({"RECONCILER_REDIS_URL": url})
    with pytest.raises(InvalidSettings, match=why) as of_records:
        connect(Settings(redis_url=url))
    with pytest.raises(InvalidSettings, match=why) as of_broker:
        read_address(url)
    for caught in (of_settings, of_records, of_broker):
        text = str(caught.value)
        assert "s3cret" not in text
        assert "half" not in text
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("amqp://u:half;s3cret@h//", "must start with amqp://; write"),
        ("amqp://h//?heartbeet=3", r"heartbeet \(did you mean heartbeat\?\)"),
        ("amqps://h//?ssl_ca_cert=/ca", r"did you mean ssl_ca_certs\?"),
    ],
)
def test_amqp_is_read_as_strictly(url: str, why: str) -> None:
    """What kombu would misread or ignore of a RabbitMQ URL is refused as well."""
    with pytest.raises(InvalidSettings, match=why) as caught:
        read_address(url)
    assert "s3cret" not in str(caught.value)


def test_amqps_checks_certificates() -> None:
    """The certificate of RabbitMQ is compared with its host; kombu alone would accept any."""
    assert read_address("amqps://h//").tls == {"cert_reqs": 2, "server_hostname": None}
    found = read_address("amqps://a//?ssl_ca_certs=/ca&heartbeat=3;amqps://b//")
    assert found.tls == {"ca_certs": "/ca", "cert_reqs": 2, "server_hostname": None}
    assert found.url == "amqps://a//?heartbeat=3;amqps://b//?heartbeat=3"
    assert read_address("amqps://h//?ssl_cert_reqs=none").tls == {"cert_reqs": 0}


@pytest.mark.parametrize(
    "url",
    ["redis://u:half;s3cret@h/0", "redis://half;s3cret@h/0", "unix:///s?password=half&s3cret=1;x&db=2",
     "sentinel://:half;s3cret@a;sentinel://b/0?master_name=m&sentinel_password=half;s3cret",
     "redis://u:half\ns3cret@h/0", "amqp://u:half/s3cret@h//"],
)  # fmt: skip
def test_no_half_of_a_password_is_shown(url: str) -> None:
    """Masking takes no character of a password for its end."""
    assert "half" not in mask(url)
    assert "s3cret" not in mask(url)


def test_settings_can_be_printed() -> None:
    """Passwords of URLs are no part of what a traceback or a debugger shows of the settings."""
    shown = repr(Settings(redis_url="redis://u:s3;cret@h/1", broker_url="amqp://u:cret@h//", shards=3))
    assert shown == "Settings(redis_url='redis://u:**@h/1', broker_url='amqp://u:**@h//', shards=3)"
