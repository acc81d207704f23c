"""One question to a language model, one typed answer: cached, checked, priced, within a budget.

In: a `Task` (its prompt and the checks of an answer) and `Question`s. Out: an `Answer` to each, or the error that
prevented it; answers and costs in a ledger.

client.py     `Llm`: many questions at once; each gets an answer or the error that prevented it
settings.py   which model, how, for how much; forecast.py  what questions would take
questions.py  tasks and their prompts, the text of a request; replies.py  the answers in it, leniently read, checked
exchange.py   one request with its attempts, and what is learned about the server: its capacity, its dialect
dialect.py    the form of requests that a server accepts; patience.py  when it is not asked any more
wire.py       the openai client, and every way in which a server misbehaves
limits.py     how many requests at once; ledger.py  answers and costs in SQLite, the budget
prices.py     dollars per token; batch.py  the same questions by the batch interface
"""

from __future__ import annotations

from aria_data.llm.client import Answer, BudgetSpent, Forecast, Llm, LlmConfig, LlmStopped, Question, Task

__all__ = ["Answer", "BudgetSpent", "Forecast", "Llm", "LlmConfig", "LlmStopped", "Question", "Task"]
