"""What settings become before they are used."""

import os

import pytest

from stg.config.data import DataConfig
from stg.config.schema import in_home


def test_the_home_folder_stands_for_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    for given, expected in {"~/a": "/h/a", "~": "~", "~bob/a": "~bob/a", "a~/b": "a~/b"}.items():
        assert in_home(given) == expected
    assert in_home(os.pathsep.join(("~/a", "b", "~/c"))) == os.pathsep.join(("/h/a", "b", "/h/c"))
    assert in_home(DataConfig(store="~/store")) == DataConfig(store="/h/store")
    assert in_home(("~/a", 3, None)) == ("/h/a", 3, None)
