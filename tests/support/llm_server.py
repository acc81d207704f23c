"""A local server with the API for chat completions, files and batches, which misbehaves on order.

The protocol and the sockets are real, so that the real `openai` client is tested. The server counts the true cost of
each request, whatever it tells the client; tests compare budgets with that.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_PRICE, COMPLETION_PRICE = 1_000_000, 4_000_000  # picodollars a token: 1 and 4 dollars a million
KEY = "sk-test-0123456789abcdef"
ANSWERED = (  # faults after which the request was done, and would be charged
    "ok late drip drop_answer truncated_json length wrong_types extra_fields refusal content_filter out_of_range "
    "wrong_ids swapped missing duplicate no_usage absurd_usage negative_usage html empty_choices no_choices null "
    "prose fenced thought gigantic compressed 500_done deep parts error_body bare wordy"
).split()


class LlmServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]], seed: int = 0, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.answer = answer  # from an item's data to its fields
        self.faults: deque[str] = deque()  # what the next requests meet; then `mixture`, then "ok"
        self.mixture: list[str] = []
        self.poison: Callable[[list[dict[str, Any]]], str] = lambda items: ""
        self.unknown: set[str] = set()  # parameters that are refused with 400
        self.refusal: Callable[[dict[str, Any]], tuple[int, str]] = lambda body: (0, "")  # status and words
        self.writes: Callable[[list[dict[str, Any]]], str] | None = None  # the whole text of an answer
        self.has_probabilities = True
        self.delay_s = 0.0
        self.context = 10**12  # tokens; what is longer is cut without a word, as Ollama does
        self.gullible: Callable[[list[dict[str, Any]]], dict[str, Any] | None] = lambda items: None
        self.bodies: list[dict[str, Any]] = []
        self.keys_seen: set[str] = set()
        self.true_cost = 0  # picodollars
        self.num_running = self.most_running = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_polls = 1  # how often a batch is "in_progress" first
        self.batch_end = "completed"
        self.batch_faults: deque[str] = deque()  # of a line: "ok", "missing", "400", "garbage"
        self.batch_refusals: deque[str] = deque()  # of handing in: "500", "drop"
        self.num_batches_made = 0
        self.lock = threading.RLock()
        self._random = random.Random(seed)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def environ(self) -> dict[str, str]:
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": KEY, "ARIA_DATA_MODEL": "test-model"}

    @contextmanager
    def running(self):
        self._thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""

    def next_fault(self) -> str:
        with self.lock:
            if self.faults:
                return self.faults.popleft()
            return self._random.choice(self.mixture) if self.mixture else "ok"

    def items_asked(self) -> list[dict[str, Any]]:
        return [item["data"] for body in self.bodies for item in items_of(body)]

    def complete(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        """A chat completion, with the fault that its content has; books its true cost."""
        items = items_of(body)
        orders = self.gullible(items)
        entries = [{"id": item["id"], **(orders or self.answer(item["data"]))} for item in items]
        message, finish = {"role": "assistant", "content": _content(entries, fault)}, "stop"
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": f"I cannot help.\x1b[2J {KEY}"}
        elif fault in ("length", "content_filter"):
            message["content"], finish = message["content"][: len(message["content"]) // 2], fault
        limit = body.get("max_tokens") or body.get("max_completion_tokens") or 10**9
        asked = sum(len(each["content"].encode()) for each in body["messages"])
        usage = {
            "prompt_tokens": min(asked // 3 + 7, self.context),
            "completion_tokens": min(limit, len(message["content"] or "") // 3 + 5),
        }
        if fault == "wordy":  # as many tokens as the answer could have
            usage["completion_tokens"] = limit
        with self.lock:
            self.true_cost += usage["prompt_tokens"] * PROMPT_PRICE + usage["completion_tokens"] * COMPLETION_PRICE
        if fault == "no_usage":
            usage = None
        elif fault == "absurd_usage":
            usage = {"prompt_tokens": 10**9, "completion_tokens": 10**11}
        elif fault == "negative_usage":
            usage = {"prompt_tokens": -5, "completion_tokens": "many"}
        choices = [{"index": 0, "message": message, "finish_reason": finish}]
        if body.get("logprobs"):
            choices[0] = _rated(entries[0].get("relevance_score", 3), self.has_probabilities)
        elif self.writes is not None:
            message["content"] = self.writes(items)
        if fault == "empty_choices":
            choices = []
        elif fault == "parts":
            message["content"] = [{"type": "text", "text": message["content"]}]
        reply = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices}
        if fault == "no_choices":
            del reply["choices"]
        if fault == "error_body":
            reply = {"error": {"message": "upstream is on fire", "code": 502}}
        return {**reply, "usage": usage}


def _rated(score: int, has_probabilities: bool) -> dict[str, Any]:
    """A choice whose one token is a digit: its score with 0.6, the neighbours with 0.2, the rest with little."""
    shares = {str(n): {0: 0.6, 1: 0.2}.get(abs(n - score), 0.01) for n in range(1, 6)} | {"The": 0.1}
    tops = [{"token": token, "logprob": math.log(share)} for token, share in shares.items()]
    choice = {"index": 0, "message": {"role": "assistant", "content": str(score)}, "finish_reason": "length"}
    return choice | (
        {"logprobs": {"content": [{**tops[score - 1], "top_logprobs": tops}]}} if has_probabilities else {}
    )


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    text = body["messages"][-1]["content"].rpartition("The JSON document:\n")[2]
    if body.get("logprobs"):
        return [{"id": "", "data": json.loads(text)}]
    return json.loads(text)["items"]


def _content(entries: list[dict[str, Any]], fault: str) -> str:
    """The text of an answer, spoilt as ordered."""
    first = entries[0]
    if fault == "wrong_types":
        entries = [{**each, "relevance_score": str(each.get("relevance_score")), "n": None} for each in entries]
    elif fault == "out_of_range":
        entries = [{**each, "relevance_score": 11, "n": -1} for each in entries]
    elif fault == "extra_fields":
        entries = [{"title": "changed", **each, "licence": "cc0", "is_admin": True} for each in entries]
    elif fault == "wrong_ids":
        entries = [{**each, "id": f"{number}"} for number, each in enumerate(entries)]
    elif fault == "swapped":
        ids = [each["id"] for each in entries]
        entries = [{**each, "id": other} for each, other in zip(entries, ids[1:] + ids[:1], strict=True)]
    elif fault == "missing":
        entries = entries[1:]
    elif fault == "duplicate":
        entries = [*entries, {**first}]
    elif fault == "null":
        entries = [None, 3, "x"]  # type: ignore[list-item]
    text = json.dumps({"answers": entries}, ensure_ascii=False)
    if fault == "truncated_json":
        return text[: len(text) // 2]
    if fault == "prose":
        return "I think these are all fine recordings!"
    if fault == "fenced":
        return f"Sure, here you are:\n```json\n{text}\n```\nAnything else?"
    if fault == "thought":
        return f'<think>Maybe {{"answers": [{{"id": "x"}}]}}? No.</think>{text}'
    if fault == "deep":
        return "[" * 200_000
    if fault == "bare" and len(entries) == 1:
        return json.dumps(entries[0])
    return text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LlmServer
    timeout = 20
    disable_nagle_algorithm = True  # else an answer waits 40 ms for the acknowledgement of its head

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, path = self.server, self.path.partition("?")[0].removeprefix("/v1")
        with server.lock:
            if path == "/batches":
                self._json(200, {"object": "list", "data": [_shown(each) for each in server.batches.values()]})
            elif path.startswith("/batches/"):
                self._batch(path.removeprefix("/batches/"))
            elif path.startswith("/files/") and path.endswith("/content"):
                self._send(200, server.files[path.split("/")[2]], "application/octet-stream")
            else:
                self._json(404, {"error": {"message": "no such thing"}})

    def do_POST(self) -> None:
        server = self.server
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.keys_seen.add(self.headers.get("Authorization", ""))
        path = self.path.removeprefix("/v1")
        if path == "/files":
            with server.lock:
                name = f"file-{len(server.files)}"
                server.files[name] = _part(content)
            self._json(200, {"id": name, "object": "file", "purpose": "batch"})
        elif path == "/batches":
            self._make_batch(json.loads(content))
        else:
            with server.lock:
                server.num_running += 1
                server.most_running = max(server.most_running, server.num_running)
            try:
                self._chat(json.loads(content))
            finally:
                with server.lock:
                    server.num_running -= 1

    def _chat(self, body: dict[str, Any]) -> None:
        server = self.server
        server.bodies.append(body)
        for name in ("response_format", "temperature", "seed", "max_tokens", "max_completion_tokens"):
            kind = body.get(name, {}).get("type") if name == "response_format" and name in body else None
            if (name in body and name in server.unknown) or kind in server.unknown:
                message = f"Unsupported parameter: '{name}' {kind or ''} is not supported with this model."
                return self._json(400, {"error": {"message": message, "param": name, "type": "invalid_request_error"}})
        status, words = server.refusal(body)
        if status:
            return self._json(status, {"error": {"message": words}})
        if "vague" in server.unknown and "response_format" in body:
            return self._json(422, {"detail": [{"loc": ["body"], "msg": "extra fields not permitted"}]})
        fault = server.poison(items_of(body)) or server.next_fault()
        time.sleep(server.delay_s)
        self._misbehave(body, fault)

    def _misbehave(self, body: dict[str, Any], fault: str) -> None:
        server = self.server
        if fault.startswith("429"):  # 429:0.05 | 429:date | 429:3600 | 429
            wait = fault.partition(":")[2]
            wait = formatdate(time.time() + 1, usegmt=True) if wait == "date" else wait
            headers = {"Retry-After": wait} if wait else {}
            return self._json(429, {"error": {"message": f"slow down, {self.headers['Authorization']}"}}, headers)
        if fault == "quota":
            return self._json(429, {"error": {"message": "no money", "code": "insufficient_quota"}})
        if fault in ("400", "401", "402", "403", "404", "413", "500", "502", "503"):
            return self._json(int(fault), {"error": {"message": f"no: Bearer {KEY}\x1b[31m" + "x" * 5000}})
        if fault == "redirect":
            return self._send(307, b"", "text/plain", {"Location": "http://127.0.0.1:1/"})
        if fault == "drop":
            return self._drop()
        reply = server.complete(body, fault)
        content = json.dumps(reply, ensure_ascii=False).encode()
        if fault == "500_done":
            return self._json(500, {"error": {"message": "broke after the work"}})
        if fault == "drop_answer":
            return self._drop(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
        if fault == "html":
            return self._send(200, b"<html><body>Welcome to the portal</body></html>", "text/html")
        if fault == "compressed":
            return self._send(200, b"\x1f\x8b" + b"0" * 100, "application/json", {"Content-Encoding": "gzip"})
        if fault == "late":
            time.sleep(1.0)
        if fault in ("drip", "gigantic"):
            return self._pour(fault)
        rate = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "30ms"}
        return self._json(200, content, rate if fault == "nothing_left" else {})

    def _pour(self, fault: str) -> None:
        """Without end: slowly, or as fast as it goes."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{")
        piece, pause_s = (b" ", 0.02) if fault == "drip" else (b" " * 1_000_000, 0.0)
        with suppress(OSError):
            for _ in range(200):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause_s)

    def _drop(self, start: bytes = b"") -> None:
        self.close_connection = True
        if start:
            self.wfile.write(start)

    def _make_batch(self, asked: dict[str, Any]) -> None:
        server = self.server
        fault = server.batch_refusals.popleft() if server.batch_refusals else "ok"
        if fault == "500":
            return self._json(500, {"error": {"message": "no"}})
        with server.lock:
            batch_id = f"batch_{len(server.batches)}"
            server.num_batches_made += 1
            server.batches[batch_id] = {
                "id": batch_id, "object": "batch", "endpoint": asked["endpoint"], "status": "validating",
                "input_file_id": asked["input_file_id"], "metadata": asked.get("metadata"), "polls": server.batch_polls,
            }  # fmt: skip
        if fault == "drop":  # it was made, but nobody is told
            return self._drop()
        return self._json(200, _shown(server.batches[batch_id]))

    def _batch(self, batch_id: str) -> None:
        batch = self.server.batches.get(batch_id)
        if batch is None:
            return self._json(404, {"error": {"message": "no such batch"}})
        batch["polls"] -= 1
        if batch["polls"] < 0 and batch["status"] in ("validating", "in_progress"):
            self._work(batch)
        elif batch["polls"] >= 0:
            batch["status"] = "in_progress"
        return self._json(200, _shown(batch))

    def _work(self, batch: dict[str, Any]) -> None:
        server, good, bad = self.server, [], []
        for line in server.files[batch["input_file_id"]].decode().splitlines():
            row = json.loads(line)
            server.bodies.append(row["body"])
            fault = server.batch_faults.popleft() if server.batch_faults else "ok"
            if fault == "missing" or server.batch_end == "failed":
                continue
            if fault == "400":
                error = {"error": {"message": "Unsupported: 'response_format' of type json_schema"}}
                bad.append({"custom_id": row["custom_id"], "response": {"status_code": 400, "body": error}})
                continue
            response = {"status_code": 200, "body": server.complete(row["body"], fault)}
            good.append({"custom_id": row["custom_id"], "response": response, "error": None})
        batch["status"] = server.batch_end
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[name] = f"file-{len(server.files)}"
                lines = [json.dumps(row) for row in reversed(rows)]
                server.files[batch[name]] = "\n".join([*lines, "not json", "[]"]).encode()

    def _json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self._send(status, content, "application/json", headers)

    def _send(self, status: int, content: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _part(content: bytes) -> bytes:
    """The uploaded file's own bytes, wherever it stands in the form."""
    start = content.index(b'name="file"')
    start = content.index(b"\r\n\r\n", start) + 4
    return content[start : content.index(b"\r\n--", start)]


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "polls"}
