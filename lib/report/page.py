"""Pages: HTML built of elements whose texts are escaped, in one file without scripts or links out.

Texts come from notebooks and through them from a cloud; only what is built here is markup.
"""

from collections.abc import Collection
from html import escape

from lib.report.console import plain


class Html(str):
    """A text that is markup already."""


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """Return an element; texts among its children are escaped, None and False leave nothing.

    `class_` stands for class; `_` in other names for a hyphen.

    >>> el("p", "1 < 2 ", el("b", "so"), class_="x")
    '<p class="x">1 &lt; 2 <b>so</b></p>'
    """
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items()}
    said = "".join(_attribute(k, v) for k, v in given.items() if v not in (None, False))
    if name in ("br", "meta", "rect", "line", "path"):
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{join(*children)}</{name}>")


def _attribute(name: str, value: object) -> str:
    return f" {name}" if value is True else f' {name}="{escape(plain(value))}"'


def join(*children: object) -> Html:
    """Return the children one after the other, texts escaped; None, False and [] leave nothing."""
    kept = (c for c in children if c is not None and c is not False and c != [])
    return Html("".join(c if isinstance(c, Html) else escape(plain(c), quote=False) for c in kept))


def rows(
    head: list[str], body: list[list[object]], *, class_: str = "", right: Collection[str] = ()
) -> Html:
    """Return a table that scrolls sideways where it is wide; `right` names columns of numbers."""
    numbers = {i for i, name in enumerate(head) if name in right}

    def line(cells: list[object], kind: str) -> Html:
        made = (
            el(kind, cell, class_="n" if i in numbers else None) for i, cell in enumerate(cells)
        )
        return el("tr", *made)

    top = el("thead", line(list(head), "th"))
    inner = el("table", top, el("tbody", *(line(cells, "td") for cells in body)))
    return el("div", inner, class_=f"t {class_}".strip(), tabindex="0")


def page(title: str, *body: object) -> str:
    """Return a whole page."""
    head = join(
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("title", title),
        el("style", Html(CSS)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{el("head", head)}{el("body", *body)}</html>\n'


# Should markup of others ever get in, it may still run nothing and load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

CSS = """
:root{--bg:#fff;--ink:#1c2126;--dim:#5c6670;--line:#dde2e7;--soft:#f5f7f9;--ok:#1a7f4b;
--bad:#b42318;--warn:#9a6200;--api:#2f6fb2;--wait:#d99a2b;--span:#e6eaee;--link:#1d5fa8}
@media (prefers-color-scheme:dark){:root{--bg:#14181c;--ink:#e3e7eb;--dim:#98a3ad;--line:#303840;
--soft:#1c2228;--ok:#5cc48c;--bad:#ff8a80;--warn:#e8b15a;--api:#6aa9e9;--wait:#d9a441;
--span:#2a3138;--link:#84b8f0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:66rem;padding:2.5rem 1.5rem 5rem;background:var(--bg);
color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.15rem;font-weight:600;margin:0 0 .25rem;color:var(--dim)}
h2{font-size:1.25rem;margin:3.2rem 0 .8rem;line-height:1.3}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
a{color:var(--link)}
.lead{font-size:1.5rem;line-height:1.35;margin:.4rem 0 .6rem;font-weight:600;max-width:52rem}
.dim,small,.off{color:var(--dim)}
small{font-size:.85rem}
.ok{color:var(--ok)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.box{border:1px solid var(--line);border-left:4px solid var(--dim);border-radius:4px;
padding:.8rem 1.1rem;margin:1.2rem 0;background:var(--soft)}
.box.bad{border-left-color:var(--bad);color:inherit}.box.ok{border-left-color:var(--ok);color:inherit}
.box.warn{border-left-color:var(--warn);color:inherit}
.box h2,.box h3{margin-top:.4rem}.box h3{margin-top:1.1rem}
code,pre,.id{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--soft);border:1px solid var(--line);border-radius:4px;padding:.55rem .8rem;
margin:.4rem 0 .8rem;white-space:pre-wrap}
pre.cmd{background:var(--bg)}
.t{overflow-x:auto;margin:.5rem 0 1.1rem}
table{border-collapse:collapse;font-size:.84rem;line-height:1.45;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.32rem .9rem .32rem 0;
border-bottom:1px solid var(--line);overflow-wrap:normal}
th{font-weight:600;color:var(--dim);white-space:nowrap}
td{min-width:3rem;max-width:26rem;overflow-wrap:break-word}
th.n,td.n{text-align:right}
.id{font-size:12px}.id,.w,td:first-child{white-space:nowrap}
td br+.id{color:var(--dim)}
.strip{display:flex;flex-wrap:wrap;gap:.4rem;list-style:none;padding:0;margin:1.4rem 0 .5rem}
.strip a{display:block;padding:.3rem .65rem;border:1px solid var(--line);border-top:3px solid;
border-radius:4px;background:var(--soft);text-decoration:none;font-size:.84rem;line-height:1.35}
.strip a b,.strip a small{color:var(--ink);font-weight:600}
.strip a small{color:var(--dim);font-weight:400}
.strip .off,.strip .off b{color:var(--dim)}.strip .off{border-top-color:var(--line)}
details{margin:.3rem 0}
summary{cursor:pointer;color:var(--dim);font-size:.84rem}
details.stage{border-top:1px solid var(--line);margin:0;padding:.6rem 0}
details.stage>summary{color:var(--ink);font-size:1.02rem;font-weight:600}
details.stage>summary small{font-weight:400}
details.stage>div{padding:.3rem 0 1rem 1.1rem}
body:has(.list){max-width:100rem}
.list td{white-space:nowrap}
.time table{width:100%}.time td{vertical-align:middle;white-space:nowrap;padding-right:1rem}
.time td:nth-child(2){width:60%;min-width:20rem;max-width:none}
.time :is(td,th):last-child{padding-right:0}
.time svg{display:block;width:100%;height:22px}
.span{fill:var(--span)}.api{fill:var(--api)}.wait{fill:var(--wait)}.cut{stroke:var(--dim)}
.ax{display:flex;justify-content:space-between;font-weight:400}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin:0 .35rem 0 1rem;
vertical-align:-1px}
.key.a{background:var(--api);margin-left:0}.key.w{background:var(--wait)}
.key.s{background:var(--span)}
@media (max-width:40rem){body{padding:1.2rem 1rem 3rem}.lead{font-size:1.25rem}
details.stage>div{padding-left:0}.time td:nth-child(2){min-width:11rem}
.diff thead,.diff td:empty{display:none}.diff table,.diff tbody,.diff tr,.diff td{display:block}
.diff td{border:0;padding:.1rem 0}.diff tr{border-bottom:1px solid var(--line);padding:.35rem 0}
.diff td:first-child{font-weight:600}.diff .id{white-space:normal}}
@media print{:root{--bg:#fff;--ink:#000;--dim:#444;--line:#bbb;--soft:#fff;--ok:#0a5c33;
--bad:#a00;--warn:#754a00;--api:#2f6fb2;--wait:#d99a2b;--span:#e3e3e3;--link:#000}
body{max-width:none;padding:0;font-size:10.5pt}.t{overflow:visible}table{font-size:8pt}
.id,code,pre{font-size:7.5pt}.id,.w,.t:not(.time) td:first-child{white-space:normal}
h2,h3,summary{break-after:avoid}tr,.strip li{break-inside:avoid}
.key,svg *{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
