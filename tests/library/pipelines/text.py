"""Tokenizers and text and image encoders at toy size, made in memory with random weights."""

import transformers

# Renders the text of a conversation, whether its content is a string or a list of parts.
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"
)
# More than the 384 ids of the byte-level tokenizer, whose first are padding and end.
VOCABULARY = 400
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}


class ByteTokenizer(transformers.ByT5Tokenizer):
    """One token per byte. Takes the picture arguments of a processor too, as far as they are empty."""

    def __call__(self, text=None, *args, images=None, videos=None, **kwargs):
        return super().__call__(text, *args, **kwargs)


def tokenizer(longest: int = 77):
    """The tokenizer of every pipeline here."""
    bytes_ = ByteTokenizer(model_max_length=longest)
    bytes_.chat_template = CHAT_TEMPLATE
    return bytes_


def t5(width=32):
    """A T5 encoder with hidden states of this width."""
    config = transformers.T5Config(
        d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4, vocab_size=VOCABULARY
    )
    return transformers.T5EncoderModel(config)


def clip_text(width=32, projection=False):
    """CLIP's text model, with the projection if wanted."""
    # With eos_token_id=2 the pooled state is that of the highest token id, whatever the tokenizer's end is.
    config = transformers.CLIPTextConfig(
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=VOCABULARY,
        projection_dim=32,
        **{**SPECIAL, "eos_token_id": 2},
    )
    return (transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel)(config)


def clip_vision(width=4, size=8, patch_size=2):
    """CLIP's vision model on pictures of size × size, and its processor."""
    config = transformers.CLIPVisionConfig(
        hidden_size=width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size,
        intermediate_size=16,
        patch_size=patch_size,
    )
    processor = transformers.CLIPImageProcessor(crop_size=size, size=size)
    return transformers.CLIPVisionModelWithProjection(config), processor


def llama_config():
    """The configuration of a LLaMA text encoder 16 wide."""
    return transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=4,
        vocab_size=VOCABULARY,
        **SPECIAL,
    )


def llama():
    """LLaMA as a text encoder."""
    return transformers.LlamaModel(llama_config())


def llava(image_size=32, patch_size=8):
    """LLaVA as an encoder of text and picture; its processor. Token 399 stands for the picture."""
    vision = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=37,
        projection_dim=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        image_size=image_size,
        patch_size=patch_size,
    )
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=llama_config(),
        image_token_index=VOCABULARY - 1,
        pad_token_id=0,
    )
    processor = transformers.CLIPImageProcessor(crop_size=image_size, size=image_size)
    return transformers.LlavaForConditionalGeneration(config), processor


def qwen_config(width=16):
    """The configuration of Qwen2.5-VL, its language part this wide."""
    quarter = width // 4
    text = {
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": VOCABULARY,
        **SPECIAL,
        "rope_scaling": {"mrope_section": [quarter // 4, quarter // 4, quarter // 2], "rope_type": "default"},
        "rope_theta": 1000000.0,
    }
    vision = {
        "depth": 1,
        "hidden_size": width,
        "intermediate_size": width,
        "num_heads": 2,
        "out_hidden_size": width,
    }
    return transformers.Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=VOCABULARY - 3,
        vision_end_token_id=VOCABULARY - 2,
        image_token_id=VOCABULARY - 1,
        video_token_id=VOCABULARY - 4,
    )


def qwen(width=16):
    """Qwen2.5-VL."""
    return transformers.Qwen2_5_VLForConditionalGeneration(qwen_config(width))


def qwen_text(width=16):
    """The language part of Qwen2.5-VL alone."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    return Qwen2_5_VLTextModel(qwen_config(width).text_config)


def gemma2():
    """Gemma 2, 8 wide."""
    config = transformers.Gemma2Config(
        head_dim=16,
        hidden_size=8,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
    )
    return transformers.Gemma2Model(config)


def gemma3():
    """Gemma 3 with two layers, 16 wide."""
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": VOCABULARY,
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=VOCABULARY - 3,
        eoi_token_index=VOCABULARY - 2,
        image_token_index=VOCABULARY - 1,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def t5gemma2():
    """The encoder of T5Gemma 2, 32 wide."""
    from transformers.models.t5gemma2.configuration_t5gemma2 import (
        T5Gemma2EncoderConfig,
        T5Gemma2TextConfig,
    )
    from transformers.models.t5gemma2.modeling_t5gemma2 import T5Gemma2Encoder

    text = T5Gemma2TextConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        vocab_size=VOCABULARY,
        max_position_embeddings=128,
        head_dim=16,
        num_key_value_heads=2,
        dropout_rate=0.0,
    )
    vision = transformers.SiglipVisionConfig(
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=16,
        patch_size=4,
    )
    return T5Gemma2Encoder(T5Gemma2EncoderConfig(text_config=text, vision_config=vision))
