"""Prompts in, text out: `python docs/examples/generate.py [model]`. Of the 15m shape's random weights expect no sense.

The calls are nano-vLLM's: a script written for it needs another import, and here greedy (temperature 0) is allowed.
"""

import sys

from realexec.llm import LLM, SamplingParams
from realexec.text import Message

QUESTIONS = ["Why is the sky blue?", "What does a scheduler of an LLM engine decide?"]


def main(model: str = "15m", max_tokens: int = 64) -> None:
    llm = LLM(model)
    conversations = [llm.tokenizer.encode_chat([Message("user", question)]) for question in QUESTIONS]
    params = [SamplingParams(temperature=0, max_tokens=max_tokens), SamplingParams(0.8, max_tokens, top_p=0.95, seed=1)]
    for question, output in zip(QUESTIONS, llm.generate(conversations, params), strict=True):
        print(f"\n{question}\n{output['text']}\n({len(output['token_ids'])} tokens)")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "15m")
