"""Text up to the first stop string, however it comes in pieces."""

from hypothesis import given, settings
from hypothesis import strategies as st

from realexec.server.output_text import OutputText, StopStrings
from realexec.tokenizer import EOS_ID, encode
from realexec.tokenizer.bytewise import ByteTokenizer

TEXTS = st.text("abc", max_size=20)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """The shortest beginning of the text that ends in a stop string, without the longest such string."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)], True
    return text, False


@settings(derandomize=True, max_examples=500)
@given(st.lists(TEXTS, max_size=6), STOPS)
def test_pieces_do_not_change_what_is_said(pieces: list[str], stops: list[str]) -> None:
    it, said = StopStrings(stops), ""
    for piece in pieces:
        said += it.push(piece)
        assert "".join(pieces).startswith(said)
        if it.found:
            break
    else:
        said += it.flush()
    assert (said, it.found) == naive("".join(pieces), stops)


@settings(derandomize=True, max_examples=200)
@given(TEXTS, STOPS)
def test_no_more_is_held_back_than_might_begin_a_stop_string(text: str, stops: list[str]) -> None:
    it = StopStrings(stops)
    said = it.push(text)
    held = "" if it.found else text[len(said) :]
    assert not held or any(stop.startswith(held) and stop != held for stop in stops)


def output(stops: tuple[str, ...] = (), stop_token_ids: tuple[int, ...] = (EOS_ID,), min_tokens: int = 0) -> OutputText:
    return OutputText(ByteTokenizer().detokenizer(), stops, stop_token_ids, min_tokens)


def test_an_output_at_its_limit_says_all_that_was_held_back() -> None:
    it = output(stops=("lo!",))
    pieces = [it.push([token], i == 4) for i, token in enumerate(encode("hello"))]
    assert [p.text for p in pieces] == ["h", "e", "", "l", "lo"]
    assert [p.finish for p in pieces] == [None] * 4 + ["length"]
    assert [p.num_tokens for p in pieces] == [1, 2, 3, 4, 5]


def test_a_stop_token_ends_the_output_and_is_not_said() -> None:
    newline = encode("\n")[0]
    it = output(stop_token_ids=(newline,))
    assert it.push(encode("a"), False).text == "a"
    assert it.push([newline], True) == ("", 2, "stop")


def test_half_a_character_waits_for_the_other_half() -> None:
    it = output()
    pieces = [it.push([token], i == 3) for i, token in enumerate(encode("ü€")[:4])]
    assert [p.text for p in pieces] == ["", "ü", "", "\N{REPLACEMENT CHARACTER}"]


def test_stop_strings_count_only_behind_min_tokens() -> None:
    it = output(stops=("ab",), min_tokens=3)
    said, finish = "", None
    for token in encode("ababab"):
        piece = it.push([token], False)
        said, finish = said + piece.text, piece.finish
        if finish:
            break
    assert (said, finish) == ("abab", "stop")
