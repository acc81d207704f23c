"""Tell the checks for human visitors from other answers, and audio from other files, by headers and first bytes.

The marks are those of Cloudflare, AWS WAF, SiteGround, DataDome, PerimeterX, Imperva, DDoS-Guard, Sucuri, Anubis,
reCAPTCHA and hCaptcha, as their pages had them in 2025. No requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

HEAD_BYTES = 1 << 16  # of a page in which a challenge is sought
SNIFFED_BYTES = 4096  # of a file whose type says nothing
# Statuses that challenges come with, beside 200 and 202. A 404 whose page has a form with a captcha is a 404.
STATUSES = frozenset({401, 403, 405, 406, 429, 503})

_TITLES = re.compile(
    rb"just a moment|attention required!? \| cloudflare|checking your browser|one more step|ddos-guard|"
    rb"making sure you.{1,12}re not a bot|are you (a )?(human|robot)|"
    rb"(verify|confirm).{0,20}(you are|you're) (a )?human|"
    rb"captcha|pardon our interruption|security check|bot (check|verification|protection)|robot challenge|"
    rb"human verification|unusual traffic",
    re.IGNORECASE,
)
_MARKS = re.compile(
    rb"_cf_chl_opt|/cdn-cgi/challenge-platform/h/|cf-browser-verification|captcha-delivery\.com|px-captcha|"
    rb"_incapsula_resource\?|sucuri_cloudproxy_js|awswafcaptcha|gokuprops|anubis_challenge|sgcaptcha",
    re.IGNORECASE,
)
_WORDS = re.compile(  # in the text of a page that is refused anyway
    rb"captcha|checking your browser|not a (ro)?bot|verify (that )?you are (a )?human|unusual traffic|"
    rb"enable javascript and cookies to continue|complete the security check|ddos protection by",
    re.IGNORECASE,
)
_TITLE = re.compile(rb"<title[^>]{0,200}>([^<]{0,300})", re.IGNORECASE)

NO_TYPES = frozenset(
    (
        "", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream", "application/download",
        "application/x-download", "application/force-download", "application/x-force-download", "application/binary",
        "application/unknown", "unknown/unknown", "text/plain",
    )
)  # fmt: skip
_HEADS = (
    b"ID3", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"MAC ", b"wvPK", b"caff\0\x01", b".snd\0",
    b"DSD ", b"FRM8", b"TTA1", b"MP+", b"MPCK", b"riff.\x91\xcf\x11", b"#!AMR", b"FLV\x01", b"tBaK",
    b"Creative Voice File", b"ADIF",
)  # fmt: skip
_PICTURES = frozenset((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jp2 ", b"jxl "))


def is_challenge(status: int, headers: Mapping[str, str], head: bytes) -> bool:
    """Whether an answer asks for proof of a human visitor. Headers have lower-case names; `head` begins the body."""
    if headers.get("cf-mitigated", "").lower() == "challenge" or "sg-captcha" in headers:
        return True
    if headers.get("x-amzn-waf-action", "").lower() in ("challenge", "captcha"):
        return True
    if "html" not in headers.get("content-type", "html").lower():
        return False
    title = _TITLE.search(head)
    is_titled = bool(title and _TITLES.search(title[1]))
    if status in STATUSES:
        return is_titled or bool(_MARKS.search(head) or _WORDS.search(head))
    return status in (200, 202) and is_titled and bool(_MARKS.search(head) or _WORDS.search(head))


def is_audio_head(head: bytes) -> bool:
    """Whether a file's first bytes are those of a container of audio or film."""
    if head.startswith(_HEADS):
        return True
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return head[8:12] in (b"WAVE", b"AVI ")
    if head[:4] == b"FORM":
        return head[8:12] in (b"AIFF", b"AIFC")
    if head[4:8] == b"ftyp":
        return head[8:12] not in _PICTURES
    return _is_mpeg_frame(head)


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether a frame of MPEG audio (layer 2 or 3) or of AAC (ADTS) begins here."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    if head[1] & 0xF6 == 0xF0:  # ADTS
        return (head[2] >> 2) & 15 < 13
    version, layer = (head[1] >> 3) & 3, (head[1] >> 1) & 3
    return version != 1 and layer in (1, 2) and head[2] >> 4 not in (0, 15) and (head[2] >> 2) & 3 != 3
