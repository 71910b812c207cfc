"""Tiny random models that read pictures and text, of the real classes, with a tokenizer of letters."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm import processing_smolvlm

from tests.stg.make_models import COLOURS, SIDE

PLAIN = ["<pad>", "<unk>", "<end>"]
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end>{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

# It spells the lengths of videos, which none of these is shown; the real one is an extra of transformers.
processing_smolvlm.num2words = getattr(processing_smolvlm, "num2words", None) or str  # type: ignore[attr-defined]


def letters(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single characters, and some of its own."""
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: place for place, token in enumerate([*PLAIN, *special, *characters])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*PLAIN, *special)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
        model_max_length=4096,
        extra_special_tokens=named,
    )


def _save(folder: Path, model: Any, processor: Any) -> Path:
    # Output layers of random models are all but even: made uneven, so that choices have different scores.
    torch.nn.init.normal_(model.get_output_embeddings().weight, std=1.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_smolvlm(folder: Path) -> Path:
    """A SmolVLM that sees a picture as four places."""
    torch.manual_seed(7)
    named = {
        "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
        "end_of_utterance_token": "<end_of_utterance>",
    }  # fmt: skip
    tokenizer = letters(*named.values(), **named)
    pictures = transformers.SmolVLMImageProcessor(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False, **COLOURS
    )
    processor = transformers.SmolVLMProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        video_processor=transformers.SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    text = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0,
    )  # fmt: skip
    config = transformers.SmolVLMConfig(
        vision_config={
            "image_size": SIDE, "patch_size": 8, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
        text_config=text.to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    return _save(folder, transformers.SmolVLMForConditionalGeneration(config), processor)


def write_qwen2vl(folder: Path) -> Path:
    """A Qwen2-VL with pictures of a few places."""
    torch.manual_seed(8)
    special = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = letters(*special)
    ids = tokenizer.convert_tokens_to_ids(list(special))
    pictures = transformers.Qwen2VLImageProcessor(
        patch_size=8, merge_size=2, temporal_patch_size=2, min_pixels=16 * 16, max_pixels=SIDE * SIDE
    )
    processor = transformers.Qwen2VLProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(patch_size=8, merge_size=2, temporal_patch_size=2),
        chat_template=TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    config = transformers.Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
        },
        vision_start_token_id=ids[0], vision_end_token_id=ids[1], image_token_id=ids[2], video_token_id=ids[3],
        tie_word_embeddings=False,
    )  # fmt: skip
    return _save(folder, transformers.Qwen2VLForConditionalGeneration(config), processor)


def write_clip(folder: Path) -> Path:
    """A CLIP whose words are letters."""
    torch.manual_seed(9)
    tokenizer = letters()
    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config=tower | {"image_size": SIDE, "patch_size": 8},
        text_config=tower
        | {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        projection_dim=12,
    )
    crop = {"height": SIDE, "width": SIDE}
    model = transformers.CLIPModel(config)
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop, **COLOURS).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return folder
