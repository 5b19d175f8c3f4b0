"""Published configurations have the published numbers of parameters, and are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import adjoint as aj
from adjoint.models.config import read_config
from adjoint.models.published import PUBLISHED

# The releases' own counts, and those of transformers for the configurations of the hub.
PARAMETERS = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "bert-tiny": 4_385_920, "bert-mini": 11_170_560, "bert-base": 109_482_240, "bert-large": 335_141_888,
    "roberta-base": 124_645_632, "roberta-large": 355_359_744, "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192, "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496, "mistral-7b": 7_241_732_096, "t5-small": 60_506_624, "t5-base": 222_903_552,
    "vit-base": 86_567_656,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str) -> None:
    with aj.nn.init.only_shapes():
        net = aj.models.from_config(name)
    assert aj.nn.count_parameters(net) == PARAMETERS[name]


def test_a_folder_of_the_name_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    with aj.nn.init.only_shapes():
        assert 7 not in aj.models.from_config("gpt2").stop  # what lies beside it is not the model's
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "t5"}')
    assert read_config("gpt2") == {"model_type": "t5"}
    assert read_config("gpt2-xl") == PUBLISHED["gpt2-xl"]


def test_a_name_that_is_not_known_tells_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"gpt3: no such file or folder, and none of gpt2, .*llama-3-8b"):
        read_config("gpt3")
