"""`sealserve policy generate` for deployments: what goes where, what is asked, what is refused."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.cli.main import run
from sealserve.native.errors import ConfigError
from sealserve.policy.execution import text
from sealserve.policy.execution.image import Image, Images
from sealserve.policy.execution.image_source import ImageSource, tagged
from support.models_cli import Ran
from support.policy_generation import APP, POD, container, from_template, template
from support.policy_vectors import DIRECTORY

CASES = DIRECTORY / "templates"
IMAGE = ("--image", f"demo.example/app:1.4={CASES / 'app.tar'}")
NAMED = ("--tar", str(CASES / "images.json"))
POLICY_SHA256 = "7d36e6dbd4b2a7471edae49e1197ec74f6f9a56d96b18ebaa1b2cd7a588f7cfc"
LINE = f"{POLICY_SHA256}  group-one  (aci-2025: api 0.10.0, framework 0.2.3)\n"
ADVICE = "4 is advised"


class Desk:
    """A folder with a template in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.template = folder / "template.json"
        self.template.write_bytes((CASES / "image_defaults/template.json").read_bytes())
        self._captured = capsys

    def run(self, *arguments: str) -> Ran:
        status = run(["policy", "generate", *arguments])
        out, err = self._captured.readouterr()
        assert "unforeseen" not in err
        return Ran(status, out, err)

    def generate(self, *arguments: str) -> Ran:
        return self.run("--template", "template.json", *IMAGE, *arguments)

    def document(self) -> Any:
        return json.loads(self.template.read_text())

    def write(self, document: object) -> None:
        self.template.write_text(json.dumps(document, indent=2))

    def policy(self) -> bytes:
        properties = self.document()["resources"][0]["properties"]
        return base64.b64decode(properties["confidentialComputeProperties"]["ccePolicy"])


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Desk(tmp_path, capsys)


def test_the_policy_goes_into_the_template_and_its_hash_is_told(desk: Desk) -> None:
    before = desk.template.read_text()
    ran = desk.generate()
    assert (ran.status, ran.out) == (0, LINE)
    assert ran.err.startswith("warning: group group-one: ")
    assert ADVICE in ran.err
    assert hashlib.sha256(desk.policy()).hexdigest() == POLICY_SHA256
    assert desk.template.read_text().startswith(before[: before.rindex("]\n      }")])


def test_a_policy_that_is_there_stays_until_somebody_says_so(desk: Desk) -> None:
    desk.generate()
    before = desk.template.read_bytes()
    ran = desk.generate("--debug")
    assert (ran.status, ran.out) == (8, "")
    assert "template.json: 1 fault" in ran.err
    assert "group group-one, policy: seen one that is there already; wanted none" in ran.err
    assert "hint: --overwrite replaces it" in ran.err
    assert desk.template.read_bytes() == before
    assert desk.generate("--debug", "--print").status == 0
    assert desk.template.read_bytes() == before
    assert desk.generate("--debug", "--overwrite").status == 0
    assert b"/bin/bash" in desk.policy()


@pytest.mark.parametrize(
    ("answer", "status", "changed"), [("y\n", 0, True), ("n\n", 0, False), ("", 0, False)]
)
def test_confcom_asks_instead(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, changed: bool
) -> None:
    desk.generate()
    before = desk.template.read_bytes()
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    ran = desk.generate("--compatible", "confcom-1.2", "--debug")
    assert ran.status == status
    assert "overwrite the policy of group-one? (y/n)" in ran.err
    assert (desk.template.read_bytes() != before) == changed
    assert bool(ran.out) == changed
    assert ("nothing was changed" in ran.err) != changed


def test_print_shows_the_bytes_and_nothing_else(desk: Desk) -> None:
    before = desk.template.read_bytes()
    ran = desk.generate("--print")
    assert hashlib.sha256(ran.out.encode()).hexdigest() == POLICY_SHA256
    assert LINE in ran.err
    assert desk.template.read_bytes() == before


def test_out_writes_each_groups_policy(desk: Desk) -> None:
    desk.template.write_bytes((CASES / "two_groups/template.json").read_bytes())
    ran = desk.run("--template", "template.json", *NAMED, "-o", "p.rego")
    assert ran.status == 0, ran.err
    for at, line in enumerate(ran.out.splitlines()):
        data = (desk.folder / f"p.{at}.rego").read_bytes()
        assert line.startswith(hashlib.sha256(data).hexdigest())
        assert line.split()[1] == ("one", "two")[at]
    assert "confidential" not in desk.template.read_text().replace("Confidential", "")


