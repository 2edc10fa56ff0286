"""Writes `tiny` as a folder that diffusers' own `WanPipeline` loads.

Pipeline, scheduler and tokenizer are stock classes; the other parts are those of `exported`. Needs
`pip install 'navicache[diffusers]'`.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navicache_cli.errors import BackendError, OutputError, cannot_write, one_line
from navicache_cli.files import prepare_folder, write_together

if TYPE_CHECKING:
    from backends.tiny.backend import TinyPipeline

PACKAGES = ("diffusers", "transformers", "accelerate")
_ANOTHER = "choose a folder that is not there yet"
_FLOW_SHIFT = 5.0  # of the preset


def check_export(folder: Path) -> None:
    """Find out, before any work, whether `folder` can be exported to.

    Raises:
        BackendError: a package is missing.
        OutputError: there is something of that name, other than an empty folder.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise BackendError(
            f"expected the packages {', '.join(PACKAGES)}; missing: {', '.join(missing)}",
            'pip install "navicache[diffusers]"',
        )
    try:
        taken = folder.is_symlink() or (folder.exists() and not (folder.is_dir() and _is_empty(folder)))
    except (OSError, ValueError) as error:
        raise cannot_write(folder, error, _ANOTHER) from None
    if taken:
        raise OutputError(f"expected a new folder; {folder} exists already", _ANOTHER)


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def export(pipeline: TinyPipeline, folder: Path) -> None:
    """Write the folder: all of its files or none, the same bytes each time.

    Args:
        pipeline: what to export.
        folder: a new one; see `check_export`.

    Raises:
        OutputError: it cannot be written; nothing is left of the attempt.
    """
    files = {folder / name: data for name, data in _saved(in_diffusers(pipeline)).items()}
    files[folder / "README.md"] = Path(__file__).with_name("exported_card.md").read_bytes()
    subfolders = sorted({path.parent for path in files})
    try:
        for one in subfolders:
            prepare_folder(one, _ANOTHER)
        write_together(files, overwrite=False)
    except BaseException:
        for one in reversed(subfolders):
            with suppress(OSError):  # It is not ours alone, or was not made yet.
                one.rmdir()
        raise


def _saved(pipe: Any) -> dict[str, bytes]:
    """What `save_pretrained` writes, by path."""
    from safetensors import SafetensorError

    try:
        with tempfile.TemporaryDirectory() as scratch:
            pipe.save_pretrained(scratch)
            files = [path for path in Path(scratch).rglob("*") if path.is_file()]
            return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in sorted(files)}
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write a copy in {tempfile.gettempdir()}: {one_line(error)}",
            "free 30 MB there, or set TMPDIR to another folder",
        ) from None


def in_diffusers(pipeline: TinyPipeline) -> Any:
    """The same model as a `diffusers.WanPipeline`, its weights shared."""
    from diffusers import UniPCMultistepScheduler, WanPipeline

    from backends.tiny.exported import TinyAutoencoder, TinyTextEncoder, TinyTransformer3DModel
    from backends.tiny.twin import diffusers_config, diffusers_weights

    config = diffusers_config(pipeline.transformer)
    transformer = TinyTransformer3DModel(**{**config, "in_channels": config["out_channels"]})
    transformer.load_state_dict(diffusers_weights(pipeline.transformer), assign=True)
    text_encoder, vae = TinyTextEncoder(), TinyAutoencoder()
    text_encoder.encoder, vae.codec = pipeline.text_encoder, pipeline.codec
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=_FLOW_SHIFT
    )
    return WanPipeline(
        tokenizer=tokenizer(),
        text_encoder=text_encoder.eval(),
        vae=vae.eval(),
        scheduler=scheduler,
        transformer=transformer.eval(),
    )


def tokenizer() -> Any:
    """`tokenize` as a stock tokenizer, which drops the words that `tiny` does not know."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from backends.tiny.text import SYNONYMS, TEXT_LEN, TOKENS

    end, pad = TOKENS[0], "<pad>"
    letter = r"[^\W_]"
    known = "|".join([*TOKENS[1:], *SYNONYMS])
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate([*TOKENS, pad])}))
    words.normalizer = normalizers.Sequence([
        normalizers.Lowercase(),
        normalizers.Replace(Regex(f"(?<!{letter})(?!(?:{known})(?!{letter})){letter}+"), ""),
        *(
            normalizers.Replace(Regex(f"(?<!{letter}){word}(?!{letter})"), meant)
            for word, meant in SYNONYMS.items()
        ),
    ])  # fmt: skip
    words.pre_tokenizer = pre_tokenizers.Split(Regex(f"{letter}+"), "removed", invert=True)
    words.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=end, pad_token=pad, model_max_length=TEXT_LEN
    )
