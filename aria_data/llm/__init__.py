"""One question to a language model, one typed answer: cached, checked, priced, within a budget.

client.py     `Llm`: many questions at once, each answered or with the error why not
questions.py  what a task asks, one request's text, what counts as an answer
exchange.py   one request and what it teaches about the server: its room, its dialect
wire.py       the openai client, and every way in which a server misbehaves
limits.py     how many requests at once; ledger.py  answers and costs in SQLite, the budget
prices.py     dollars per token; batch.py  the same questions by the batch interface
"""

from __future__ import annotations

from aria_data.llm.client import Answer, BudgetSpent, Forecast, Llm, LlmConfig, LlmStopped, Question, Task

__all__ = ["Answer", "BudgetSpent", "Forecast", "Llm", "LlmConfig", "LlmStopped", "Question", "Task"]
