"""Folders that transformers saved, against transformers itself; and folders that cannot be used."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
transformers = pytest.importorskip("transformers", reason="transformers writes the folders of these tests")

from realexec.checkpoint.config import read_shape
from realexec.checkpoint.tensors import load_weights
from realexec.loaded import load_model
from realexec.rotation import rotation_tables
from serving.errors import ConfigError, ServetwinError
from tests.realexec.checkpoints import FAMILIES, LLAMA3, VOCAB, add_byte_tokenizer, change, save
from tests.realexec.test_model import all_logits

TOKENS = [(7 * i * i + 3) % VOCAB for i in range(40)]


def expected_logits(folder: Path) -> np.ndarray:
    oracle = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return oracle(torch.tensor([TOKENS])).logits[0].numpy()


def greedy(folder: Path, steps: int) -> tuple[list[int], list[int]]:
    """Ours and transformers'."""
    oracle = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        theirs = oracle.generate(
            torch.tensor([TOKENS[:8]]), max_new_tokens=steps, min_new_tokens=steps, do_sample=False, pad_token_id=0
        )[0].tolist()
    model = load_model(str(folder))
    ours = TOKENS[:8]
    for _ in range(steps):
        logits = all_logits(model.shape, model.weights, ours)[-1]
        logits[list(model.tokenizer.eos_token_ids)] = -np.inf
        ours = [*ours, int(logits.argmax())]
    return ours, theirs


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("model") / "m"
    save(folder, request.param)
    return request.param, folder


def test_logits_and_greedy_tokens_equal_transformers(family) -> None:
    _, folder = family
    model = load_model(str(folder))
    logits = all_logits(model.shape, model.weights, TOKENS)
    assert logits.std() > 0.3
    np.testing.assert_allclose(logits, expected_logits(folder), rtol=0, atol=1e-4)
    ours, theirs = greedy(folder, 8)
    assert ours == theirs


def test_every_parameter_is_counted(family) -> None:
    _, folder = family
    oracle = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert read_shape(folder).num_parameters == sum(p.numel() for p in oracle.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama 3", "qwen2, tied"])
def test_shards_of_any_type(name, dtype, tmp_path) -> None:
    save(tmp_path, name, shard="10KB", dtype=dtype)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    model = load_model(str(tmp_path))
    assert model.weights.embedding.dtype == torch.float32
    np.testing.assert_allclose(
        all_logits(model.shape, model.weights, TOKENS), expected_logits(tmp_path), rtol=0, atol=1e-4
    )


def test_weights_in_another_type(tmp_path) -> None:
    save(tmp_path, "qwen2")
    shape = read_shape(tmp_path)
    half, whole = load_weights(tmp_path, shape, torch.bfloat16), load_weights(tmp_path, shape)
    assert torch.equal(half.layers[1].qkv, whole.layers[1].qkv.bfloat16())
    assert half.layers[0].qkv_bias is not None
    assert half.layers[0].qkv_bias.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["llama 3", "llama, linear, tied", "mistral"])
def test_the_older_spelling_of_rope(name, tmp_path) -> None:
    """transformers before version 5: rope_theta beside rope_scaling, whose type may be called type."""
    save(tmp_path, name)
    shape = read_shape(tmp_path)
    rope = json.loads((tmp_path / "config.json").read_text())["rope_parameters"]
    theta, kind = rope.pop("rope_theta"), rope.pop("rope_type")
    scaling = None if kind == "default" else {**rope, "type": kind}
    change(tmp_path / "config.json", rope_parameters=None, rope_theta=theta, rope_scaling=scaling)
    assert read_shape(tmp_path) == shape


def test_a_sliding_window_limits_the_positions(tmp_path) -> None:
    """Up to the window the logits are those of full attention; further positions are not offered."""
    save(tmp_path, "mistral, window")
    assert read_shape(tmp_path).max_position == 40
    change(tmp_path / "config.json", architectures=["Qwen2ForCausalLM"], use_sliding_window=False)
    assert read_shape(tmp_path).max_position == 512
    change(tmp_path / "config.json", use_sliding_window=True)
    assert read_shape(tmp_path).max_position == 40


