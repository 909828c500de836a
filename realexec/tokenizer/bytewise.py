"""The byte tokenizer as an object: what a model with random weights speaks."""

from collections.abc import Sequence

from realexec.text import Message
from realexec.tokenizer import BOS_ID, EOS_ID, VOCAB_SIZE, decode, encode, spell
from realexec.tokenizer.detokenizer import Utf8Detokenizer
from realexec.tokenizer.roles import check_conversation


class ByteTokenizer:
    """A chat is spelled <bos>role, newline, content<eos> for each message, then <bos>assistant and a newline."""

    vocab_size = VOCAB_SIZE
    eos_token_ids = (EOS_ID,)
    has_chat_template = True

    def encode(self, text: str) -> list[int]:
        return encode(text)

    def encode_trusted(self, text: str) -> list[int]:
        """As encode(): here no text spells a control token."""
        return encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return decode(token_ids)

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        check_conversation(messages)
        ids = []
        for role, content in messages:
            ids += [BOS_ID, *encode(f"{role}\n"), *encode(content), EOS_ID]
        return [*ids, BOS_ID, *encode("assistant\n")]

    def detokenizer(self) -> Utf8Detokenizer:
        return Utf8Detokenizer(spell)
