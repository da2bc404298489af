"""Which URLs are webhooks, and which addresses may be called (R55)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.errors import InvalidSettings, InvalidSpec
from reconciler.api.webhook import Target, read_target
from reconciler.core.outbound import may_call
from reconciler.settings import Settings

pytestmark = pytest.mark.rule("R55")
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.0",
    "100.63.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
]
CLOSED_4 = """
0.0.0.0 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.0.1 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 224.0.1.1 239.255.255.255 240.0.0.1 255.255.255.255
"""
CLOSED_6 = """
:: ::1 ::8.8.8.8 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ff0e::1 2001::1 2001:db8::1 2002:7f00:1::1
2002:808:808::1 3fff::1 100::1 5f00::1 64:ff9b:1::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
"""
NO_ADDRESSES = ["nonsense", "2130706433", "0x7f000001", "0177.0.0.1", ""]


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_may_be_called(address: str) -> None:
    """Addresses of the public internet need no permission, also when IPv6 wraps one of IPv4."""
    assert may_call("example.org", address, ())


@pytest.mark.parametrize("address", [*CLOSED_4.split(), *CLOSED_6.split(), *NO_ADDRESSES])
def test_other_addresses_are_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast, reserved and wrapped ones, and no addresses, are refused."""
    assert not may_call("example.org", address, ())
    assert not may_call("example.org", address, ("other.example.org", "9.9.9.9"))


@pytest.mark.parametrize(
    ("entry", "host", "address", "may"),
    [
        ("10.0.0.0/8", "h", "10.1.2.3", True),
        ("10.0.0.0/8", "h", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "h", "11.0.0.0", True),
        ("10.0.0.0/8", "h", "192.168.0.1", False),
        ("127.0.0.1", "h", "127.0.0.1", True),
        ("127.0.0.1", "h", "127.0.0.2", False),
        ("fd00::/8", "h", "fd00:ec2::254", True),
        ("Hooks.Example.org.", "hooks.example.org", "10.0.0.1", True),
        ("example.org", "hooks.example.org", "10.0.0.1", False),
        ("hooks.example.org", "example.org", "10.0.0.1", False),
        ("localhost", "localhost", "127.0.0.1", True),
    ],
)
def test_what_is_allowed_may_be_called(entry: str, host: str, address: str, *, may: bool) -> None:
    """A network allows its addresses, a name allows exactly itself wherever it leads; neither allows more."""
    assert may_call(host, address, (entry,)) is may


@given(
    st.ip_addresses(network="10.0.0.0/8")
    | st.ip_addresses(network="fc00::/7")
    | st.ip_addresses(network="127.0.0.0/8")
)
def test_no_private_address_slips_through(address: object) -> None:
    """Every address of the private and loopback networks is refused."""
    assert not may_call("h", str(address), ())


# -- URLs --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://Hooks.example.org", Target("https", "hooks.example.org", 443, "/"), "hooks.example.org"),
        ("http://h.:8080/a?b=c#d", Target("http", "h", 8080, "/a?b=c"), "h:8080"),
        ("https://h?x=1", Target("https", "h", 443, "/?x=1"), "h"),
        ("http://h:443/", Target("http", "h", 443, "/"), "h:443"),
        ("http://127.0.0.1/x", Target("http", "127.0.0.1", 80, "/x"), "127.0.0.1"),
        ("http://[::0001]:81/x", Target("http", "::1", 81, "/x"), "[::1]:81"),
    ],
)
def test_urls_are_read(url: str, target: Target, authority: str) -> None:
    """Scheme, host in its one spelling, port and what is sent; the Host header has the name."""
    found = read_target(url)
    assert (found, found.authority) == (target, authority)
    assert found.place == f"{target.scheme}://{authority}"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://u:hunter2@example.org/", "user or password"),
        ("https://@example.org/", "user or password"),
        ("https://example.org\\@evil.org/", "backslashes"),
        ("https://exa mple.org/", "blanks"),
        ("https://example.org/\r\nX: y", "blanks"),
        ("https://bücher.example/", "xn--"),
        ("ftp://example.org/", "http or https URL"),
        ("//example.org/", "http or https URL"),
        ("https:///x", "http or https URL"),
        ("https://h:0/", "http or https URL"),
        ("https://h:99999/", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://[fe80::1%25eth0]/", "no IPv6 address"),
        ("http://-h/", "host name"),
        ("http://a..b/", "host name"),
        ("http://h%2ex/", "host name"),
        ("http://" + "a" * 2048, "at most 2048"),
        *(
            (f"http://{host}/", "unusual way")
            for host in ("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1")
        ),
        *(
            (f"http://{host}/", "unusual way")
            for host in ("127.1", "127.0.0.1.", "1.2.3.4.5", "256.0.0.1", "a.0x")
        ),
    ],
)
def test_other_urls_are_refused(url: str, text: str) -> None:
    """What programs could read in two ways, or what hides a password, is refused; the message does not repeat it."""
    with pytest.raises(InvalidSpec, match=text) as caught:
        read_target(url)
    assert url not in str(caught.value)
    assert "hunter2" not in str(caught.value)


# -- settings ----------------------------------------------------------------------------------------------------------
def test_wrong_settings_are_told_at_once() -> None:
    """A network with bits behind its prefix, what is no name, and a relative path are each a sentence."""
    env = {
        "RECONCILER_WEBHOOK_ALLOW": "10.0.0.1/8,h_ok,a b,1.2.3",
        "RECONCILER_CALLBACK_SECRET_FILE": "secret",
    }
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(env)
    absolute, *entries = caught.value.problems
    assert absolute == "RECONCILER_CALLBACK_SECRET_FILE must be an absolute path"
    assert [entry.split("'")[1] for entry in entries] == ["10.0.0.1/8", "a b", "1.2.3"]


def test_settings_are_read() -> None:
    """Networks, addresses and names may be allowed together."""
    env = {"RECONCILER_WEBHOOK_ALLOW": "10.0.0.0/8, fd00::/8,127.0.0.1, hooks.internal"}
    assert len(Settings.from_env(env).webhook_allow) == 4
