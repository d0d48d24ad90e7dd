"""The vault client, which is the unmodified Azure SDK, against good and hostile vaults."""

from __future__ import annotations

import json
from itertools import repeat

import pytest

from sealserve.keys import bounded, jws
from sealserve.keys.authority import Authority
from sealserve.keys.keyid import KeyId
from sealserve.keys.session import ReleaseRequest
from sealserve.keys.vault import ATTESTED, StaticCredential, Vault
from sealserve.native.errors import ConfigError, ReleaseError, SealserveError, UnavailableError
from support.keys_server import Raw, Reply, serve
from support.keys_tls import NOW
from support.keys_vault import OWNER, failure, rsa_key, uint
from support.ports import free_port

TOKEN = "header.attestation-token.signature"
REQUEST = ReleaseRequest("model", "ab" * 16, TOKEN)


@pytest.fixture
def client(ca):
    """Make a client of a host; each is closed at the end."""
    opened = []

    def make(host, token=OWNER, *, trusted=ca, retries=0, answer_seconds=5.0):
        opened.append(
            Vault(
                host,
                StaticCredential(token),
                authority=Authority(trusted.certificate),
                retries=retries,
                answer_seconds=answer_seconds,
            )
        )
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def told(ca, client):
    """A server that challenges as vaults do, then answers as told; and a client of it."""
    opened = []

    def make(answer, *names, **options):
        def answered(request):
            if "authorization" in request.headers:
                return answer(request)
            url = f"https://{request.headers['host']}"
            challenge = f'Bearer authorization="{url}/t", resource="{url}"'
            return Reply(401, b"", {"WWW-Authenticate": challenge})

        server = serve(answered, ca, *names)
        opened.append(server.__enter__())
        return server, client(server.host, **options)

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def test_a_key_is_made_and_read(vault, client, policy):
    ours = client(vault.host)
    made = ours.create("model", policy)
    assert made.key_id.host == vault.host
    assert made.policy == policy
    assert made.public.key_size == 3072
    for version in ("", made.key_id.version):
        read = ours.get("model", version)
        assert (read.key_id, read.policy) == (made.key_id, policy)
    asked = next(each for each in vault.server.requests if each.body)
    assert asked.json["kty"] == "RSA-HSM"
    assert asked.json["attributes"]["exportable"] is True
    assert sorted(asked.json["key_ops"]) == ["unwrapKey", "wrapKey"]


def test_a_key_is_brought_as_the_importers_of_azure_do(vault, client, policy):
    """The request that `az keyvault key import` and Microsoft's importer make."""
    key = rsa_key(3072, 3)
    brought = client(vault.host).bring("model", key, policy)
    assert brought.policy == policy
    assert brought.public.public_numbers() == key.public_key().public_numbers()
    asked = next(each for each in vault.server.requests if each.body)
    assert (asked.method, asked.path) == ("PUT", "/keys/model")
    assert (asked.json["Hsm"], asked.json["attributes"]["exportable"]) == (True, True)
    assert asked.json["key"].keys() == {
        *("kty", "key_ops", "n", "e", "d", "p", "q", "dp", "dq", "qi")
    }


def test_a_vault_that_keeps_another_key_than_it_was_given(vault, client, policy):
    other = uint(rsa_key(3072, 4).public_key().public_numbers().n)
    vault.edit_bundle = lambda bundle: {**bundle, "key": {**bundle["key"], "n": other}}
    with pytest.raises(ReleaseError, match="another key than the one that was brought"):
        client(vault.host).bring("model", rsa_key(3072, 3), policy)


def test_find_tells_a_key_that_is_not_there_from_one_that_cannot_be_read(vault, client, policy):
    ours = client(vault.host)
    assert ours.find("model") is None
    made = ours.create("model", policy)
    found = ours.find("model")
    assert found is not None
    assert (found.key_id, found.enabled) == (made.key_id, True)
    vault.refuse = lambda request: failure(403, "Forbidden", "not you")
    with pytest.raises(ReleaseError, match="not you"):
        ours.find("model")


def test_a_release_asks_for_one_version_and_one_wrap(told):
    server, ours = told(lambda request: Reply.of({"value": "the answer"}))
    assert ours.release(REQUEST) == "the answer"
    asked = server.requests[-1]
    assert asked.path == f"/keys/model/{REQUEST.version}/release"
    assert asked.json["target"] == TOKEN
    assert asked.json["enc"] == "RSA_AES_KEY_WRAP_256"


def test_no_token_before_a_challenge_of_this_host(told):
    server, ours = told(lambda request: Reply.of({"value": "x"}), token=ATTESTED)
    ours.release(REQUEST)
    first = server.requests[0]
    assert "authorization" not in first.headers
    assert TOKEN.encode() not in first.body


WRONG_ANSWERS = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": b"[]",
    "text": b'"x"',
    "an object without a value": b"{}",
    "no value": b'{"value": null}',
}


