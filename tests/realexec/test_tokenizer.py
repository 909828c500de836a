"""The byte tokenizer against UTF-8 itself and against the two libraries that read its folder."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realexec import tokenizer as bytewise
from realexec.text import Message
from realexec.tokenizer import BOS_ID, EOS_ID, FIRST_BYTE_ID, PAD_ID, SPECIAL_TOKENS, VOCAB_SIZE, build
from realexec.tokenizer.bytewise import ByteTokenizer
from serving.errors import RequestError

# Ordinary text, and text made to look like control tokens or to fall apart at byte borders.
texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from([*SPECIAL_TOKENS, "<", "eos>", "é", "€", "𝄞", "\x00", " ", "\r\n", "Ġ"])).map("".join),
)
known_ids = st.lists(st.integers(0, VOCAB_SIZE - 1))


@given(texts)
@example("<eos>")
@example("\ufeff \u0301 \U0010ffff")
def test_every_text_comes_back(text: str) -> None:
    ids = bytewise.encode(text)
    assert bytewise.decode(ids) == text
    assert [i - FIRST_BYTE_ID for i in ids] == list(text.encode())


@given(texts)
def test_no_text_spells_a_control_id(text: str) -> None:
    assert not {PAD_ID, BOS_ID, EOS_ID} & set(bytewise.encode(text))


@given(st.lists(st.one_of(st.integers(0, 300), st.integers(0, 2**40))))
def test_every_sampled_id_decodes_to_valid_unicode(ids: list[int]) -> None:
    text = bytewise.decode(ids)
    assert text.encode().decode() == text
    assert text.count("\ufffd") >= sum(i >= VOCAB_SIZE for i in ids)


def test_what_cannot_be_decoded_is_shown() -> None:
    a, euro = bytewise.encode("a"), bytewise.encode("€")
    assert bytewise.decode([*a, VOCAB_SIZE, *a, 151_935]) == "a\ufffda\ufffd"
    assert bytewise.decode(euro[:2]) == "\ufffd"
    assert bytewise.decode([*euro[:2], VOCAB_SIZE, *euro]) == "\ufffd\ufffd€"  # the unknown id ends the torn one
    assert bytewise.decode([BOS_ID, *euro, EOS_ID, PAD_ID]) == "€"
    with pytest.raises(ValueError, match="-1 is negative"):
        bytewise.decode([-1])


def test_half_a_surrogate_pair_is_refused_by_name() -> None:
    """JSON may carry one; it must cost the client this request, not the server its engine loop."""
    with pytest.raises(RequestError, match=r"U\+D83D, at character 2"):
        bytewise.encode(json.loads('"ab\\ud83d"'))


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(1, 5))
def test_pieces_are_the_whole(ids: list[int], size: int) -> None:
    detokenizer = ByteTokenizer().detokenizer()
    pieces = [detokenizer.push(ids[at : at + size]) for at in range(0, len(ids), size)]
    assert "".join([*pieces, detokenizer.flush()]) == bytewise.decode(ids)


@given(texts)
def test_no_piece_has_half_a_character(text: str) -> None:
    detokenizer, told = ByteTokenizer().detokenizer(), ""
    for i in bytewise.encode(text):
        told += detokenizer.push([i])
        assert text.startswith(told)
    assert told == text


@given(texts)
def test_a_chat_has_the_control_ids_of_its_turns_alone(text: str) -> None:
    ids = ByteTokenizer().encode_chat([Message("system", text), Message("user", text)])
    assert [i for i in ids if i < FIRST_BYTE_ID] == [BOS_ID, EOS_ID, BOS_ID, EOS_ID, BOS_ID]
    assert ByteTokenizer().decode(ids) == f"system\n{text}user\n{text}assistant\n"


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    build.write(tmp_path)
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_bytes() for file in bytewise.FOLDER.glob("*.json")}


def test_the_characters_are_one_to_one() -> None:
    characters = build.byte_characters()
    assert len(set(characters)) == 256
    assert (characters[ord("a")], characters[ord(" ")], characters[ord("\n")]) == ("a", "Ġ", "Ċ")


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("tokenizers")
    return bytewise.load()


def test_library_has_the_same_vocabulary(library) -> None:
    assert library.get_vocab_size() == VOCAB_SIZE
    assert [library.token_to_id(token) for token in SPECIAL_TOKENS] == [PAD_ID, BOS_ID, EOS_ID]


def test_library_reads_the_file_as_it_stands(library) -> None:
    """Nothing was defaulted, renamed or dropped: written back, the JSON is the same."""
    assert json.loads(library.to_str()) == json.loads((bytewise.FOLDER / "tokenizer.json").read_text("utf-8"))


@given(text=texts)
def test_library_gives_the_same_ids(library, text: str) -> None:
    assert library.encode(text).ids == bytewise.encode(text)


@given(ids=known_ids)
def test_library_gives_the_same_text(library, ids: list[int]) -> None:
    assert library.decode(ids) == bytewise.decode(ids)


@pytest.fixture(scope="module")
def fast():
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained(bytewise.FOLDER)


def test_auto_tokenizer_takes_the_folder(fast) -> None:
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(bytewise.FOLDER)
    assert isinstance(found, type(fast))
    assert len(found) == VOCAB_SIZE
    assert (found.pad_token_id, found.bos_token_id, found.eos_token_id) == (PAD_ID, BOS_ID, EOS_ID)


@given(text=texts)
def test_transformers_gives_the_same_ids(fast, text: str) -> None:
    assert fast(text)["input_ids"] == bytewise.encode(text)


@given(ids=known_ids)
def test_transformers_gives_the_same_text(fast, ids: list[int]) -> None:
    assert fast.decode(ids, skip_special_tokens=True) == bytewise.decode(ids)
