"""The two orders in which STaTS attends: places and then time (ST), a frame and then its places (TS)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.attention import AdditiveAttention, masked_softmax
from decoders.memory import mean_of_real
from decoders.ranked import RankedAttention
from decoders.streams import Stream

Temporal = Literal["mean", "lstm", "mean+lstm", "temp_att", "mean+temp_att", "ranked", "mean+ranked"]
Selection = Literal["soft", "straight_through", "hard", "topk"]
Parts = dict[str, Tensor]
"""What a unit reads of a stream: the fields of `Stream`, and what it made of them in `prepare`; ``B`` rows each."""


class TemporalMode(NamedTuple):
    """What a row of Table 2 does, after its attention to places.

    Args:
        mean: takes the mean of the steps.
        lstm: takes the last output of an LSTM over the steps; joined with the mean where there are both.
        ranked: the ranking loss trains that LSTM.
        attends: it does none of these, but attends to all places of all steps ("items"), or to the means of steps
            ("steps"), and so to no place in a stage of its own.
    """

    mean: bool = False
    lstm: bool = False
    ranked: bool = False
    attends: Literal["items", "steps"] | None = None


TEMPORAL_MODES: Mapping[Temporal, TemporalMode] = {
    "mean": TemporalMode(mean=True),
    "lstm": TemporalMode(lstm=True),
    "mean+lstm": TemporalMode(mean=True, lstm=True),
    "temp_att": TemporalMode(attends="items"),
    "mean+temp_att": TemporalMode(attends="steps"),
    "ranked": TemporalMode(lstm=True, ranked=True),
    "mean+ranked": TemporalMode(mean=True, lstm=True, ranked=True),
}


class SpatioTemporal(nn.Module):
    r"""Attention to places, then through time (Cherian et al., 2020, section 3.1).

    .. math::
        e_{tj} = \mathrm{softmax}_j\, \mathrm{att}(h, x_{tj}), \quad \hat x_t = \sum_j e_{tj} x_{tj} \quad (3)

    For a grid, which stays where it is, places are attended to once, by their mean over the real steps, and that
    attention is copied to all steps; detected regions, which do not stay, are attended to in each step again. Through
    time go the rows of Table 2:

    - ``mean``: the mean of ``x^_t``; ``lstm``, ``ranked``: the last output of an LSTM (Eq. 8; `ranked` has the
      ranking loss);
    - ``mean+lstm``, ``mean+ranked``: both, joined by a linear layer or added. How is not in the paper. The ranking loss
      is that of the LSTM's own output;
    - ``temp_att``: one attention over all places of all steps, no spatial stage;
    - ``mean+temp_att``: the plain mean over places, then attention over steps.

    With one place a step there is nothing to attend to in space: ``x^_t = x_t``, for every word, and what does not hang
    on the word is computed once for a video.

    Args:
        query: width ``Q`` of what asks.
        channels: width ``C`` of the stream.
        attention: width ``A`` of the attention space.
        places: whether there are several places a step.
        temporal: the mode, as above.
        shared: one spatial attention for all steps.
        mean_join: "linear" or "add".
    """

    def __init__(
        self,
        query: int,
        channels: int,
        attention: int,
        places: bool,
        temporal: Temporal = "mean+ranked",
        shared: bool = False,
        mean_join: Literal["linear", "add"] = "linear",
    ) -> None:
        super().__init__()
        self.temporal, self.shared = temporal, shared
        self.mode = TEMPORAL_MODES[temporal]
        # With one place a step and no attention in time there is nothing to
        # choose: no weights are made that never learn.
        attends = places or self.mode.attends is not None
        self.attention = AdditiveAttention(query, channels, attention) if attends else None
        self.ranked = RankedAttention(channels) if self.mode.lstm else None
        # Two vectors are joined back to one width; "add" needs no weights for it.
        joins = self.mode.mean and self.mode.lstm and mean_join == "linear"
        self.join = nn.Linear(2 * channels, channels) if joins else None

    def prepare(self, stream: Stream) -> Parts:
        """What does not hang on the word: keys, or the whole result where there is one place a step."""
        # Nothing to choose in space, so that no word changes the result.
        if self.attention is None:
            x, trace = self._through_time(stream.values[:, None, :, 0], stream.real)
            return {"st.x": x[:, 0]} | {f"st.{name}": value[:, 0] for name, value in trace.items()}
        if self.mode.attends == "steps":
            means = mean_of_real(stream.values, stream.mask, 2)
            return {"st.values": means, "st.keys": self.attention.keys(means)}
        if self.mode.attends is None and self.shared:
            # One attention for all steps asks each place for its mean over time; steps and channels of the values
            # become one axis, as `forward` multiplies them.
            keys = self.attention.keys(mean_of_real(stream.values, stream.mask, 1))
            return {"st.keys": keys, "st.values": stream.values.transpose(1, 2).flatten(2)}
        return {"st.keys": self.attention.keys(stream.values.flatten(1, 2))}

    def forward(self, query: Float[Tensor, "B K Q"], parts: Parts) -> tuple[Float[Tensor, "B K C"], Parts]:
        """``x_ST`` of every query, and what it attends to: ``st_frames`` ``[B K F]``, ``st_regions`` ``[B K n]`` or
        ``[B K F n]``, ``st_items`` ``[B K F n]`` (sums to 1 over both); ``loss.rank`` ``[B K F]``, ``loss.rank_norm``
        ``[B K]``.
        """
        queries = query.shape[1]
        if self.attention is None:
            return parts["st.x"][:, None].expand(-1, queries, -1), {}
        scores = self.attention(query, parts["st.keys"])
        values, mask = parts["values"], parts["mask"]
        if self.mode.attends == "steps":
            weights = masked_softmax(scores, parts["real"][:, None])
            return weights @ parts["st.values"], {"st_frames": weights}
        # One softmax over all places of all steps: a step has as many votes as real places.
        if self.mode.attends == "items":
            weights = masked_softmax(scores, mask.flatten(1)[:, None])
            x = weights @ values.flatten(1, 2)
            if mask.shape[2] == 1:
                return x, {"st_frames": weights}
            return x, {"st_items": weights.unflatten(2, mask.shape[1:])}
        if self.shared:
            weights = masked_softmax(scores, mask.any(1)[:, None])
            # One set of weights serves all steps, so steps and channels are one axis of a single product.
            steps = (weights @ parts["st.values"]).unflatten(2, (values.shape[1], values.shape[3]))
        else:
            # A softmax of its own in each step [B K F n].
            weights = masked_softmax(scores.unflatten(2, mask.shape[1:]), mask[:, None])
            steps = (weights.transpose(1, 2) @ values).transpose(1, 2)
        x, trace = self._through_time(steps, parts["real"])
        return x, {"st_regions": weights} | trace

    def _through_time(
        self, steps: Float[Tensor, "B K F C"], real: Bool[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B K C"], Parts]:
        lengths = real.sum(1)
        mean = steps.sum(2) / lengths[:, None, None]  # steps that are not real are zero
        if self.ranked is None:
            return mean, {}
        shape = steps.shape[:2]
        # The LSTM runs once for each word and video, as what it reads depends on the word.
        last, projections = self.ranked(steps.flatten(0, 1), lengths.repeat_interleave(shape[1]))
        last = last.unflatten(0, shape)
        trace: Parts = {}
        if self.mode.ranked:
            trace = {"loss.rank": projections.unflatten(0, shape), "loss.rank_norm": last.square().sum(-1)}
        if not self.mode.mean:
            return last, trace
        return (mean + last if self.join is None else self.join(torch.cat([mean, last], -1))), trace


class TemporoSpatial(nn.Module):
    r"""Attention to a frame, then to its places (Cherian et al., 2020, Eq. 9-11).

    .. math::
        a = \mathrm{softmax}_t(\mathrm{att}(h, \bar x_t) / \theta), \quad
        m_j = \sum_t a_t r_{tj}, \quad x_{\tau j} = \tfrac{1}{m_j} \sum_t a_t r_{tj} x_{tj}

    .. math::
        e_j = \mathrm{softmax}_j(\mathrm{att}'(h, x_{\tau j}) + \log m_j), \quad x_{TS} = \sum_j e_j x_{\tau j}

    with ``r_tj = 1`` where place j of step t is real, and ``x-bar`` the mean or maximum of the real places. Eq. 9 takes
    the maximum over t, which the paper itself implements as a softmax of low temperature ``theta``; Eq. 10 prints no
    softmax but asks that its weights sum to 1.

    Where all places of a step are real, ``m = 1`` and this is Eq. 10 word for word. Regions are ragged: slot j is
    one object in some steps, another or nothing in others. A slot then counts with the share of attended time in which
    it holds something, so that the softmax at low temperature goes to that over the real places of the one frame, and
    padding changes nothing.

    With one place a step, the second stage is left out: ``x_TS = sum_t a_t x_t``.

    Args:
        query: width ``Q`` of what asks.
        channels: width ``C`` of the stream.
        attention: width ``A`` of the attention space.
        places: whether there are several places a step.
        selection: "soft"; "straight_through": the maximum, with the gradient of the softmax; "hard": the maximum, whose
            choice is not learned; "topk": the softmax over the ``top_k`` likeliest steps.
        at_test: "same", or "hard": the maximum in evaluation mode.
        top_k: number of steps for "topk".
        summary: "mean" or "max".
    """

    def __init__(
        self,
        query: int,
        channels: int,
        attention: int,
        places: bool,
        selection: Selection = "soft",
        at_test: Literal["same", "hard"] = "same",
        top_k: int = 3,
        summary: Literal["mean", "max"] = "mean",
    ) -> None:
        super().__init__()
        self.selection, self.at_test, self.top_k, self.summary = selection, at_test, top_k, summary
        self.temporal = AdditiveAttention(query, channels, attention)
        self.spatial = AdditiveAttention(query, channels, attention) if places else None

    def prepare(self, stream: Stream) -> Parts:
        """Keys of the steps and of the places, projected once for a video."""
        keys = {"ts.frame_keys": self.temporal.keys(self._summaries(stream))}
        return keys if self.spatial is None else keys | {"ts.place_keys": self.spatial.keys(stream.values)}

    def forward(
        self, query: Float[Tensor, "B K Q"], parts: Parts, temperature: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "B K C"], Parts]:
        """``x_TS`` of every query, and what it attends to: ``ts_frames`` ``[B K F]``, ``ts_regions`` ``[B K n]``."""
        scores = self.temporal(query, parts["ts.frame_keys"])
        chosen = self.select(scores / temperature, parts["real"][:, None])
        values, mask = parts["values"], parts["mask"]
        if self.spatial is None:
            return chosen @ values[:, :, 0], {"ts_frames": chosen}
        # The share of attended time in which each place holds something: m of the equations above.
        mass = chosen @ mask.to(chosen.dtype)
        # A share this small counts for nothing, and the gradient of a division by it would not be finite.
        least = torch.finfo(mass.dtype).eps ** 2
        there = mass > least
        mass = mass.clamp(min=least)
        # Eq. 10: a slot [B K n C] is the mean of what stands at its place, by the weights of the steps.
        slots = self._pool(chosen, values) / mass[..., None]
        keys = self._pool(chosen, parts["ts.place_keys"]) / mass[..., None]
        scores = self.spatial(query.flatten(0, 1)[:, None], keys.flatten(0, 1)).view_as(mass)
        # A place counts by the share of attended time in which it holds something.
        weights = masked_softmax(scores + mass.log(), there)
        return (weights[:, :, None] @ slots).squeeze(2), {"ts_frames": chosen, "ts_regions": weights}

    def select(self, scores: Float[Tensor, "B K F"], real: Bool[Tensor, "B #K F"]) -> Float[Tensor, "B K F"]:
        """Weights of the steps from their scores (over the temperature)."""
        selection = "hard" if self.at_test == "hard" and not self.training else self.selection
        lowest = torch.finfo(scores.dtype).min  # its softmax is 0: some step of each video is real
        scores = scores.masked_fill(~real, lowest)
        if selection == "topk":
            likeliest = self._likeliest(scores)
            scores = torch.full_like(scores, lowest).scatter(2, likeliest, scores.gather(2, likeliest))
        soft = scores.softmax(2)
        if selection in ("soft", "topk"):
            return soft
        # The value of the maximum with the gradient of the softmax: the difference is 0, its gradient is not.
        hard = torch.zeros_like(scores).scatter(2, scores.argmax(2, keepdim=True), 1.0)
        return hard if selection == "hard" else hard + (soft - soft.detach())

    def _likeliest(self, scores: Float[Tensor, "B K F"]) -> Int[Tensor, "B K k"]:
        return scores.topk(min(self.top_k, scores.shape[2]), dim=2).indices

    def _summaries(self, stream: Stream) -> Float[Tensor, "B F C"]:
        if self.summary == "mean":
            return mean_of_real(stream.values, stream.mask, 2)
        lowest = torch.finfo(stream.values.dtype).min
        # Padding is zero, which could be the largest of negative features.
        highest = stream.values.masked_fill(~stream.mask[..., None], lowest).amax(2)
        return highest.masked_fill(~stream.real[..., None], 0.0)

    @staticmethod
    def _pool(weights: Float[Tensor, "B K F"], values: Float[Tensor, "B F n D"]) -> Float[Tensor, "B K n D"]:
        return (weights @ values.flatten(2)).unflatten(2, values.shape[2:])


class UnitGate(nn.Module):
    r"""How much each unit counts for a word (Cherian et al., 2020, Eq. 12, over any number of units).

    .. math::
        b_u = w_u^\top \tanh(W_u x_u + W_h h), \quad x = \tanh \sum_u \mathrm{softmax}_u(b)\, x_u

    ``W_h`` is shared, and there are no biases, as printed. One unit needs no weights, and has no parameters; the tanh
    stays. The width of the space is not in the paper: that of the attention.

    Args:
        units: number ``U`` of units.
        channels: width ``C`` of units and of ``h``.
        attention: width of the space in which they are compared.
    """

    def __init__(self, units: int, channels: int, attention: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, attention, bias=False) if units > 1 else None
        # A softmax over one unit is 1 whatever its score, so its parameters would never learn.
        ones = range(units if units > 1 else 0)
        self.unit = nn.ModuleList(nn.Linear(channels, attention, bias=False) for _ in ones)
        self.score = nn.ModuleList(nn.Linear(attention, 1, bias=False) for _ in ones)

    def forward(
        self, units: list[Float[Tensor, "B K C"]], hidden: Float[Tensor, "B K C"]
    ) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K U"]]:
        """The combined vector, and the weight of each unit."""
        if self.hidden is None:
            return units[0].tanh(), torch.ones_like(units[0][..., :1])
        # Eq. 12: the state is projected once, and added to the projection of every unit.
        asked = self.hidden(hidden)
        scores = [
            score(torch.tanh(project(x) + asked))
            for x, project, score in zip(units, self.unit, self.score, strict=True)
        ]
        weights = torch.cat(scores, -1).softmax(-1)
        return (weights[:, :, None] @ torch.stack(units, 2)).squeeze(2).tanh(), weights
