"""`servetwin model`, as a person uses it."""

import json
from typing import Any

import pytest

from lab.commands.model import app
from serving.errors import BlockedError, ConfigError


def run(*arguments: str) -> Any:
    return app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")


@pytest.fixture(autouse=True)
def _no_models(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SERVETWIN_MODELS", str(tmp_path))


def test_a_named_shape_is_shown(capsys) -> None:
    run("show", "15m")
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["num_parameters"] == "14,528,160"
    assert lines["eos_token_ids"] == "2"
    assert (lines["qk_norm"], lines["chat_template"]) == ("no", "yes")


def test_what_is_shown_as_json_is_the_same(capsys) -> None:
    run("show", "600m", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["num_kv_heads"] == 8
    assert told["kv_bytes_per_token"] == 2 * 28 * 8 * 128 * 4
    assert told["tokenizer_vocab_size"] == 259


def test_a_folder_is_shown(tmp_path, capsys) -> None:
    pytest.importorskip("tokenizers")
    from tests.realexec.checkpoints import LLAMA3, SIZES, add_byte_tokenizer

    folder = tmp_path / "mine"
    folder.mkdir()
    own = {"architectures": ["MistralForCausalLM"], "rope_parameters": LLAMA3, "eos_token_id": [2, 1]}
    config = {**SIZES, **own, "max_position_embeddings": 5000}
    (folder / "config.json").write_text(json.dumps(config))
    add_byte_tokenizer(folder)
    run("show", "mine")
    shown = capsys.readouterr().out
    assert "kind llama3, factor 8.0" in shown
    assert "2, 1" in shown
    assert "max_position            4,096" in shown
    assert "positions_beyond_window 904" in shown
    assert "chat_template           no" in shown


def test_a_model_not_got_yet_is_blocked() -> None:
    with pytest.raises(BlockedError, match="servetwin model get smollm2-135m"):
        run("show", "smollm2-135m")


def test_only_what_there_is_can_be_got() -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'smollm-135m'; did you mean smollm2-135m\?"):
        run("get", "smollm-135m")


def test_a_model_that_is_there_is_not_got_again(tmp_path, capsys) -> None:
    pytest.importorskip("torch")
    (tmp_path / "smollm2-135m").mkdir()
    run("get", "smollm2-135m")
    assert str(tmp_path / "smollm2-135m") in capsys.readouterr().out
    with pytest.raises(ConfigError, match="already there, so --from has no effect"):
        run("get", "smollm2-135m", "--from", "x.whl")
