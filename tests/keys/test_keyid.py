"""Key URLs: one spelling of a host, and nothing in it that leads elsewhere."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys.keyid import KeyId, host_and_port, vault_host
from sealserve.native.errors import ConfigError

VERSION = "0123456789abcdef" * 2

SPELLINGS = {
    "as it is": ("vault.example", "vault.example"),
    "upper case": ("VAULT.Example", "vault.example"),
    "the usual port": ("vault.example:443", "vault.example"),
    "another port": ("vault.example:8443", "vault.example:8443"),
    "a port with a zero in front": ("vault.example:08443", "vault.example:8443"),
    "an IPv4 address": ("127.0.0.1:8443", "127.0.0.1:8443"),
    "an IPv6 address": ("[::1]:8443", "[::1]:8443"),
    "a long IPv6 address": ("[0:0:0:0:0:0:0:1]", "[::1]"),
    "upper case IPv6": ("[FE80::A]", "[fe80::a]"),
    "a name in its ASCII form": ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    "one label": ("localhost:1", "localhost:1"),
    "the last port": ("h:65535", "h:65535"),
    "labels of 63": ("a" * 63 + ".b", "a" * 63 + ".b"),
}


@pytest.mark.parametrize(("text", "host"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_host_has_one_spelling(text, host):
    assert vault_host(text) == host
    assert vault_host(host) == host
    assert KeyId.parse(f"https://{text}/keys/k").host == host


HOSTS = {
    "nothing": "",
    "a user": "user@vault.example",
    "a user and a password": "u:p@vault.example",
    "a space": "vault .example",
    "a line break behind": "vault.example\n",
    "a tab in front": "\tvault.example",
    "a backslash": "vault.example\\evil.example",
    "a slash": "vault.example/keys",
    "a query": "vault.example?x",
    "a fragment": "vault.example#x",
    "a percent sign": "vault%2eexample",
    "an underscore": "a_b.example",
    "an international name": "bücher.example",
    "a letter whose lower case is ASCII": "vault.example".replace("l", "\N{KELVIN SIGN}"),
    "a full stop that is none": "vault\N{IDEOGRAPHIC FULL STOP}example",
    "digits that are none": "vault.example:\N{FULLWIDTH DIGIT EIGHT}\N{FULLWIDTH DIGIT FOUR}",
    "an empty label": "vault..example",
    "a dot behind": "vault.example.",
    "a dot in front": ".example",
    "a dash in front": "-vault.example",
    "a dash behind a label": "vault-.example",
    "a label of 64": "a" * 64 + ".example",
    "a name of 254": ("a" * 49 + ".") * 5 + "abcd",
    "no port behind the colon": "vault.example:",
    "port 0": "vault.example:0",
    "port 65536": "vault.example:65536",
    "a port of six digits": "vault.example:000443",
    "a negative port": "vault.example:-1",
    "two ports": "vault.example:1:2",
    "an IPv4 address out of range": "127.0.0.256",
    "an IPv4 address of three": "127.0.1",
    "a number": "2130706433",
    "an IPv6 address without brackets": "::1",
    "an IPv6 address that is none": "[:::]",
    "an IPv6 address with a zone": "[fe80::1%eth0]",
    "an IPv4 address in brackets": "[127.0.0.1]",
    "an open bracket": "[::1",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ConfigError):
        vault_host(host)
    with pytest.raises(ConfigError):
        KeyId.parse(f"https://{host}/keys/k/{VERSION}")


URLS = {
    "nothing": "",
    "no scheme": "vault.example/keys/k",
    "http": "http://vault.example/keys/k",
    "a scheme in capitals": "HTTPS://vault.example/keys/k",
    "no path": "https://vault.example",
    "only a slash": "https://vault.example/",
    "no name": "https://vault.example/keys/",
    "a secret": f"https://vault.example/secrets/k/{VERSION}",
    "keys in capitals": "https://vault.example/KEYS/k",
    "a slash behind": "https://vault.example/keys/k/",
    "a slash behind the version": f"https://vault.example/keys/k/{VERSION}/",
    "an empty part": f"https://vault.example//keys/k/{VERSION}",
    "an operation": f"https://vault.example/keys/k/{VERSION}/release",
    "dots": f"https://vault.example/keys/../k/{VERSION}",
    "a query": f"https://vault.example/keys/k/{VERSION}?x=1",
    "a query behind the name": "https://vault.example/keys/k?x=1",
    "a fragment": f"https://vault.example/keys/k/{VERSION}#x",
    "a name with an underscore": "https://vault.example/keys/a_b",
    "a name that is escaped": "https://vault.example/keys/%6b",
    "a name of 128": f"https://vault.example/keys/{'k' * 128}",
    "a name that is international": "https://vault.example/keys/ключ",
    "a line break behind": "https://vault.example/keys/k\n",
    "a version in capitals": f"https://vault.example/keys/k/{VERSION.upper()}",
    "a version of 31": f"https://vault.example/keys/k/{VERSION[1:]}",
    "a version of 33": f"https://vault.example/keys/k/{VERSION}0",
    "a line break behind the version": f"https://vault.example/keys/k/{VERSION}\n",
    "a megabyte": "https://vault.example/keys/" + "k" * 2**20,
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_what_is_no_key_url_is_refused(url):
    with pytest.raises(ConfigError) as caught:
        KeyId.parse(url)
    assert "write https://HOST/keys/NAME" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("version", ["", VERSION])
def test_a_key_url_comes_back_as_it_was(version):
    url = f"https://vault.example:8443/keys/My-Key-1{'/' * bool(version)}{version}"
    assert KeyId.parse(url) == KeyId("vault.example:8443", "My-Key-1", version)
    assert KeyId.parse(url).url == str(KeyId.parse(url)) == url


def test_where_to_connect():
    assert host_and_port("vault.example") == ("vault.example", 443)
    assert host_and_port("[::1]:8443") == ("::1", 8443)
    with pytest.raises(ValueError, match="vault_host"):
        host_and_port("https://vault.example")


@given(st.text(max_size=40), st.text(alphabet="abc.:[]@/-0129%", max_size=20))
def test_any_text_is_a_host_or_refused(text, likely):
    for host in (text, likely):
        with suppress(ConfigError):
            assert vault_host(vault_host(host)) == vault_host(host)
            host_and_port(vault_host(host))
        with suppress(ConfigError):
            assert KeyId.parse(KeyId.parse(f"https://{host}").url)
