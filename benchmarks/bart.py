"""Hugging Face's BART with the very weights of our Transformer, as a rival whose captions must be identical.

BART has post-norm layers and biases as ours has. What differs is taken away: the layer norms of its embeddings, its
learned positions (ours are written into their table), the word vectors that it shares with the output, its forced end.
Nothing is downloaded.
"""

import importlib.util

import torch
from torch import Tensor, nn

from decoders import MultiHeadAttention, TransformerDecoder, VideoMemory


def installed() -> bool:
    """Whether there is a ``transformers`` to compare with."""
    return importlib.util.find_spec("transformers") is not None


class Bart:
    """`generate` of ``BartForConditionalGeneration``, with its cache, on the frames of a memory.

    Args:
        ours: whose sizes and weights it takes; without fusion.
    """

    def __init__(self, ours: TransformerDecoder) -> None:
        from transformers import BartConfig, BartForConditionalGeneration

        first = ours.layers[0]
        heads, hidden = first.attention.heads, first.feed_forward[0].out_features
        config = BartConfig(
            vocab_size=ours.vocabulary,
            d_model=ours.channels,
            encoder_layers=len(ours.encoders["frames"]),
            decoder_layers=len(ours.layers),
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            decoder_ffn_dim=hidden,
            max_position_embeddings=len(ours.positions),
            activation_function="relu",
            scale_embedding=True,
            tie_word_embeddings=False,
            pad_token_id=ours.pad,
            bos_token_id=ours.bos,
            eos_token_id=ours.eos,
            decoder_start_token_id=ours.bos,
            forced_eos_token_id=None,
        )
        self.never = [ours.pad, ours.bos]
        self.model = BartForConditionalGeneration(config).eval()
        encoder, decoder = self.model.model.encoder, self.model.model.decoder
        encoder.layernorm_embedding = decoder.layernorm_embedding = nn.Identity()
        with torch.no_grad():
            for part in (encoder, decoder):
                part.embed_positions.weight[part.embed_positions.offset :] = ours.positions
            decoder.embed_tokens.weight.copy_(ours.embedding.weight)
            self.model.lm_head.weight.copy_(ours.output.weight)
            self.model.final_logits_bias.copy_(ours.output.bias[None])
        for mine, theirs in zip(ours.encoders["frames"], encoder.layers, strict=True):
            _copy_layer(mine, theirs)
        for mine, theirs in zip(ours.layers, decoder.layers, strict=True):
            _copy_layer(mine, theirs)
            _copy_attention(mine.view_attention["frames"], theirs.encoder_attn)
            theirs.encoder_attn_layer_norm.load_state_dict(mine.view_norm.state_dict())

    @torch.inference_mode()
    def generate(self, memory: VideoMemory, beam: int, steps: int) -> Tensor:
        """The best caption of each video, of ``steps`` words ``[B L]``."""
        ranked = {"num_beams": beam, "length_penalty": 0.0} if beam > 1 else {}
        words = self.model.generate(
            inputs_embeds=memory.frames,
            attention_mask=memory.frame_mask.long(),
            do_sample=False,
            min_new_tokens=steps,
            max_new_tokens=steps,
            suppress_tokens=self.never,
            use_cache=True,
            **ranked,
        )
        return words[:, 1:]


def _copy_layer(ours: nn.Module, theirs: nn.Module) -> None:
    _copy_attention(ours.attention, theirs.self_attn)
    theirs.self_attn_layer_norm.load_state_dict(ours.attention_norm.state_dict())
    theirs.fc1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.fc2.load_state_dict(ours.feed_forward[2].state_dict())
    theirs.final_layer_norm.load_state_dict(ours.feed_forward_norm.state_dict())


def _copy_attention(ours: MultiHeadAttention, theirs: nn.Module) -> None:
    for mine, other in (
        (ours.query, "q_proj"),
        (ours.key, "k_proj"),
        (ours.value, "v_proj"),
        (ours.output, "out_proj"),
    ):
        getattr(theirs, other).load_state_dict(mine.state_dict())
