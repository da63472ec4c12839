"""Forms: the ways in which programs write a secret, as bytes in lower case.

A search looks for each form literally. Nested quoting, colours and line ends need no forms of
their own: `joined` removes them from the data and from the forms.
"""

import base64
import html
import json
import quopri
import re
from bisect import bisect_right
from html.entities import codepoint2name
from urllib.parse import quote, quote_plus

SHORTEST = 6  # characters of a secret; a shorter one would match in every text
WHOLE_WORD = 8  # a shorter form counts only where no letter or digit adjoins
LONG, PIECE = 32, 16  # characters; a long secret is found by its pieces where it is cut short
URL_SAFE = ("", "/", "!'()*", ";,/?:@&=+$!'()*#")  # quote's two, JavaScript's two

# Every joint begins with one of a few characters, so that `re` skips quickly between them.
_JOINTS = re.compile(
    rb"[\x1b\\\r\n%&=](?:"
    rb"(?<=\x1b)\[[0-?]*[ -/]*[@-~]"  # a colour of the terminal
    rb"|(?<=[\r\n])\s*"  # a line end, and how far the next line is indented
    rb"|(?<=\\)\\*(?:(?:u001b|x1b|033|e)\[[0-?]*[ -/]*[@-~]|[nr](?:\",\s*\")?[ \t]*|)"  # escaped
    rb"|(?<=%)(?:25)*(?:0[ad]|(?=[0-9a-f]{2}))"  # percent signs, and an encoded line end
    rb"|(?<=&)(?:amp;)*"  # ampersands of HTML
    rb"|(?<==)(?:\r?\n|\\+n(?:\",\s*\")?)[ \t]*)"  # a soft line end of quoted-printable
)


def forms_of(secret: str) -> dict[bytes, bool]:
    """Return the forms of a secret, and of each whether it counts as a whole word only.

    Each line of the secret counts by itself, except the first and last line of a PEM key.
    """
    found: dict[bytes, bool] = {}
    for line in map(str.strip, secret.splitlines()):
        if len(line) >= SHORTEST and not line.startswith("-----"):
            texts = {*_quoted(line), *_escaped(line), *_pieces(line)}
            for form in map(_bytes, texts):
                found |= {
                    f: len(f) < WHOLE_WORD for f in (form, joined(form)) if len(f) >= SHORTEST
                }
            found |= {_bytes(text): False for text in _in_base64(line)}
    return found


def joined(data: bytes) -> bytes:
    r"""Return lower-case data without line ends, colours, and the signs that begin an escape.

    >>> joined(b'ab\n  cd\x1b[31mef\\"%2525g')
    b'abcdef"25g'
    """
    return _JOINTS.sub(b"", data)


def mapped_back(spans: list[tuple[int, int]], data: bytes) -> list[tuple[int, int]]:
    """Convert spans of `joined(data)`, in any order, to spans of the data."""
    starts, originals, gone = [0], [0], 0
    for joint in _JOINTS.finditer(data) if spans else []:
        starts.append(joint.start() - gone)
        originals.append(joint.end())
        gone += len(joint[0])

    def back(at: int) -> int:
        piece = bisect_right(starts, at) - 1
        return originals[piece] + at - starts[piece]

    return [(back(start), back(end - 1) + 1) for start, end in spans]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").lower()


def _pieces(text: str) -> list[str]:
    cuts = range(0, len(text) - PIECE + 1, PIECE) if len(text) >= LONG else []
    return [text[at : at + PIECE] for at in cuts]


def _quoted(text: str) -> set[str]:
    """Return the text unquoted, quoted once and quoted twice, by ways that keep letters."""
    once = {text, *_quotings(text)}
    return once | {twice for quoted in once for twice in _quotings(quoted)}


def _quotings(text: str) -> list[str]:
    raw = text.encode("utf-8", "surrogatepass")
    in_html, in_python = html.escape(text), [repr(text + "'\"")[1:-4], ascii(text + "'\"")[1:-4]]
    in_python.append(repr(raw + b"'\"")[2:-4])
    in_json = json.dumps(text)[1:-1]
    return [
        *(quote(raw, safe=safe) for safe in URL_SAFE),
        quote_plus(raw),
        re.sub(rb"[^a-zA-Z0-9]", lambda found: b"%%%02x" % ord(found[0]), raw).decode(),
        in_html,
        html.escape(text, quote=False),
        in_html.replace("&#x27;", "&#39;"),
        in_html.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        in_html.replace("&#x27;", "&apos;"),
        in_html.encode("ascii", "xmlcharrefreplace").decode(),
        "".join(f"&{codepoint2name[ord(c)]};" if ord(c) in codepoint2name else c for c in text),
        in_json,
        json.dumps(text, ensure_ascii=False)[1:-1],
        re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", in_json),  # for a page's script
        *in_python,
        text.replace("'", "'\"'\"'"),  # shlex
        text.replace("'", "'\\''"),  # shells
        text.replace("'", "''"),  # SQL
        text.replace('"', '""'),  # CSV
        quopri.encodestring(raw).decode("ascii").replace("=\n", ""),
    ]


def _escaped(text: str) -> list[str]:
    """Return the text with every character escaped, in each way of escaping."""
    raw = text.encode("utf-8", "surrogatepass")
    units = text.encode("utf-16-be", "surrogatepass")
    by_byte = (r"\x{:02x}", "%{:02x}", "={:02x}", r"\{:03o}", r"\0{:03o}")
    by_character = ("&#{};", "&#x{:x};", r"\u{{{:x}}}")
    return [
        raw.hex(),
        raw.hex(" "),
        raw.hex(":"),
        *("".join(way.format(byte) for byte in raw) for way in by_byte),
        *("".join(way.format(ord(char)) for char in text) for way in by_character),
        "".join(rf"\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)),
    ]


def _in_base64(text: str) -> set[str]:
    """Return the base64 that any data with the text contains, as UTF-8 and as UTF-16."""
    texts = {text, json.dumps(text)[1:-1], quote(text.encode("utf-8", "surrogatepass"), safe="")}
    raws = {t.encode("utf-8", "surrogatepass") for t in texts}
    raws |= {text.encode(f"utf-16-{order}", "surrogatepass") for order in ("le", "be")}
    cores = {_core(raw, skip) for raw in raws for skip in range(3)}
    cores |= {core.translate(str.maketrans("+/", "-_")) for core in cores}
    return cores | {quote(core, safe="") for core in cores} | {c.replace("/", "\\/") for c in cores}


def _core(raw: bytes, skip: int) -> str:
    """Return the base64 characters that depend on these bytes alone.

    `skip` is the number of bytes before them in a group of three.
    """
    first, last = (skip * 8 + 5) // 6, (skip + len(raw)) * 8 // 6
    return base64.b64encode(b"\0" * skip + raw).decode()[first:last]
