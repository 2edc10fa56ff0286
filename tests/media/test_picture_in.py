"""Reading pictures as a viewer shows them: upright, scaled, on white; and what is refused."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from backends.wan.pictures import picture_file
from navicache_cli.errors import UsageError
from navicache_cli.media.picture_in import MOST_PIXELS, check_picture, read_picture

Image = pytest.importorskip("PIL.Image")
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(autouse=True)
def no_warnings():
    """Pillow's warnings would reach the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def corners() -> np.ndarray:
    """[4, 6, 3]: red, green and blue in the corners top left, top right and bottom left of black."""
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0], pixels[0, -1], pixels[-1, 0] = RED, GREEN, BLUE
    return pixels


def read(path: Path) -> np.ndarray:
    picture = read_picture(str(path))
    assert picture.mode == "RGB"
    return np.asarray(picture)


# How the EXIF standard says a file's rows and columns lie on the scene, and so how to lay them back.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(corners()).save(path, exif=exif, **options)
    assert np.array_equal(read(path), UPRIGHT[orientation](corners()))
    assert check_picture(str(path)) == []


def test_a_photograph_held_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    slope = Image.linear_gradient("L").resize((90, 60))
    slope.save(tmp_path / "photo.jpg", exif=exif)
    photo = read(tmp_path / "photo.jpg")
    assert photo.shape == (90, 60, 3)
    assert photo[:, 55].mean() < photo[:, 5].mean(), "its top is to the right"
    # Damaged EXIF data say nothing of the picture, which is whole.
    data = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "photo.jpg").write_bytes(data.replace(b"MM\0*", b"MM\xff*").replace(b"II*\0", b"II*\xff"))
    assert read(tmp_path / "photo.jpg").shape == (60, 90, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bits_of_grey_are_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / f"grey.{suffix}")
    grey = read(tmp_path / f"grey.{suffix}")
    assert np.array_equal(grey[..., 0].ravel(), np.arange(256))
    assert np.array_equal(grey, grey[..., :1].repeat(3, -1))
    assert check_picture(str(tmp_path / f"grey.{suffix}")) == []


def test_16_bits_of_big_endian_grey(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], ">u2")).save(tmp_path / "grey.tif")
    assert read(tmp_path / "grey.tif")[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGBA", "png"),
        ("RGBA", "webp"),
        ("RGBA", "tif"),
        ("RGBA", "gif"),
        ("LA", "png"),
        ("LA", "tif"),
        ("P", "png"),
    ],
)
def test_what_is_transparent_is_laid_on_white(tmp_path: Path, mode: str, suffix: str) -> None:
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 0] = (9, 9, 9, 0)  # a hidden near-black
    picture = Image.fromarray(pixels)
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    path = tmp_path / f"picture.{suffix}"
    picture.save(path, **({"lossless": True} if suffix == "webp" else {}))
    found = read(path)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[1:].max() == 0
    assert check_picture(str(path)) == [f"transparent parts of {path} are laid on white"]


def test_half_transparent(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 0, 0, 128]]], np.uint8)).save(tmp_path / "half.png")
    assert read(tmp_path / "half.png")[0, 0].tolist() == [255, 127, 127]


def test_one_transparent_colour(tmp_path: Path) -> None:
    Image.fromarray(corners()).save(tmp_path / "rgb.png", transparency=RED)
    assert read(tmp_path / "rgb.png")[0].tolist()[0] == [255, 255, 255]
    assert read(tmp_path / "rgb.png")[0].tolist()[-1] == list(GREEN)
    for kind in (np.uint8, np.uint16):
        Image.fromarray(np.array([[0, 300, 900]]).astype(kind)).save(tmp_path / "grey.png", transparency=0)
        assert read(tmp_path / "grey.png")[0, 0].tolist() == [255, 255, 255]
        assert read(tmp_path / "grey.png")[0, 1].max() < 50
        assert len(check_picture(str(tmp_path / "grey.png"))) == 1


def test_an_opaque_alpha_channel_needs_no_note(tmp_path: Path) -> None:
    Image.fromarray(corners()).convert("RGBA").save(tmp_path / "opaque.png")
    assert np.array_equal(read(tmp_path / "opaque.png"), corners())
    assert check_picture(str(tmp_path / "opaque.png")) == []


