"""Files that anybody may have named."""

import os
import socket
from pathlib import Path

import pytest

from navicache_cli.errors import UsageError
from navicache_cli.reading import expand_user, open_regular, parse_json, read_bytes, read_json, read_utf8


@pytest.mark.parametrize("kind", ["named pipe", "device", "folder", "link to a device", "socket"])
def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(OSError, match=r"regular file|No such device"):
        open_regular(path)


def test_a_name_with_a_null_byte_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="null"):
        open_regular(Path("a\0b"))


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(11))
    assert read_bytes(path, 11) == bytes(11)
    with pytest.raises(OSError, match="larger"):
        read_bytes(path, 10)


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("größer", "utf-8-sig")
    assert read_utf8(path) == "größer"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(OSError, match="UTF-8"):
        read_utf8(path)


def test_a_user_who_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="nobody-of-that-name"):
        expand_user("~nobody-of-that-name/x")
    assert expand_user("~/x") == Path.home() / "x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ('{\n"a": ,}', "line 2"),
        ("NaN", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ('{"a": 1e400}', "1e400"),
        ("[" + "9" * 400 + "]", "finite"),
        ("9" * 10_000, "finite"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" * 100_000, "in one another"),
        ("[" * 65 + "]" * 65, "in one another"),
        ('{"a":' * 65 + "1" + "}" * 65, "in one another"),
    ],
)
def test_json_that_would_break_what_reads_it_later_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as found:
        parse_json(text)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 200
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(OSError, match=reason) as told:
        read_json(path)
    assert told.value.strerror == str(found.value)


def test_json_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('\ufeff{"a": [1, -2.5, 1e3, null, true, "ö"], "b": ' + "[" * 63 + "]" * 63 + "}", "utf-8")
    assert read_json(path)["a"] == [1, -2.5, 1000.0, None, True, "ö"]
    assert parse_json("18446744073709551616") == 2**64
    assert parse_json('"x"') == "x"