def test_what_older_checkpoints_carry_besides_is_left(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    save(tmp_path, "qwen2, tied")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    more = {
        "lm_head.weight": tensors["model.embed_tokens.weight"].clone(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3),
    }
    save_file(tensors | more, file)
    load_weights(tmp_path, read_shape(tmp_path))


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "m"
    save(folder, "llama 3")
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "m"
    save(folder, "llama 3", shard="10KB")
    return folder


CONFIGS = {
    "auto_map": ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "config.json: auto_map: .* never run"),
    "trust": ({"trust_remote_code": True}, "config.json: trust_remote_code: .* never run"),
    "quantized": ({"quantization_config": {"quant_method": "awq"}}, "quantization_config: quantized checkpoints"),
    "architecture": ({"architectures": ["MambaForCausalLM"]}, "architectures: .*MambaForCausalLM.*LlamaForCausalLM"),
    "no architecture": ({"architectures": None, "model_type": "mamba"}, "architectures: 'mamba' is not supported"),
    "no name": ({"architectures": [{}]}, r"architectures: \[{}\] is not supported"),
    "no type": ({"architectures": None, "model_type": []}, r"architectures: \[\] is not supported"),
    "scaling": ({"rope_parameters": {"rope_type": "yarn"}}, "rope scaling 'yarn' is not supported; default, linear"),
    "dynamic": ({"rope_parameters": {"rope_type": "dynamic"}}, "rope scaling 'dynamic'"),
    "factor": ({"rope_parameters": {"rope_type": "linear"}}, "rope scaling has no factor"),
    "factors": ({"rope_parameters": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor is 1"),
    "part": ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5"),
    "unknown": ({"rope_parameters": {"rope_typ": "llama3"}}, r"rope_parameters.rope_typ: unknown key; .*rope_type\?"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act: 'gelu' is not supported; silu is"),
    "bias": ({"attention_bias": True}, "attention_bias: a bias of the attention"),
    "mlp bias": ({"mlp_bias": True}, "mlp_bias: a bias of the MLP"),
    "missing": ({"hidden_size": None}, "hidden_size: missing"),
    "type": ({"num_hidden_layers": "2"}, "num_hidden_layers: .*'2'"),
    "head_dim": ({"head_dim": None, "num_attention_heads": 5, "num_key_value_heads": 5}, "head_dim: missing, and"),
    "odd": ({"head_dim": 7}, "head_dim is 7"),
    "heads": ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
    "size": ({"intermediate_size": 48}, r"mlp.(gate|up)_proj.weight has size \[40, 24\]; config.json says \[48, 24\]"),
    "layers": ({"num_hidden_layers": 3}, "no file has the tensor model.layers.2.input_layernorm.weight .and 8 more"),
    "surplus": ({"num_hidden_layers": 1}, "model.layers.1.input_layernorm.weight has no place"),
    "vocab": ({"vocab_size": 200}, "tokenizer.json has 259 ids, but .* 200"),
}


@pytest.mark.parametrize("problem", CONFIGS)
def test_a_config_that_cannot_be_used_is_refused_by_name(problem, original, tmp_path) -> None:
    changes, told = CONFIGS[problem]
    folder = tmp_path / "m"
    shutil.copytree(original, folder)
    change(folder / "config.json", **changes)
    with pytest.raises(ConfigError, match=told) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


FILES = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), "config.json: a JSON object was expected, not list"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json: not JSON"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "neither model.safetensors nor"),
    "truncated": (lambda f: truncate(f / "model.safetensors"), "model.safetensors: not a whole safetensors file"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors: not a whole"),
    "pickled": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        r"pickled \(pytorch_model.bin\), which runs code",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json: no such file"),
    "tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json: no tokenizer that can be read"),
    "tokenizer code": (
        lambda f: change(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        "tokenizer_config.json: auto_map: code of a model is never run",
    ),
    "eos": (lambda f: change(f / "generation_config.json", eos_token_id=["2"]), "generation_config.json: eos_token_id"),
    "eos token": (lambda f: change(f / "tokenizer_config.json", eos_token="<end>"), "eos_token: .* no '<end>'"),
}


@pytest.mark.parametrize("problem", FILES)
def test_a_file_that_cannot_be_used_is_refused_by_name(problem, original, tmp_path) -> None:
    harm, told = FILES[problem]
    folder = tmp_path / "m"
    shutil.copytree(original, folder)
    harm(folder)
    with pytest.raises(ConfigError, match=told) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value)


def test_a_tensor_of_another_type_is_refused(original, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(original, tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
    save_file(tensors, file)
    with pytest.raises(ConfigError, match=r"model.norm.weight is I8; F32, F16, BF16 can be read"):
        load_model(str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["../m/model-00001.safetensors", "/etc/passwd", "model.bin", 7])
def test_an_index_names_files_of_its_folder_only(name, sharded, tmp_path) -> None:
    shutil.copytree(sharded, tmp_path / "m")
    change(tmp_path / "m" / "model.safetensors.index.json", weight_map={"model.norm.weight": name})
    with pytest.raises(ConfigError, match=r"weight_map: .* is not the name of a safetensors file"):
        load_model(str(tmp_path / "m"))


def test_a_missing_shard_is_named(sharded, tmp_path) -> None:
    shutil.copytree(sharded, tmp_path / "m")
    gone = sorted((tmp_path / "m").glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(ConfigError, match=f"{gone.name}: no such file"):
        load_model(str(tmp_path / "m"))


def test_a_tensor_in_two_shards_is_refused(sharded, tmp_path) -> None:
    shutil.copytree(sharded, tmp_path / "m")
    first, second = sorted((tmp_path / "m").glob("model-*.safetensors"))[:2]
    shutil.copy(first, second)
    with pytest.raises(ConfigError, match=f"is also in {first.name}"):
        load_model(str(tmp_path / "m"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.integers(0, 600),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)
CONFIG_FIELDS = [
    *("architectures", "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps"),
    *("tie_word_embeddings", "hidden_act", "attention_bias", "mlp_bias", "rope_parameters", "rope_scaling"),
    *("rope_theta", "auto_map", "quantization_config", "eos_token_id", "anything"),
]


@given(
    changes=st.dictionaries(st.sampled_from(CONFIG_FIELDS), json_values, min_size=1, max_size=3),
    rope=st.dictionaries(st.sampled_from([*LLAMA3, "type", "x"]), json_values, max_size=2),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_any_config_loads_or_is_refused_in_one_way(changes, rope, original) -> None:
    file = original / "config.json"
    before = file.read_text()
    content = json.loads(before)
    content["rope_parameters"] |= rope
    file.write_text(json.dumps({**content, **changes}))
    try:
        with contextlib.suppress(ServetwinError):
            shape = load_model(str(original)).shape
            assert rotation_tables(shape)[0].isfinite().all()
    finally:
        file.write_text(before)


def test_the_folder_names_the_model(original, tmp_path, monkeypatch) -> None:
    shutil.copytree(original, tmp_path / "my-llama")
    add_byte_tokenizer(tmp_path / "my-llama")
    monkeypatch.chdir(tmp_path / "my-llama")
    assert read_shape(Path(".")).name == "my-llama"