@pytest.mark.parametrize("body", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_a_release_of_another_shape(body, told):
    _, ours = told(lambda request: Reply(200, body))
    with pytest.raises(ReleaseError) as caught:
        ours.release(REQUEST)
    assert TOKEN not in str(caught.value)


ODD_VALUES = {
    "a number": b'{"value": 7}',
    "an object": b'{"value": {}}',
    "not UTF-8": b'{"value": "\xff"}',
}


@pytest.mark.parametrize("body", ODD_VALUES.values(), ids=ODD_VALUES)
def test_what_the_sdk_makes_text_of_is_no_answer(body, told, ca):
    _, ours = told(lambda request: Reply(200, body))
    with pytest.raises(ReleaseError):
        jws.open_jws(ours.release(REQUEST), roots=[ca.certificate], host="h", now=NOW)


@pytest.mark.parametrize("body", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_a_key_of_another_shape(body, told):
    _, ours = told(lambda request: Reply(200, body))
    with pytest.raises(SealserveError) as caught:
        ours.get("model")
    assert caught.value.exit_code in (7, 8)


def bundle(change):
    """A hook that changes the key in what create and get answer."""

    def edit(answered):
        change(answered)
        return answered

    return edit


def renamed(old, new):
    def change(answered):
        answered["key"]["kid"] = answered["key"]["kid"].replace(old, new)

    return bundle(change)


def member(name, value):
    def change(answered):
        answered["key"][name] = value

    return bundle(change)


IDENTITIES = {
    "another host": renamed("127.0.0.1", "127.0.0.2"),
    "another port": renamed("127.0.0.1:", "127.0.0.1:1"),
    "another name": renamed("/model/", "/other/"),
    "a name in other letters": renamed("/model/", "/Model/"),
    "a secret": renamed("/keys/", "/secrets/"),
    "http": renamed("https:", "http:"),
    "no version": member("kid", "https://127.0.0.1/keys/model"),
    "no URL": member("kid", "model"),
    "a number": member("kid", 7),
    "nothing": member("kid", None),
}


@pytest.mark.parametrize("edit", IDENTITIES.values(), ids=IDENTITIES)
@pytest.mark.parametrize("verb", ["get", "create"])
def test_a_key_of_another_identity_is_not_taken(edit, verb, vault, client, policy):
    vault.create("model", policy)
    vault.edit_bundle = edit
    ours = client(vault.host)
    with pytest.raises(ReleaseError):
        ours.get("model") if verb == "get" else ours.create("model", policy)


KEYS = {
    "no modulus": (member("n", None), ConfigError),
    "no exponent": (member("e", None), ConfigError),
    "an even exponent": (member("e", "Ag"), ReleaseError),
    "an exponent of one": (member("e", "AQ"), ReleaseError),
    "a modulus of one byte": (member("n", "Aw"), ReleaseError),
    "a modulus that is no base64": (member("n", "!"), ReleaseError),
}


@pytest.mark.parametrize(("edit", "error"), KEYS.values(), ids=KEYS)
def test_a_key_that_is_none(edit, error, vault, client, policy):
    vault.create("model", policy)
    vault.edit_bundle = edit
    with pytest.raises(error):
        client(vault.host).get("model")


def endless():
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    yield from repeat(b" " * 65536)


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_answer_is_not_read(announced, told):
    size = bounded.MAX_ANSWER_BYTES + 1
    _, ours = told(lambda request: Reply(200, b" " * size) if announced else Raw(endless()))
    with pytest.raises(ReleaseError, match=f"more than {size - 1} bytes"):
        ours.release(REQUEST)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("when", ["before the challenge", "after it"])
def test_a_redirect_carries_no_token_away(status, when, ca, told, client):
    with serve(lambda request: Reply.of({"value": "x"}), ca) as elsewhere:
        away = Reply(status, b"", {"Location": f"{elsewhere.url}/keys/model"})
        if when == "after it":
            server, ours = told(lambda request: away)
            with pytest.raises(ReleaseError):
                ours.release(REQUEST)
        else:
            with serve(lambda request: away, ca) as server, pytest.raises(ReleaseError):
                client(server.host).release(REQUEST)
        assert elsewhere.connections == 0


def test_a_challenge_that_names_another_host_gets_no_credential_there(ca, client):
    with serve(lambda request: Reply.of({}), ca) as elsewhere:
        challenge = f'Bearer authorization="{elsewhere.url}/t", resource="{elsewhere.url}"'
        with serve(lambda request: Reply(401, b"", {"WWW-Authenticate": challenge}), ca) as server:
            with pytest.raises(ReleaseError):
                client(server.host).release(REQUEST)
            assert elsewhere.connections == 0


REFUSALS = {
    400: ReleaseError,
    401: ReleaseError,
    403: ReleaseError,
    404: ReleaseError,
    409: ReleaseError,
    429: UnavailableError,
    500: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


@pytest.mark.parametrize(("status", "error"), REFUSALS.items())
def test_a_refusal_by_status(status, error, told):
    _, ours = told(lambda request: failure(status, "X", "the policy says no"))
    with pytest.raises(error) as caught:
        ours.release(REQUEST)
    if error is ReleaseError:
        assert caught.value.denied
        assert "the policy says no" in str(caught.value) + caught.value.denied
    else:
        assert "the policy says no" in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>\x1b[31m", b"[]", b'{"error": 7}'])
def test_a_refusal_without_words(body, told):
    _, ours = told(lambda request: Reply(403, body))
    with pytest.raises(ReleaseError) as caught:
        ours.release(REQUEST)
    assert "\x1b" not in str(caught.value)


def test_nobody_puts_us_to_sleep(told):
    server, ours = told(lambda request: Reply(429, b"", {"Retry-After": "86400"}), retries=3)
    with pytest.raises(UnavailableError) as caught:
        ours.release(REQUEST)
    assert caught.value.retry_after_seconds == 86400
    assert sum("authorization" in each.headers for each in server.requests) == 1


def test_a_pause_that_the_sdk_cannot_read_is_a_refusal(told):
    _, ours = told(lambda request: Reply(429, b"", {"Retry-After": "²"}), retries=0)
    with pytest.raises(ReleaseError, match="the Azure SDK cannot read"):
        ours.release(REQUEST)


def test_not_now_is_asked_again(told):
    answers = iter([Reply(503, b"", {"Retry-After": "0"}), Reply.of({"value": "x"})])
    _, ours = told(lambda request: next(answers), retries=1)
    assert ours.release(REQUEST) == "x"


def test_silence_is_not_waited_for(told):
    server, ours = told(lambda request: server.silence(), answer_seconds=0.3)
    with pytest.raises(UnavailableError, match="does not answer"):
        ours.release(REQUEST)


SLOW = {
    "the status line": [b"HTTP/1.1 200 OK" + b" " * 10**5],
    "the headers": [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**5],
    "the body": [b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" " * 99999],
    "a chunked body": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
        b" " * 9999,
    ],
}


@pytest.mark.parametrize("pieces", SLOW.values(), ids=SLOW)
def test_an_answer_in_single_bytes_ends(pieces, told):
    server, ours = told(lambda request: server.dribble(pieces), answer_seconds=0.6)
    with pytest.raises(UnavailableError, match="did not finish its answer in time"):
        ours.release(REQUEST)


BROKEN = {
    "nothing": [],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
    "a cut body": [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"],
}


@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_none(pieces, told):
    _, ours = told(lambda request: Raw(pieces))
    with pytest.raises(UnavailableError) as caught:
        ours.release(REQUEST)
    for internal in ("object at 0x", "HTTPSConnectionPool", "_Pool", "("):
        assert internal not in caught.value.message.partition("broke off (")[0]


def test_nobody_there(client):
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError) as caught:
        client(host).release(REQUEST)
    assert caught.value.message == f"the vault trustd:{host} does not answer: connection refused"
    assert "sealserve trustd run" in caught.value.hint


def test_a_name_nobody_knows(client):
    with pytest.raises(UnavailableError, match="does not answer: its name cannot be resolved"):
        client("nobody.invalid").release(REQUEST)


def test_another_authority_hears_nothing(told, other_ca):
    """At once: more attempts would find the same certificate."""
    server, ours = told(lambda request: Reply.of({"value": "x"}), trusted=other_ca, retries=3)
    with pytest.raises(ReleaseError, match="a certificate of another authority than"):
        ours.release(REQUEST)
    assert (server.requests, server.connections) == ([], 1)


def test_a_certificate_for_another_host_hears_nothing(told):
    server, ours = told(lambda request: Reply.of({"value": "x"}), "127.0.0.2")
    with pytest.raises(ReleaseError, match="a certificate we refuse: IP address mismatch"):
        ours.release(REQUEST)
    assert server.requests == []


def test_the_environment_has_no_say(told, ca, other_ca, monkeypatch, tmp_path):
    (tmp_path / "ca.pem").write_bytes(other_ca.pem)
    with serve(lambda request: Reply.of({}), ca) as elsewhere:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, elsewhere.url)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
        _, ours = told(lambda request: Reply.of({"value": "x"}))
        assert ours.release(REQUEST) == "x"
        assert elsewhere.connections == 0


def test_a_wrong_credential_is_told_apart(vault, client, policy):
    vault.create("model", policy)
    with pytest.raises(ReleaseError, match="does not accept our credential") as caught:
        client(vault.host, "another token").get("model")
    assert "another token" not in str(caught.value)


def test_a_key_id_is_what_a_slot_names(vault, client, policy):
    made = client(vault.host).create("model", policy)
    assert KeyId.parse(made.key_id.url) == made.key_id
    assert json.loads(made.policy) == json.loads(policy)
