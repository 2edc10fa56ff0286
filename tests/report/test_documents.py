"""What all documents share: the check with its messages, hostile files, and the schemas that ship."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from jsonschema import Draft202012Validator
from msgspec import Meta

from navicache_cli.errors import OutputError
from navicache_cli.media.fidelity import Series
from navicache_cli.report.documents import (
    Count,
    Document,
    Part,
    Share,
    as_document,
    document_text,
    json_text,
    one_of,
    plain,
    read_document,
    schema_of,
    write_document,
)
from navicache_cli.report.schemas import read_schema
from scripts.write_schemas import DOCUMENTS


class Leaf(Part, frozen=True):
    """A part."""

    share: Share
    kind: Annotated[str, one_of("one", "other")] = "one"


class Tree(Document, frozen=True, kw_only=True):
    """A document with everything that documents have."""

    NAME: ClassVar[str] = "tree"
    HINT: ClassVar[str] = "plant another"

    leaves: Annotated[dict[str, Leaf], Meta(min_length=1)]
    more: list[Leaf]
    counts: dict[str, dict[str, Count]]
    maybe: Leaf | None
    fidelity: dict[str, Series | None]
    values: dict[str, Any]
    version: int = 3


TREE = Tree(
    leaves={"a": Leaf(0.5), "b.c[0]": Leaf(1.0, "other")},
    more=[Leaf(0.0), Leaf(0.25)],
    counts={"x": {"y": 1}, "z": {"y": 2, "v": 3}},
    maybe=Leaf(0.75),
    fidelity={"psnr": Series(30.0, [29.0, 31.0]), "lpips": None},
    values={"fidelity": {"kept": 1}, "any": [None, True, "é", 10**30]},
)
FITTING = plain(TREE)


def refused(document: Any) -> str:
    with pytest.raises(OutputError) as found:
        as_document(document, Tree)
    assert found.value.hint
    return found.value.message.removeprefix("not a navicache tree: ")


def changed(change: Any) -> Any:
    document = copy.deepcopy(FITTING)
    change(document)
    return document


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_document(TREE, tmp_path / "tree.json")
    text = (tmp_path / "tree.json").read_text()
    assert text == document_text(TREE) == json.dumps(FITTING, indent=1) + "\n"
    assert read_document(tmp_path / "tree.json", Tree) == TREE


def test_figures_stand_among_the_other_keys() -> None:
    assert list(FITTING) == ["leaves", "more", "counts", "maybe", "psnr", "lpips", "values", "version"]
    assert FITTING["values"]["fidelity"] == {"kept": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("more"), "the document: expected the key more"),
        (lambda d: d.update(more={}), "more: expected array, found {}"),
        (lambda d: d["more"].append(None), "more/2: expected object, found null"),
        (lambda d: d["more"][1].update(share=1.5), "more/1/share: expected float <= 1.0, found 1.5"),
        (lambda d: d["more"][1].update(share=True), "more/1/share: expected float, found true"),
        (lambda d: d["more"][1].update(share="9" * 500), f'more/1/share: expected float, found "{"9" * 59}'),
        (lambda d: d["more"][1].update(extra=1), "more/1: found the unknown key extra"),
        (lambda d: d["maybe"].pop("share"), "maybe: expected the key share"),
        (
            lambda d: d["maybe"].update(kind="x"),
            "maybe/kind: expected str matching regex '^(one|other)$', found \"x\"",
        ),
        (lambda d: d["leaves"]["a"].update(share=None), "leaves/a/share: expected float, found null"),
        (
            lambda d: d["leaves"]["b.c[0]"].update(share=-1),
            "leaves/b.c[0]/share: expected float >= 0.0, found -1",
        ),
        (lambda d: d["leaves"].clear(), "leaves: expected object of length >= 1, found {}"),
        (lambda d: d["counts"]["z"].update(v=1.5), "counts/z/v: expected int, found 1.5"),
        (
            lambda d: d["counts"].update(x={"ok": 1, "no": -1}, z={"y": -2}),
            "counts/x/no: expected int >= 0, found -1",
        ),
        (lambda d: d.update(psnr="30"), 'psnr: expected object | null, found "30"'),
        (lambda d: d["psnr"]["per_frame"].append("x"), 'psnr/per_frame/2: expected float, found "x"'),
        (lambda d: d.update(more_figures={"mean": 1.0}), "more_figures: expected the key per_frame"),
        (lambda d: d.update(version=4), "version: expected 3, found 4"),
        (lambda d: d.pop("version"), "version: expected 3, found null"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_what_was_expected_and_found(change: Any, told: str) -> None:
    before = changed(change)
    document = copy.deepcopy(before)
    assert refused(document) == told
    assert document == before, "looking for the fault changes nothing"
    assert list(Draft202012Validator(schema_of(Tree)).iter_errors(document)), "the schema refuses it too"


def test_the_fault_among_many_keys_is_found_at_once() -> None:
    many = {f"leaf {i}": {"share": 0.5} for i in range(30_000)}
    more = [{"share": 0.5}] * 30_000
    faulty = {
        **FITTING,
        "leaves": {**many, "leaf 22222": {"share": 7}, "leaf 29999": {"share": 9}},
        "more": more,
    }
    before = time.process_time()
    assert refused(faulty) == "leaves/leaf 22222/share: expected float <= 1.0, found 7"
    assert time.process_time() - before < 5


def test_a_newer_version_asks_for_a_newer_program() -> None:
    with pytest.raises(OutputError) as newer:
        as_document({**FITTING, "version": 4}, Tree)
    with pytest.raises(OutputError) as older:
        as_document({**FITTING, "version": 2}, Tree)
    assert newer.value.hint == "pip install --upgrade navicache"
    assert older.value.hint == "plant another"


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "3", '"x"', "[" * 100_000, '{"more": ' * 70 + "1" + "}" * 70,
        json_text(FITTING).replace("0.25", "NaN"), json_text(FITTING).replace("0.25", "1e400"),
        json_text(FITTING).replace("0.25", "9" * 5000), json_text(FITTING).replace('"version"', '"maybe"'),
        json_text(FITTING).replace('"more"', '"mo\\udcffre"'), json_text({"\udcff": 1, **FITTING}),
        json_text({**FITTING, "leaves": {"\udcff": {"share": 2}}}),
        json_text({**FITTING, "version": [10**30]}),
        json_text({**FITTING, "leaves": {"x" * 10_000: {"share": "y" * 10_000}}}), "\xff", "\x00",
    ],
)  # fmt: skip
def test_hostile_files_end_in_a_message(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(OutputError) as found:
        read_document(path, Tree)
    told, where = found.value.message, str(path)
    assert told.startswith((f"{where}: not a navicache tree: ", f"cannot read the tree {where}: "))
    assert found.value.hint
    assert len(told) < 400 + len(where)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schemas_that_ship_are_those_of_the_documents(name: str) -> None:
    """If this fails: python scripts/write_schemas.py."""
    schema = read_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema == schema_of(DOCUMENTS[name])
    assert schema["title"].startswith("navicache ")


def test_a_schema_takes_what_is_written() -> None:
    schema = schema_of(Tree)
    assert list(Draft202012Validator(schema).iter_errors(FITTING)) == []
    assert schema["required"] == ["leaves", "more", "counts", "maybe", "values", "version"]
    assert schema["properties"]["version"] == {"const": 3}