@pytest.mark.parametrize(
    ("mode", "suffix"), [("P", "png"), ("CMYK", "tif"), ("CMYK", "jpg"), ("YCbCr", "jpg"), ("1", "png")]
)
def test_other_kinds_of_colour(tmp_path: Path, mode: str, suffix: str) -> None:
    flat = Image.new("RGB", (16, 16), "white" if mode == "1" else (200, 40, 90))
    flat = flat.quantize(4) if mode == "P" else flat.convert(mode)
    flat.save(tmp_path / f"flat.{suffix}")
    wanted = (255, 255, 255) if mode == "1" else (200, 40, 90)
    assert np.abs(read(tmp_path / f"flat.{suffix}").astype(int) - wanted).max() <= 3
    assert check_picture(str(tmp_path / f"flat.{suffix}")) == []


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(path, save_all=True, append_images=[second])
    assert read(path)[0, 0].tolist() == pytest.approx(RED, abs=3)
    assert check_picture(str(path)) == [f"{path} has several frames: the first is taken"]


def test_a_photograph_with_a_preview_is_no_animation(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(
        tmp_path / "photo.mpo", save_all=True, append_images=[Image.new("RGB", (8, 8))]
    )
    assert check_picture(str(tmp_path / "photo.mpo")) == []


def empty_png(path: Path, width: int, height: int) -> Path:
    """A black PNG of 1 bit a pixel, which is small whatever its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    ("width", "height", "found"),
    [
        (8193, 8192, "8193x8192"),
        (10000, 9000, "10000x9000"),
        (13000, 13000, "13000x13000"),
        (20000, 20000, ""),
    ],
)
def test_very_large_pictures_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, found: str
) -> None:
    assert MOST_PIXELS == 8192 * 8192
    path = empty_png(tmp_path / "large.png", width, height)
    assert path.stat().st_size < 60_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    with pytest.raises(UsageError, match=f"at most 67 million pixels; .*large.png has .*{found}") as caught:
        read_picture(str(path))
    assert caught.value.hint.startswith(f"magick {path}")


def test_what_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.ones((2, 2), np.int32)).save(tmp_path / "int.tif")
    for name, reason in {
        "pipe.png": "a named pipe",
        "endless.png": "a device",
        "": "a folder",
        "text.png": "not a whole picture",
        "nowhere.png": "No such file",
        "a\0b": "null",
        "float.tif": "32 bits",
        "int.tif": "32 bits",
    }.items():
        with pytest.raises(UsageError, match=f"cannot read the image .*{reason}") as caught:
            read_picture(str(tmp_path / name))
        assert caught.value.hint
    for name, reason in {"~no-such-user/x.png": "no-such-user", "x" * 300: "255 for each name"}.items():
        with pytest.raises(UsageError, match=reason):
            read_picture(name)


def test_damaged_pictures_are_read_or_refused(tmp_path: Path) -> None:
    """Pillow's readers raise all sorts of errors on such data; here there is one."""
    seeds = []
    for suffix in ("png", "gif", "tif", "webp", "jpg", "bmp", "ppm"):
        Image.fromarray(corners()).save(tmp_path / f"seed.{suffix}")
        seeds.append((tmp_path / f"seed.{suffix}").read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for at in rng.integers(len(data), size=rng.integers(1, 6)):
            data[at] = rng.integers(256)
        (tmp_path / "damaged").write_bytes(data)
        try:
            assert read_picture(str(tmp_path / "damaged")).mode == "RGB"
        except UsageError:
            refused += 1
    assert 100 < refused < 400


def test_official_code_opens_the_same_picture(tmp_path: Path) -> None:
    """Some of it takes a path and opens it itself, by `Image.open(path).convert("RGB")`."""
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(corners()).save(tmp_path / "picture.png", exif=exif)
    opened = Image.open(picture_file(str(tmp_path / "picture.png"))).convert("RGB")
    assert np.array_equal(np.asarray(opened), UPRIGHT[8](corners()))
