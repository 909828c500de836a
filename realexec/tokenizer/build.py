"""Writes the tokenizer folder that other programs read: `python -m realexec.tokenizer.build [folder]`.

The same bytes every time, whatever the version of the `tokenizers` library, because it is not asked. The
JSON says: split text into bytes, spell each byte as the printable character that GPT-2 gave it, look that up,
merge nothing.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from realexec.tokenizer import FIRST_BYTE_ID, SPECIAL_TOKENS


def byte_characters() -> list[str]:
    """The character that stands for each byte, 0 to 255, in GPT-2's byte-level scheme.

    A printable Latin-1 character stands for its own byte; the other 68 take the characters from U+0100 on.
    """
    own = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    characters = []
    spare = 0x100
    for byte in range(256):
        if byte in own:
            characters.append(chr(byte))
        else:
            characters.append(chr(spare))
            spare += 1
    return characters


def files() -> Mapping[str, object]:
    """File name to JSON content."""
    pad, bos, eos = SPECIAL_TOKENS
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    vocab = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
    vocab |= {character: FIRST_BYTE_ID + byte for byte, character in enumerate(byte_characters())}
    roles = {"pad_token": pad, "bos_token": bos, "eos_token": eos}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for i, token in enumerate(SPECIAL_TOKENS)
            ],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocab,
                "merges": [],
            },
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **roles,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": True,  # "<eos>" typed by a user is five bytes
        },
        "special_tokens_map.json": roles,
    }


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
