"""Where the pictures raised the likelihood of a caption: Grad-CAM of the scene branch (Pan et al., 2020, Fig. 3)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graphs import GraphData
from stg.explain.explanation import Attribution, as_shares
from stg.explain.likelihood import input_gradients, word_log_probs
from stg.models.captioner import Captioner
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.backbones import LocatingBackbone, SceneMap

WORDS_TITLE = "Grad-CAM of each word"
"""Title of Grad-CAM word by word."""

LIMITS = (
    "It holds to first order, says nothing of the motion and object features that the model may read as well, and "
    "shows nothing of what lowered the likelihood. That a place counted does not prove that the model knew what is "
    "there."
)


def scene_map(backbone: LocatingBackbone, batch: GraphData, sample: SampledFrames) -> SceneMap:
    """The image network's map of the frames that the features of a video were made from.

    Args:
        backbone: the image network that made ``batch.scene``.
        batch: flat batch of the one video.
        sample: the frames that it saw.

    Raises:
        UserError: other frames than those of the batch.
    """
    _check_frames(batch, sample)
    return backbone.scene_map(sample)


def gradcam(
    captioner: Captioner, batch: GraphData, words: Sequence[int], image_map: SceneMap
) -> tuple[Attribution, ...]:
    r"""Grad-CAM of each word's log-probability and of the caption's log-likelihood, at the image network's last map.

    Pan et al. (2020, Fig. 3) show saliency maps without saying how they were made; this project reads them as Grad-CAM
    (Selvaraju et al., 2017) with the score :math:`\log p(w_t \mid w_{<t})`, for the caption their sum and that of its
    end. The gradient goes through decoder and scene branch to the scene features, and from there exactly to the map
    (`stg.vision.backbones.SceneMap`). Departures: a caption has no class score, so that its log-likelihood stands
    in; and one scale holds for all frames of a row, so that frames can be compared.

    Args:
        captioner: any with a scene branch, in any mode; it is left as it was.
        batch: flat batch of the one video.
        words: ids of the caption, without the first and the last special word.
        image_map: from `scene_map`.

    Returns:
        ``gradcam``, one row a word, and ``gradcam.caption``, one row; ``places`` ``[L T h w]`` that sum to 1 in a row
        (over all frames, which so share one scale), and to 0 where nothing raised the word. Nothing where the caption
        has no words or does not depend on scene features.

    Raises:
        ValueError: the batch is not of one video.
    """
    gradient = scene_gradients(captioner, batch, words)
    if gradient is None or not words:
        return ()
    # The last row is the caption's: its log-likelihood is the sum over all words, the end included.
    scores = torch.cat([gradient[:-1], gradient.sum(0, keepdim=True)])
    # The network may have seen a part of the picture only; the map is laid where it looked.
    places = image_map.over_frame(image_map.gradcam(scores.cpu().numpy()))
    height, width = places.shape[-2:]
    return (
        Attribution(
            "gradcam",
            WORDS_TITLE,
            f"Where the picture raised the probability of the word, given those before it, through the scene branch: "
            f"Grad-CAM at the last map of the image network, drawn as {height} x {width} places and no finer than that "
            f"map. {LIMITS}",
            places=as_shares(places[:-1]),
        ),
        Attribution(
            "gradcam.caption",
            "Grad-CAM of the caption",
            f"Where the picture raised the likelihood of the caption as a whole, through the scene branch: Grad-CAM at "
            f"the last map of the image network, drawn as {height} x {width} places and no finer than that map. The "
            f"paper shows such maps (Fig. 3) without saying how they were made. {LIMITS}",
            places=as_shares(places[-1:]),
            whole=True,
        ),
    )


def frame_saliency(captioner: Captioner, batch: GraphData, words: Sequence[int]) -> tuple[Attribution, ...]:
    """Gradient times scene feature of each frame, for when the pictures are not at hand.

    It is what the places of Grad-CAM add up to in a frame before those that lowered the score are left out.

    Args:
        captioner, batch, words: as in `gradcam`.

    Returns:
        ``gradient``, one row a word, and ``gradient.caption``, one row; ``frames`` ``[L T]`` that sum to 1 in a row,
        and to 0 where nothing raised the word. Nothing where the caption has no words or does not depend on scene
        features.

    Raises:
        ValueError: the batch is not of one video.
    """
    gradient = scene_gradients(captioner, batch, words)
    if gradient is None or not words:
        return ()
    scores = torch.cat([gradient[:-1], gradient.sum(0, keepdim=True)])
    # What lowers the likelihood is left out, as Grad-CAM does.
    frames = (scores * batch.scene.to(scores)).sum(-1).clamp_min(0).cpu().numpy()
    note = "gradient times scene feature, summed over each frame. It shows frames, and no place in them. " + LIMITS
    return (
        Attribution(
            "gradient",
            "Gradient x feature of each word",
            f"Which frames raised the probability of the word, given those before it, through the scene branch: {note}",
            frames=as_shares(frames[:-1]),
        ),
        Attribution(
            "gradient.caption",
            "Gradient x feature of the caption",
            f"Which frames raised the likelihood of the caption as a whole, through the scene branch: {note}",
            frames=as_shares(frames[-1:]),
            whole=True,
        ),
    )


def scene_gradients(captioner: Captioner, batch: GraphData, words: Sequence[int]) -> Float[Tensor, "L1 T S"] | None:
    """Gradient of each word's log-probability, and last of the end's, with respect to ``batch.scene``.

    What standardises the features, the projections and the decoder are all passed through; the graph of a joined model
    is, too. None: there is no scene branch, or its decoder reads nothing of the scene features.

    Raises:
        ValueError: the batch is not of one video.
    """
    if len(batch.num_frames) != 1:
        raise ValueError(f"a caption belongs to one video, and the batch has {len(batch.num_frames)}")
    if captioner.scene is None:
        return None
    with input_gradients(captioner):
        batch = batch.clone().to(next(captioner.parameters()).device)
        scene = batch.scene = batch.scene.requires_grad_()
        log_probs = word_log_probs(captioner.decoder, captioner.for_captioning().memory(batch), words)
        # The decoder may read nothing of the scene branch.
        if not log_probs.requires_grad:
            return None
        # One backward pass a word, all over the same forward pass.
        rows = [torch.autograd.grad(one, scene, retain_graph=True)[0] for one in log_probs]
    return torch.stack(rows)


def _check_frames(batch: GraphData, sample: SampledFrames) -> None:
    """Refuse pictures that are not those of the features."""
    given = sample.frame_number.tolist()
    known = batch.frame_number.tolist() if "frame_number" in batch else None
    if len(given) != int(batch.num_frames) or known not in (None, given):
        raise UserError(
            f"the frames at hand of video {sample.video!r} are not those of its features: numbers {given}, and the "
            f"features are of {known if known is not None else f'{int(batch.num_frames)} frames'}"
        )
