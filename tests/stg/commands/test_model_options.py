"""``model.options``: settings of a decoder of one's own, from the command line to the model that captions."""

import json
from pathlib import Path
from typing import Any

import pytest

import stg
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.plugins import load_plugin
from stg.config.schema import from_dict, to_dict
from stg.datasets.open import open_dataset
from stg.runs.bundle import CaptionerBundle
from stg.runs.tensors import load_tensors
from tests.stg.plug_in import EXAMPLES, command, fresh_process

PLUGIN = EXAMPLES / "my_decoder.py"


def test_the_settings_reach_the_decoder_and_stay_with_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    open_dataset(DataConfig(store=str(store)), WorldConfig(train=4, val=2, test=2)).store.close()
    words = [
        *("fit", "--plugin", PLUGIN, "--model.decoder", "gru", "--model.options", '{"word_dropout": 0.25}'),
        *("--model.branches", "scene", "--model.channels", 8, "--model.heads", 2, "--data.store", store),
        *("--world.train", 4, "--world.val", 2, "--world.test", 2, "--optim.epochs", 1, "--run.device", "cpu"),
    ]
    assert command(*words, "--run.out", tmp_path / "run") == 0  # type: ignore[arg-type]
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert kept["model"]["options"] == {"word_dropout": 0.25}
    assert load_tensors(tmp_path / "run/model.safetensors")[1]["model"]["options"] == {"word_dropout": 0.25}
    with fresh_process():
        load_plugin(str(PLUGIN))
        decoder: Any = CaptionerBundle.load(tmp_path / "run/model.safetensors").captioner.decoder
        assert decoder.word_dropout.p == 0.25
        assert stg.evaluate(tmp_path / "run", "test", metrics=["cider"], device="cpu")
    # They define the run.
    capsys.readouterr()
    words[6] = '{"word_dropout": 0.5}'
    assert command(*words, "--run.out", tmp_path / "run") == 2  # type: ignore[arg-type]
    assert "other settings (model.options.word_dropout: was 0.25, now 0.5" in capsys.readouterr().err


def test_models_without_them_are_written_as_they_were() -> None:
    assert "options" not in to_dict(ModelConfig())


@pytest.mark.parametrize("decoder", ["transformer", "stats", "attention_lstm"])
def test_built_in_decoders_take_none(decoder: str) -> None:
    with pytest.raises(
        ValueError, match=f"model.decoder {decoder} names none: leave it out, or choose another decoder$"
    ):
        ModelConfig(decoder=decoder, options={"layers": 2})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"words_dropout": 0.1}, "gru does not take; did you mean 'word_dropout'\\?; it takes word_dropout$"),
        ({"zzz": 0.1}, "model.options has 'zzz', which the decoder gru does not take; it takes word_dropout$"),
        ({"word_dropout": float("nan")}, "model.options must hold finite numbers, .* got {'word_dropout': nan}$"),
        ({"word_dropout": (1, 2)}, "model.options must hold finite numbers, .*lists"),
        ({"word_dropout": Path("x")}, "model.options must hold finite numbers, texts"),
        ([1], r"options of ModelConfig must be dict\[str, .*Any\]; got \[1\]$"),
        ({1: 2}, r"options of ModelConfig must be dict\[str, .*Any\]; got {1: 2}$"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: Any, said: str) -> None:
    with fresh_process():
        load_plugin(str(PLUGIN))
        with pytest.raises(ValueError, match=said):
            from_dict(ModelConfig, {"decoder": "gru", "options": options})