def test_out_never_replaces_what_was_read(desk: Desk) -> None:
    before = desk.template.read_bytes()
    ran = desk.generate("-o", "template.json")
    assert ran.status == 8
    assert "is also an input" in ran.err
    assert desk.template.read_bytes() == before


def test_programs_are_told_everything(desk: Desk) -> None:
    printed = desk.generate("--print", "--json").json
    (told,) = printed["policies"]
    assert hashlib.sha256(told["policy"].encode()).hexdigest() == told["sha256"] == POLICY_SHA256
    assert printed["profile"] == {
        "name": "aci-2025",
        "api_version": "0.10.0",
        "framework_version": "0.2.3",
        "strict": True,
    }
    assert ADVICE in printed["remarks"][0]
    written = desk.generate("-o", "p.rego", "--json").json
    assert written["policies"] == [
        {"group": "group-one", "sha256": POLICY_SHA256, "file": "p.rego"}
    ]
    injected = desk.generate("--json").json
    assert injected["policies"] == [{"group": "group-one", "sha256": POLICY_SHA256}]
    assert injected["file"] == "template.json"


def test_a_byte_order_mark_and_a_link_stay(desk: Desk) -> None:
    real = desk.folder / "real.json"
    real.write_bytes(b"\xef\xbb\xbf" + desk.template.read_bytes())
    desk.template.unlink()
    desk.template.symlink_to(real)
    assert desk.generate().status == 0
    assert desk.template.is_symlink()
    assert real.read_bytes().startswith(b"\xef\xbb\xbf{")
    assert b"ccePolicy" in real.read_bytes()


def test_every_fault_is_told_and_nothing_is_written(desk: Desk) -> None:
    document = desk.document()
    properties = document["resources"][0]["properties"]["containers"][0]["properties"]
    properties["securityContext"] = {"runAsUser": "root", "privileged": "yes"}
    properties["command"] = [5]
    desk.write(document)
    before = desk.template.read_bytes()
    ran = desk.generate()
    assert (ran.status, ran.out) == (8, "")
    assert "template.json: 3 faults, and no policy was written" in ran.err
    assert ran.err.count("\n  - app, ") == 3
    assert desk.template.read_bytes() == before


def test_other_sources(desk: Desk) -> None:
    (desk.folder / "c.json").write_bytes((CASES / "config_v1/config.json").read_bytes())
    printed = desk.run("--config", "c.json", *NAMED)
    assert printed.status == 0, printed.err
    assert b'"name":"app"' in printed.out.encode()
    alone = desk.run("--only-image", "demo.example/app:1.4", "--tar", str(CASES / "app.tar"))
    assert text.parse(alone.out.encode()).containers[0]["id"] == "demo.example/app:1.4"
    (desk.folder / "r.json").write_text(json.dumps([container(from_template(template()))]))
    ready = desk.run("--with-containers", "r.json")
    names = [each["name"] for each in text.parse(ready.out.encode()).containers]
    assert names == ["app", "pause-container"]


def test_imports_are_added_where_confcom_adds_none(desk: Desk) -> None:
    imports = ("-j", str(CASES / "extra_fragments/fragments.json"))
    alone = ("--only-image", "demo.example/app:1.4", *IMAGE)
    added = text.parse(desk.run(*alone, *imports).out.encode()).fragments
    assert [entry["minimum_svn"] for entry in added] == ["1", "3"]
    ran = desk.run(*alone, *imports, "--compatible", "confcom-1.2")
    assert len(text.parse(ran.out.encode()).fragments) == 1
    assert "they were left out" in ran.err


def test_a_pod_gets_an_annotation(desk: Desk) -> None:
    file = desk.folder / "pod.yaml"
    file.write_text(f"# mine\n{POD.replace('demo/app:1', 'demo.example/app:1.4')}")
    ran = desk.run("--pod", "pod.yaml", *IMAGE)
    assert ran.status == 0, ran.err
    sha256 = ran.out.split()[0]
    assert file.read_text().startswith("# mine\n")
    encoded = file.read_text().split("virtualnode.ccepolicy: ")[1].split("}")[0].split(",")[0]
    assert hashlib.sha256(base64.b64decode(encoded)).hexdigest() == sha256


