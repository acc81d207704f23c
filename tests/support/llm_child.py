"""A process that asks a language model, for tests that kill it: `llm_child.py LEDGER NUM_ITEMS live|batch`.

The environment names the server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from aria_data.llm import Answer, Llm, LlmConfig, Question, Task
from aria_data.llm.batch import ask_in_batches

TASK = Task("count", "count-1", "Say the number in `n`, and its name.", {"n": {"type": "integer"}})
CONFIG = LlmConfig(
    items_per_request=5, input_price=1.0, output_price=4.0, first_wait_s=0.01, max_wait_s=2.0, deadline_s=5.0,
    batch_poll_s=0.02, batch_wait_s=20.0, start_concurrency=4, max_concurrency=16, patience_s=1.0,
)  # fmt: skip


def main() -> None:
    ledger_path, num_items, way = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    questions = [Question(number, {"number": number}) for number in range(num_items)]
    with Llm(CONFIG, ledger_path) as llm:
        while questions:  # what was not answered this time is asked again
            asked = ask_in_batches(llm, TASK, questions) if way == "batch" else llm.ask_many(TASK, questions)
            questions = [question for question, answer in asked if not _print(question, answer)]


def _print(question: Question, answer: Answer | Exception) -> bool:
    if isinstance(answer, Answer):
        print(json.dumps([question.tag, answer.fields]), flush=True)
    return isinstance(answer, Answer)


if __name__ == "__main__":
    main()
