"""The tokenizer of a Hugging Face folder: tokenizer.json, tokenizer_config.json, generation_config.json."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realexec.checkpoint.json_file import read_object, read_optional
from realexec.requires import blocked
from realexec.text import Message
from realexec.tokenizer import utf8
from realexec.tokenizer.control import ControlTexts, unused_character
from realexec.tokenizer.detokenizer import Utf8Detokenizer
from realexec.tokenizer.roles import check_conversation
from realexec.tokenizer.spelling import spelling
from serving.errors import ConfigError, RequestError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from realexec.chat_template import ChatTemplate


class FolderTokenizer:
    """vocab_size: one more than the largest id. Control tokens are those that tokenizer.json calls special, but for
    the one that stands for what it cannot spell.

    Errors: ConfigError naming the file; BlockedError without the libraries.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        settings = read_optional(folder / "tokenizer_config.json")
        if settings.get("auto_map"):
            raise ConfigError(f"{folder / 'tokenizer_config.json'}: auto_map: code of a model is never run")
        content = read_object(path)
        self._text = _library_tokenizer(path)
        self._text.encode_special_tokens = True  # "<|im_start|>" in a text is ten characters
        self.vocab_size = 1 + max(self._text.get_vocab(with_added_tokens=True).values(), default=-1)

        added = self._text.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special}
        tokens = [self._text.id_to_token(i) for i in range(self.vocab_size)]
        try:
            self._spelling = spelling(content.get("decoder"), tokens, special)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        self._control = special - {self._text.token_to_id(_unknown_token(content))}
        self._texts = ControlTexts({t.content: i for i, t in added.items()}, {added[i].content for i in special})
        self.eos_token_ids = self._eos_ids(folder, settings)
        self._template = _chat_template(folder, settings)
        self._marked = _library_tokenizer(path)  # reads control tokens

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    def encode(self, text: str) -> list[int]:
        utf8(text)
        encoding = self._text.encode(text)
        own = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        if any(i in self._control and not placed for i, placed in own):
            raise RequestError("the text reads as a control token to this model's tokenizer, however it is encoded")
        return encoding.ids

    def encode_trusted(self, text: str) -> list[int]:
        utf8(text)
        ids: list[int] = self._marked.encode(text).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        whole = self.detokenizer()
        return whole.push(token_ids) + whole.flush()

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """The whole conversation is encoded at once, as transformers does, but for what reads like a control token
        in a message: there it is cut in two.

        How many control tokens the template wrote is known from a second conversation, of the same messages with
        every character made one that no control token has: those of the first must be the same.
        """
        check_conversation(messages)
        if self._template is None:
            raise RequestError("this model has no chat template, so it takes no messages; send it a prompt")
        for message in messages:
            utf8(message.content)
        mark = unused_character(message.content for message in messages)
        rendered = self._template.render([m._replace(content=self._texts.broken(m.content, mark)) for m in messages])
        ids = [i for part in rendered.split(mark) for i in self._marked.encode(part, add_special_tokens=False).ids]
        harmless = self._template.render([m._replace(content=re.sub(r"\S", mark, m.content)) for m in messages])
        if [i for i in ids if i in self._control] != [i for i in self._texts.ids_in(harmless) if i in self._control]:
            raise RequestError("the messages would put control tokens where the model's chat template has none")
        return ids

    def detokenizer(self) -> Utf8Detokenizer:
        return Utf8Detokenizer(self._spelling.spell, self._spelling.skips_space)

    def _eos_ids(self, folder: Path, settings: dict[str, Any]) -> tuple[int, ...]:
        """Those of generation_config.json, or else of config.json; then the tokenizer's own."""
        ids: list[int] = []
        for name in ("generation_config.json", "config.json"):
            given = read_optional(folder / name).get("eos_token_id")
            if given is not None:
                ids = given if isinstance(given, list) else [given]
                if not all(type(i) is int and i >= 0 for i in ids):
                    raise ConfigError(f"{folder / name}: eos_token_id: {given!r} is no token id, nor a list of them")
                break
        own = _token_text(settings.get("eos_token"))
        if own is not None:
            own_id = self._text.token_to_id(own)
            if own_id is None:
                raise ConfigError(f"{folder / 'tokenizer_config.json'}: eos_token: tokenizer.json has no {own!r}")
            ids = [*ids, own_id]
        return tuple(dict.fromkeys(ids))


def _library_tokenizer(path: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise blocked(error) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.encode("")  # a post-processor that names tokens it lacks fails here, not in somebody's request
    except BaseException as error:
        # The library raises nothing narrower than Exception, and where it panics not even that.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ConfigError(f"{path}: no tokenizer that can be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _chat_template(folder: Path, settings: dict[str, Any]) -> ChatTemplate | None:
    """chat_template.jinja, or chat_template of tokenizer_config.json: a text, or a list with one named default."""
    file = folder / "chat_template.jinja"
    where = f"{folder / 'tokenizer_config.json'}: chat_template"
    source = settings.get("chat_template")
    if file.exists():
        where, source = str(file), _read_text(file)
    elif isinstance(source, list):
        named = {one.get("name"): one.get("template") for one in source if isinstance(one, dict)}
        source = named.get("default")
    if source is None:
        return None
    if not isinstance(source, str):
        raise ConfigError(f"{where}: a text was expected, not {type(source).__name__}")
    try:
        from realexec.chat_template import ChatTemplate
    except ImportError as error:
        raise blocked(error) from error
    names = {name: _token_text(value) for name, value in settings.items() if name.endswith("_token")}
    return ChatTemplate(source, {name: text for name, text in names.items() if text is not None}, where)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: no text that can be read: {error}") from error


def _token_text(value: Any) -> str | None:
    """tokenizer_config.json spells a token as its text or as an object with content."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _unknown_token(content: dict[str, Any]) -> str:
    model = content.get("model")
    token = model.get("unk_token") if isinstance(model, dict) else None
    return token if isinstance(token, str) else ""
