"""Polite and safe requests to the web: addresses, request policy, pace of each host, robots.txt, licences, opt-outs.

In: an address. Out: a `Page`, or an error of a kind in `failures`.
Other rooms make requests with `client`; every request of this project and of yt-dlp passes `request_policy`.
"""

from aria_data.web.addresses import canonical, host_of, is_address, join, without_secrets
from aria_data.web.client import Page, RequestBudget, RequestsSpent, Web, WebConfig
from aria_data.web.failures import KINDS, FetchDelayed, FetchFailed, fetch_error, kind_of
from aria_data.web.licences import licence_code
from aria_data.web.opt_outs import OptOuts, read_opt_outs
from aria_data.web.pacing import HostResting
from aria_data.web.robots import require_unreserved, robots_of

__all__ = [
    "FetchDelayed",
    "FetchFailed",
    "HostResting",
    "KINDS",
    "OptOuts",
    "Page",
    "RequestBudget",
    "RequestsSpent",
    "Web",
    "WebConfig",
    "canonical",
    "fetch_error",
    "host_of",
    "is_address",
    "join",
    "kind_of",
    "licence_code",
    "read_opt_outs",
    "require_unreserved",
    "robots_of",
    "without_secrets",
]
