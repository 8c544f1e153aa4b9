"""storage.cfg as Proxmox VE's own parsers read it: the conformance vectors, and what holds for any bytes."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.release import Release
from pve.storage_cfg import parse
from pve.storage_secrets import MASK, SECRETS
from pve.storage_types import PROPERTIES, TYPES

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "conformance"
FILES = ("storage_cfg_vectors.json", "storage_cfg_more.json")
VECTORS = [one for name in FILES for one in json.loads((SAMPLES / name).read_text(encoding="utf-8"))["vectors"]]
FIELDS = ("ids", "order", "digest", "error_count")
SECRET = "hunter2hunter2"

LINES = st.one_of(
    st.builds("{}: {}".format, st.sampled_from([*TYPES[Release.PVE8], "linstor"]), st.sampled_from(["local", "a1", "b2", "x", "ä1"])),
    st.builds("\t{} {}".format, st.sampled_from(sorted(PROPERTIES[Release.PVE8])), st.text(max_size=12)),
    st.sampled_from(["", "0", " ", "# c", "\tpath /x", "\tserver 10.0.0.1", "\texport /x", "\tcontent images", "\r"]),
    st.text(max_size=20),
)
CONFIGS = st.lists(LINES, max_size=12).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))


def expected(vector: dict[str, Any], release: Release) -> dict[str, Any]:
    """Return Proxmox VE's answer of a release."""
    answer: dict[str, Any] = vector["pve9"] if release is Release.PVE9 else vector.get("pve8_differs", vector["pve9"])
    return answer


def settled(warnings: list[str]) -> list[str]:
    """Return warnings without what Perl's hashes leave to chance: which missing option is named, the order of a property's errors."""
    anything = (re.sub(r"required option '[^']*'", "required option", one) for one in warnings)
    return sorted("\n".join(sorted(one.split("\n"))) for one in anything)


@pytest.mark.parametrize("release", Release)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one["name"])
def test_conformance(vector: dict[str, Any], release: Release) -> None:
    """Ids, order, digest, errors and warnings are those of Proxmox VE's own parser, to the byte."""
    answer, wanted = parse(vector["raw_latin1"].encode("latin-1"), release).vector(), expected(vector, release)

    assert {name: answer[name] for name in FIELDS} == {name: wanted[name] for name in FIELDS}
    assert settled(answer["warnings"]) == settled(wanted["warnings"])


@given(st.binary(max_size=400) | CONFIGS)
def test_any_bytes_give_a_value(data: bytes) -> None:
    """Whatever stands in the file: no error, PVE's digest, a usable `local`, and plain data that JSON takes."""
    for release in Release:
        config = parse(data, release)

        assert config.digest == hashlib.sha1(data, usedforsecurity=False).hexdigest()
        assert config.storages["local"].type == "dir"
        assert {one.id for one in config.broken} == {name for name, one in config.ids.items() if one is None}
        json.dumps(config.vector())


@given(st.sampled_from(sorted(SECRETS)), st.sampled_from(sorted(TYPES[Release.PVE9])))
def test_secrets_stay_in_the_parser(name: str, kind: str) -> None:
    """A password typed into the file is in nothing that is meant to be shown, whichever type it stands in."""
    lines = [
        f"{kind}: a1",
        f"\t{name} {SECRET}",
        f"\toptions vers=3.0,password={SECRET}",
        "\tserver 10.0.0.1",
        "\tshare s",
        "\tdatastore d",
    ]
    lines += ["\tpath /x", "\texport /e", "\tvgname vg0", "\tthinpool data", "\tpool p", "\tportal 10.0.0.1", "\ttarget t", "\tusername u"]
    config = parse("\n".join(lines).encode())

    assert SECRET not in repr(config)
    assert SECRET not in "".join(f"{one.public}" for one in config.storages.values())
    assert SECRET not in "".join(one.text for one in config.warnings)


@pytest.mark.parametrize(
    "line",
    [
        f"password {SECRET}",
        f"x password {SECRET}",
        f" keyring: {SECRET}",
        f"Password={SECRET}",
        f"\tpassword={SECRET}",
        f"\toptions user=u pass={SECRET}",
        f"\toptions user=u,password2={SECRET} x",
        f"password: {SECRET}",
        f"password: -{SECRET}",
        f"encryption_key '{SECRET}' password {SECRET}",
    ],
)
@pytest.mark.parametrize("before", ["cifs: c1\n\tserver h\n\tshare s\n", ""])
def test_secret_in_a_line_that_nobody_understands(before: str, line: str) -> None:
    """A mistyped line with a password is warned of without it, in a section and outside."""
    config = parse(f"{before}{line}\n\n{line}\n".encode())

    assert SECRET in "".join(one.text for one in config.warnings)
    assert SECRET not in "".join(config.public_warnings)
    assert SECRET not in repr(config)
    assert len(config.public_warnings) == len(config.warnings)


def test_warnings_keep_what_is_no_secret() -> None:
    """Names of secrets and sections are shown, and a warning of the section's end is not about the secret in its last line."""
    config = parse(b"cifs: pass-1\n\tserver h\n\tpassword s\n\npassthrough x\nnfs: a1\n\tkeyring k\n")

    assert config.public_warnings == tuple(one.text for one in config.warnings)
    assert len(config.public_warnings) == 4


def test_secret_is_shown_as_there() -> None:
    """That a secret is set can be told."""
    config = parse(f"cifs: c1\n\tserver 10.0.0.1\n\tshare s\n\tpassword {SECRET}\n".encode())

    assert config.storages["c1"].public["password"] == MASK


def test_broken_section_is_named_with_its_lines() -> None:
    """The section that blinds every node is named with the line where it begins, where it ends, and the reason."""
    config = parse(b"# one\nnfs: a1\n\tserver 10.0.0.1\n\nnfs: b2\n\tserver 10.0.0.2\n\texport /x\n")

    assert [(one.id, one.line, one.end, one.reason) for one in config.broken] == [
        ("a1", 2, 3, "missing value for required option 'export'")
    ]
    assert config.vector()["consequence"] == "storage_info() dies: storage '...' does not exist (undefined ids: a1)"
    assert "b2" in config.storages


def test_what_is_shown_is_utf_8() -> None:
    """Proxmox VE keeps bytes; people see the letters that they typed."""
    config = parse("ä\ndir: d1\n\tpath /ä\n\nrbd: r1\n\tpool ä\n".encode())

    assert config.public_warnings[0] == "file storage.cfg line 1 - ignore config line: ä"
    assert config.broken[0].reason == "illegal path for directory storage: /ä"
    assert config.storages["r1"].public["pool"] == "ä"
    assert config.vector()["warnings"][0].encode("latin-1").decode() == "file storage.cfg line 1 - ignore config line: ä\n"


def test_order_is_proxmox_ves() -> None:
    """Storages are listed by their numbers, with a `local` that was put in at the front."""
    config = parse(b"nfs: b2\n\tserver h\n\texport /x\n\nnfs: a1\n\tserver h\n\texport /x\n")

    assert list(config.storages) == ["local", "b2", "a1"]


def test_large_files_take_linear_time() -> None:
    """A megabyte of colons, blanks or one endless section is no attack: every form is read, and as one expects."""
    for data in (
        b":" * 2**20,
        b"a" + b" " * 2**20,
        b"nfs: a1\n" + b"\tserver x\n" * 100_000,
        b"\t" * 2**20,
        b"dir: d\n\tcontent-dirs iso=" + b"a." * 2**19,
    ):
        assert parse(data).digest == hashlib.sha1(data, usedforsecurity=False).hexdigest()
