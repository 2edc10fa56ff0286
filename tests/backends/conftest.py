"""What tests of several families need."""

from __future__ import annotations

import pytest


@pytest.fixture
def picture(tmp_path):
    """The path of a picture of 90 x 60 pixels."""
    from PIL import Image

    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")
