"""Tiny random models of transformers and timm in folders as these save them, of the real classes."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

SIDE, PATCH = 32, 8
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURES = {"image_size": SIDE, "patch_size": PATCH}
COLOURS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}


def write_model(folder: Path, model: Any, processor: Any) -> Path:
    """Save a model and what prepares its pictures."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with embeddings of 12 numbers, which crops the middle of a frame."""
    torch.manual_seed(seed)
    words = {"vocab_size": 20, "max_position_embeddings": 8}
    config = transformers.CLIPConfig(vision_config=TOWER | PICTURES, text_config=TOWER | words, projection_dim=12)
    crop = {"height": SIDE, "width": SIDE}
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop, **COLOURS)
    return write_model(folder, transformers.CLIPModel(config), processor)


def write_siglip(folder: Path) -> Path:
    """A SigLIP, which stretches frames and has no class token."""
    torch.manual_seed(1)
    config = transformers.SiglipConfig(
        vision_config=TOWER | PICTURES, text_config=TOWER | {"vocab_size": 20, "max_position_embeddings": 8}
    )
    processor = transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}, **COLOURS)
    return write_model(folder, transformers.SiglipModel(config), processor)


def write_dino(folder: Path, version: int) -> Path:
    """A DINOv2, or a DINOv3 with register tokens."""
    torch.manual_seed(version)
    makers: dict[int, Any] = {
        2: lambda: transformers.Dinov2Model(transformers.Dinov2Config(**TOWER, **PICTURES)),
        3: lambda: transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**TOWER, **PICTURES, num_register_tokens=3)
        ),
    }
    crop = {"height": SIDE, "width": SIDE}
    processor = transformers.BitImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop, **COLOURS)
    return write_model(folder, makers[version](), processor)


def write_videomae(folder: Path) -> Path:
    """A VideoMAE of 4 frames."""
    torch.manual_seed(4)
    config = transformers.VideoMAEConfig(**TOWER, **PICTURES, num_frames=4, tubelet_size=2)
    processor = transformers.VideoMAEImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, **COLOURS
    )
    return write_model(folder, transformers.VideoMAEModel(config), processor)


def write_detr(folder: Path, kind: str) -> Path:
    """A D-FINE or an RT-DETR that gives 12 boxes of the classes person, ball and tree."""
    torch.manual_seed(5)
    names = dict(enumerate(("person", "ball", "tree")))
    shape = {"d_model": 16, "encoder_hidden_dim": 16, "num_queries": 12, "decoder_layers": 2, "encoder_layers": 1}
    heads = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    widths = {"encoder_in_channels": [8, 8, 8], "decoder_in_channels": [16, 16, 16], "id2label": names}
    if kind == "d_fine":
        body: Any = transformers.HGNetV2Config(
            stem_channels=[3, 4, 8], stage_in_channels=[8, 8, 8, 8], stage_mid_channels=[8] * 4,
            stage_out_channels=[8] * 4, stage_num_blocks=[1] * 4, stage_numb_of_layers=[1] * 4, hidden_sizes=[8] * 4,
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        config: Any = transformers.DFineConfig(backbone_config=body, **shape, **heads, **widths)
        model: Any = transformers.DFineForObjectDetection(config)
    else:
        body = transformers.RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8] * 4, depths=[1] * 4, layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )  # fmt: skip
        config = transformers.RTDetrConfig(backbone_config=body, **shape, **heads, **widths)
        model = transformers.RTDetrForObjectDetection(config)
    processor = transformers.RTDetrImageProcessor(size={"height": 64, "width": 64})
    return write_model(folder, model, processor)


def write_grounding_dino(folder: Path) -> Path:
    """A Grounding DINO whose words are letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(6)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({token: place for place, token in enumerate(tokens)}, unk_token="[UNK]"))
    letters = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(letters)
    bert = {"model_type": "bert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1}
    words = bert | {"num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 64}
    body = transformers.SwinConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=body,
        text_config=words,
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    processor = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    return write_model(folder, transformers.GroundingDinoForObjectDetection(config), processor)


def write_timm(folder: Path, architecture: str = "vit_tiny_patch16_224", **arguments: Any) -> Path:
    """A network of timm, with the classifier of 5 classes."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(7)
    model = timm.create_model(architecture, num_classes=5, **arguments)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    settings = {
        "architecture": architecture,
        "num_classes": 5,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.25, 0.3],
            "interpolation": "bicubic",
            "crop_pct": 0.8,
        },
    }
    (folder / "config.json").write_text(json.dumps(settings))
    return folder
