"""Who may ask, and what a page may do: one token, this machine's names only, no script from elsewhere."""

from __future__ import annotations

import hmac
import re
from typing import Any

from starlette.datastructures import URL, Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

COOKIE = "aria_data_token"  # and the port: a browser sends a cookie to all ports, so two servers would share it
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer, a browser hides the origin of our own forms, too
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
MAX_QUERY_BYTES = 8000


class OnlyWithToken:
    """Answers a request only if it knows the token and speaks to this server by a name that it has.

    The token comes once in the address, then in a cookie that no other site's request carries. The check of the name
    keeps out pages of other sites whose name was made to point here.
    """

    def __init__(self, app: Any, token: str, hosts: frozenset[str]):
        self.app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refusal(Request(scope))
        answer = refused or self.app

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                named = {name for name, _ in own}
                message["headers"] = [*(each for each in message["headers"] if each[0] not in named), *own]
            await send(message)

        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if _host_of(request.headers) not in self._hosts:
            return PlainTextResponse("This address is not one of this server.", 400)
        if len(request.url.query) > MAX_QUERY_BYTES:
            return PlainTextResponse("This address is too long.", 414)
        given = request.query_params.get("token")
        if given is not None and self._is_token(given):
            answer = RedirectResponse(_without_token(request.url), 303)
            answer.set_cookie(_cookie_of(request), self._token, httponly=True, samesite="strict", path="/")
            return answer
        if not self._is_token(request.cookies.get(_cookie_of(request), "")):
            return PlainTextResponse("Open the address that `aria-data browse` printed: it has a token.", 403)
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") not in self._origins(request):
            return PlainTextResponse("Reviews are taken from this server's own pages only.", 403)
        return None

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    @staticmethod
    def _origins(request: Request) -> set[str]:
        return {f"http://{request.headers.get('host', '')}"}


def _cookie_of(request: Request) -> str:
    return f"{COOKIE}_{request.url.port or 80}"


def _host_of(headers: Headers) -> str:
    """The name in the header `Host`; nothing where it is not a name, or a name and a port."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", headers.get("host", "").lower())
    return found[1] if found else ""


def _without_token(url: URL) -> str:
    kept = url.remove_query_params("token")
    return f"/{kept.path.lstrip('/')}" + (f"?{kept.query}" if kept.query else "")