def test_wildcards_need_a_word(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.template.write_bytes((CASES / "wildcards/template.json").read_bytes())
    ran = desk.generate("--print")
    assert ran.status == 8
    assert "a value for the parameter 'open'" in ran.err
    approved = desk.generate("--print", "-y")
    assert '"^OPEN=.*$"' in approved.out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn\n"))
    asked = desk.generate("--print", "--compatible", "confcom-1.2")
    assert "create a wildcard policy for OPEN? (y/n)" in asked.err
    assert '"OPEN=.*"' in asked.out
    assert "OPEN_SECURE" not in asked.out


def test_versions_are_told_beside_the_hash(desk: Desk) -> None:
    ran = desk.generate("--print", "--api-version", "0.12.0", "--framework-version", "0.5.0")
    assert "(aci-2025, api 0.12.0, framework 0.5.0: api 0.12.0, framework 0.5.0)" in ran.err
    assert "allow_host_network := false" in ran.out
    unknown = desk.generate("--print", "--api-version", "9.0.0")
    assert unknown.status == 8
    assert "layouts are known for" in unknown.err


USAGE = {
    "no source": ((), "one source is needed"),
    "two sources": (("--template", "t", "--config", "c"), "one source is needed"),
    "no command": (("--process",), "--process needs a command"),
    "a command for a template": (("--template", "t", "--", "x"), "a command goes with --process"),
    "parameters alone": (("--config", "c", "--parameters", "p"), "--parameters goes with"),
    "imports for a process": (("--process", "-j", "f", "--", "x"), "--fragments-json goes with"),
    "printed and written": (("--config", "c", "--print", "-o", "x"), "--print or --out"),
    "no number": (("--config", "c", "--infrastructure-svn", "x"), "is a number"),
    "no number of ours": (("--config", "c", "--infrastructure-svn", "²"), "is a number"),
    "svn of nothing": (
        ("--config", "c", "--infrastructure-svn", "1", "--exclude-default-fragment"),
        "is of the fragment that is to be left out",
    ),
    "a rule for a template": (("--template", "t", "--env-rule", "A=1"), "go with --process"),
    "an unknown profile": (("--config", "c", "--profile", "x"), "Invalid value for '--profile'"),
    "an unknown tool": (("--config", "c", "--compatible", "x"), "Invalid value for '--compatible'"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage(desk: Desk, name: str) -> None:
    arguments, words = USAGE[name]
    ran = desk.run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert words in ran.err


FILES: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "not UTF-8": (b"\xff", (), "template.json: is not UTF-8 at byte 0"),
    "not JSON": (b"{\n{", (), "template.json:2: not JSON"),
    "an image without a path": (b"{}", ("--image", "app"), "--image: app is not NAME=PATH"),
    "a list of archives": (b"[]", ("--tar", "template.json"), 'is not {"NAME": "ARCHIVE"}'),
    "no archive": (b"{}", ("--tar", "none.tar"), "a resource of type"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_used(desk: Desk, name: str) -> None:
    data, arguments, words = FILES[name]
    desk.template.write_bytes(data)
    ran = desk.run("--template", "template.json", *arguments)
    assert ran.status == 8
    assert words in ran.err


# ---- images by name


class Archive:
    """Images that are there at once; counts how often it is asked."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []

    def find(self, name: str = "") -> Image:
        self.asked.append(name)
        return APP


def source(
    named: dict[str, str], archives: list[str], opened: dict[str, Archive]
) -> Callable[[str], Image]:
    def open_archive(path: Path) -> Images:
        return opened[str(path)]

    paths = {name: Path(path) for name, path in named.items()}
    return ImageSource(paths, [Path(path) for path in archives], open_archive)


def test_an_image_is_read_once_from_the_archive_that_was_named_for_it() -> None:
    mine, other = Archive("demo/app:latest"), Archive("demo/app:latest")
    image_of = source({"demo/app": "mine"}, ["other"], {"mine": mine, "other": other})
    assert image_of("demo/app") is image_of("demo/app:latest") is APP
    assert (mine.asked, other.asked) == (["demo/app:latest"], [])


def test_an_archive_without_names_has_the_image_that_was_said() -> None:
    layout = Archive()
    assert source({"demo/app:1": "layout"}, [], {"layout": layout})("demo/app:1") is APP
    assert layout.asked == [""]


def test_the_first_archive_that_knows_the_name_is_asked() -> None:
    opened = {"a": Archive("x:1"), "b": Archive("demo/app"), "c": Archive("demo/app:latest")}
    assert source({}, [*opened], opened)("demo/app:latest") is APP
    assert [len(archive.asked) for archive in opened.values()] == [0, 1, 0]


def test_an_image_in_no_archive_is_told_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="none of the archives") as refused:
        source({}, ["a"], {"a": Archive("x:1")})("demo/app")
    assert refused.value.hint.startswith("--image demo/app:latest=FILE")


@given(st.text("ab/:@.", max_size=8))
def test_a_name_is_tagged_once(name: str) -> None:
    assert tagged(tagged(name)) == tagged(name)
