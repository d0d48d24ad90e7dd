"""The measured configuration: what it refuses, and a digest that anybody can compute again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from sealserve.inference.server.config import (
    BATCHING,
    MAX_MODELS,
    MAX_ROOTS,
    MAX_WORKERS,
    Caller,
    Callers,
    KeySource,
    Limits,
    ModelOptions,
    ServedModel,
    ServerConfig,
    Settings,
    pair,
)
from sealserve.inference.server.config_file import BOUNDS, MODEL_BOUNDS, settings_of
from sealserve.native.errors import ConfigError

ROOT = "9f2c" + "22" * 30
GOOD: dict[str, Any] = {
    "models": (ServedModel("/models/net.sealed", (ROOT,)),),
    "keys": KeySource(vault="trustd:vault.example:8443", vault_ca_sha256="51d0" + "00" * 30),
}
# Written by hand: whoever knows the command line can write the same.
CANONICAL = (
    '{"callers":{"client_ca":"","tokens":[]},"early":false,'
    '"keys":{"attestation_service":"","identity":"","vault":"trustd:vault.example:8443",'
    '"vault_ca":"","vault_ca_sha256":"51d0' + "00" * 30 + '","vault_credential":""},'
    '"limits":{"calls":128,"connection_seconds":3600.0,'
    '"connections":1024,"drain_seconds":10.0,"message_bytes":16777216,"peer_bytes":1610612736,'
    '"peer_calls":96,"peer_connections":768,"request_seconds":60.0,'
    '"rotation_hours":12.0,"running":2,"threads":1,"waiting":64},'
    '"listen_host":"0.0.0.0","listen_port":8001,"model_control":"",'
    '"models":[{"path":"/models/net.sealed","roots":["'
    + ROOT
    + '"]}],"options":{},"require_root":false,'
    '"status_host":"","status_port":0,"workers":1}'
)


def config(**changes: Any) -> ServerConfig:
    return ServerConfig(**{**GOOD, **changes})


def test_the_canonical_text_is_sorted_json_without_spaces() -> None:
    assert config().canonical().decode() == CANONICAL
    assert config().sha256() == hashlib.sha256(CANONICAL.encode()).digest()


def test_the_canonical_text_is_ascii_whatever_the_path() -> None:
    text = config(models=(ServedModel("/modèles/net", (ROOT,)),)).canonical()
    assert text.isascii()
    assert json.loads(text)["models"][0]["path"] == "/modèles/net"


DIFFERENT: dict[str, dict[str, Any]] = {
    "file": {"models": (ServedModel("/models/other", (ROOT,)),)},
    "root": {"models": (ServedModel("/models/net.sealed", (ROOT[::-1],)),)},
    "one root more": {"models": (ServedModel("/models/net.sealed", (ROOT, ROOT[::-1])),)},
    "one model more": {"models": (*GOOD["models"], ServedModel("b", (ROOT[::-1],)))},
    "listen host": {"listen_host": "127.0.0.1"},
    "listen port": {"listen_port": 8002},
    "require root": {"require_root": True},
    "workers": {"workers": 2},
    "tokens": {"callers": Callers(tokens=(Caller("clinic", "00" * 32),))},
    "another token": {"callers": Callers(tokens=(Caller("clinic", "11" * 32),))},
    "a token that ends": {"callers": Callers(tokens=(Caller("clinic", "00" * 32, "2027-03-31"),))},
    "an authority of clients": {"callers": Callers(client_ca="PEM")},
    "early": {"early": True},
    "status host": {"status_host": "127.0.0.1"},
    "status port": {"status_port": 8002},
    "model control": {"model_control": "/run/control"},
    "options of a model": {"options": {"net": ModelOptions()}},
    "identity": {"keys": KeySource(identity="owner.key")},
    **{
        f"key source: {field.name}": {
            "keys": dataclasses.replace(GOOD["keys"], **{field.name: "x"})
        }
        for field in dataclasses.fields(KeySource)
        if field.name != "identity"
    },
    **{
        f"option: {name}": {"options": {"net": ModelOptions(**{name: 2})}}
        for name in ("threads", "running", "waiting", "batch_rows", "batch_delay_ms")
    },
    **{
        f"limit: {field.name}": {"limits": Limits(**{field.name: 3})}
        for field in dataclasses.fields(Limits)
    },
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_every_difference_shows_in_the_digest(changes: dict[str, Any]) -> None:
    assert config(**changes).sha256() != config().sha256()


def test_every_field_is_among_the_differences() -> None:
    changed = {name for changes in DIFFERENT.values() for name in changes}
    assert changed == {field.name for field in dataclasses.fields(ServerConfig)}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"models": ()}, "0 models"),
    "too many models": (
        {"models": tuple(ServedModel("f", (f"{n:064x}",)) for n in range(MAX_MODELS + 1))},
        "33 models",
    ),
    "root too short": ({"models": (ServedModel("f", (ROOT[:-2],)),)}, "64 hexadecimal digits"),
    "root too long": ({"models": (ServedModel("f", (ROOT + "00",)),)}, "64 hexadecimal digits"),
    "root not hexadecimal": ({"models": (ServedModel("f", ("g" * 64,)),)}, "64 hexadecimal digits"),
    "root with spaces": ({"models": (ServedModel("f", (f"{ROOT} ",)),)}, "64 hexadecimal digits"),
    "root empty": ({"models": (ServedModel("f", ("",)),)}, "64 hexadecimal digits"),
    "no root": ({"models": (ServedModel("f", ()),)}, "0 roots"),
    "too many roots": (
        {"models": (ServedModel("f", tuple(f"{n:064x}" for n in range(MAX_ROOTS + 1))),)},
        "33 roots",
    ),
    "the second root is none": ({"models": (ServedModel("f", (ROOT, "x")),)}, "64 hexadecimal"),
    "a root of one file twice": ({"models": (ServedModel("f", (ROOT, ROOT)),)}, "twice"),
    "no worker": ({"workers": 0}, "0 workers"),
    "too many workers": ({"workers": MAX_WORKERS + 1}, "65 workers"),
    "several workers with threads of one model": (
        {"workers": 2, "options": {"net": ModelOptions(threads=3)}},
        "2 workers and 3 threads",
    ),
    "several workers with threads": (
        {"workers": 2, "limits": Limits(threads=2)},
        "2 workers and 2 threads",
    ),
    "early with several workers": ({"workers": 2, "early": True}, "means nothing for 2 workers"),
    "early with batching required": (
        {"early": True, "options": {"net": ModelOptions(batching="required")}},
        "requires batching",
    ),
    "a root twice": ({"models": (ServedModel("a", (ROOT,)), ServedModel("b", (ROOT,)))}, "twice"),
    "no source of keys": ({"keys": KeySource()}, "exactly one"),
    "two sources of keys": ({"keys": KeySource(identity="a", vault="b")}, "exactly one"),
    **{
        f"{field.name} with identity": (
            {"keys": KeySource(identity="owner.key", **{field.name: "x"})},
            "means nothing without --vault",
        )
        for field in dataclasses.fields(KeySource)
        if field.name not in ("identity", "vault")
    },
    **{
        f"{field.name} of 0": ({"limits": Limits(**{field.name: 0})}, "is not above 0")
        for field in dataclasses.fields(Limits)
    },
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_configuration_that_makes_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**changes)


def test_files_and_roots_are_paired_in_order() -> None:
    assert pair(["a", "b"], [ROOT.upper(), "00" * 32]) == (
        ServedModel("a", (ROOT,)),
        ServedModel("b", ("00" * 32,)),
    )


def test_a_file_may_have_several_roots() -> None:
    (model,) = pair(["a"], [f"{ROOT.upper()},{'00' * 32}"])
    assert model == ServedModel("a", (ROOT, "00" * 32))


@pytest.mark.parametrize(("files", "roots"), [(["a"], []), (["a", "b"], [ROOT]), ([], [ROOT])])
def test_another_number_of_roots_than_files_is_refused(files: list[str], roots: list[str]) -> None:
    with pytest.raises(ConfigError, match=f"{len(files)} sealed files and {len(roots)} roots"):
        pair(files, roots)


def test_the_memory_that_messages_may_take_is_told() -> None:
    limits = Limits()
    told = 2 * (limits.calls + limits.waiting) * limits.message_bytes
    words = f"2 x (calls + waiting) x message_bytes, {told // 2**30} GiB by default"
    assert words in str(Limits.__doc__)


# ---- the file with limits


def settings(text: str, sha256: str | None = None) -> Settings:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest() if sha256 is None else sha256
    return settings_of(data, digest, file="serve.toml")


def load(text: str, sha256: str | None = None) -> Limits:
    return settings(text, sha256).limits


def limit(name: str, value: int) -> str:
    return f"version = 1\n[limits]\n{name} = {value}\n"


def option(name: str, value: int) -> str:
    return f"version = 1\n[models.net]\n{name} = {value}\n"


def test_a_file_sets_limits_and_leaves_the_others() -> None:
    limits = load("version = 1\n[limits]\nrunning = 4\nmessage_bytes = 1048576\n")
    assert limits == Limits(running=4, message_bytes=1048576)


def test_a_digest_may_be_written_in_upper_case() -> None:
    text = "version = 1\n[limits]\n"
    assert load(text, hashlib.sha256(text.encode()).hexdigest().upper()) == Limits()


@pytest.mark.parametrize("sha256", ["", "00" * 32, "no digest"])
def test_a_file_of_another_digest_is_not_even_parsed(sha256: str) -> None:
    with pytest.raises(ConfigError, match="--config-sha256") as refused:
        load("this is not TOML", sha256)
    assert hashlib.sha256(b"this is not TOML").hexdigest() in refused.value.message


def test_every_limit_can_be_set_within_bounds_that_hold_the_default() -> None:
    defaults = dataclasses.asdict(Limits())
    assert BOUNDS.keys() == defaults.keys()
    for name, (low, high) in BOUNDS.items():
        assert low <= defaults[name] <= high
        for value in (low, high):
            assert getattr(load(limit(name, value)), name) == value


BAD_FILES = {
    "empty": "",
    "no version": "[limits]\n",
    "another version": "version = 2\n[limits]\n",
    "not TOML": "version = 1\n[limits\n",
    "limits not a table": "version = 1\nlimits = 3\n",
    "unknown limit": "version = 1\n[limits]\nruning = 2\n",
    "a root": 'version = 1\nroot = "00"\n[limits]\n',
    "a vault": 'version = 1\n[limits]\n[keys]\nvault = "trustd:elsewhere"\n',
    "text": 'version = 1\n[limits]\nrunning = "2"\n',
    "true": "version = 1\n[limits]\nrunning = true\n",
    "fraction": "version = 1\n[limits]\nrequest_seconds = 0.5\n",
    **{f"{name} below": limit(name, low - 1) for name, (low, _) in BOUNDS.items()},
    **{f"{name} above": limit(name, high + 1) for name, (_, high) in BOUNDS.items()},
    "models not a table": "version = 1\nmodels = 3\n",
    "a model that is no table": "version = 1\n[models]\nnet = 3\n",
    "unknown option": "version = 1\n[models.net]\nbatch = 3\n",
    "a model's root": 'version = 1\n[models.net]\nroot = "00"\n',
    "batching without a name": 'version = 1\n[models.net]\nbatching = ""\n',
    "batching as true": "version = 1\n[models.net]\nbatching = true\n",
    **{f"{name} below": option(name, low - 1) for name, (low, _) in MODEL_BOUNDS.items()},
    **{f"{name} above": option(name, high + 1) for name, (_, high) in MODEL_BOUNDS.items()},
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_says_anything_else(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(text)
    assert refused.value.file == "serve.toml"


# ---- options of one model


def test_every_option_can_be_set_within_bounds_that_hold_the_default() -> None:
    defaults = dataclasses.asdict(ModelOptions())
    assert {*MODEL_BOUNDS, "batching"} == defaults.keys()
    for name, (low, high) in MODEL_BOUNDS.items():
        assert defaults[name] is None or low <= defaults[name] <= high
        for value in (low, high):
            assert getattr(settings(option(name, value)).options["net"], name) == value


@pytest.mark.parametrize("word", BATCHING)
def test_batching_is_one_of_three_words(word: str) -> None:
    text = f'version = 1\n[models."my net"]\nbatching = "{word}"\n'
    assert settings(text) == Settings(options={"my net": ModelOptions(batching=word)})


def test_a_model_without_options_runs_as_the_limits_say() -> None:
    some = config(options={"net": ModelOptions(threads=1)})
    assert some.options_of("other") == ModelOptions()
    assert some.options_of("net") == ModelOptions(threads=1)


@pytest.mark.parametrize("limit", ["running", "waiting"])
def test_a_model_has_no_more_than_the_whole_server(limit: str) -> None:
    most = getattr(Limits(), limit)
    config(options={"net": ModelOptions(**{limit: most})})
    with pytest.raises(ConfigError, match=f"{limit}.*{most + 1} of model net"):
        config(options={"net": ModelOptions(**{limit: most + 1})})


def test_options_of_a_model_that_is_not_served() -> None:
    some = config(options={"net": ModelOptions()})
    some.require_served(["net", "other"])
    with pytest.raises(ConfigError, match="no sealed file is of a model net; served: a, b"):
        some.require_served(["b", "a"])
