import csv
import io
import json
import re
import subprocess
from urllib.parse import urlsplit

import folders
import pandas as pd
import pytest
from folders import ID, JOB, at, book, call, shown, stage, step, write_lines
from nbformat import v4
from paper import browse, printed

from lib.commands.main import main
from lib.record import reading
from lib.record.faults import BadInput
from lib.report import past, report, resources, timeline
from lib.report.page import trimmed
from lib.workstation.files import journalled

NAME = "20260304-050607-web"
HOSTILE = '<script>alert(1)</script><img src="http://evil/x"> & "quoted"'
REFUSED = "deployVirtualMachine of web-1 was accepted and then failed (533): no room"


def page_of(folder):
    return report.write(folder).read_text("utf-8")


def raised(name, text):
    return v4.new_output("error", ename=name, evalue=text, traceback=["\x1b[31mat\x1b[0m line 1"])


def failed(runs, error=REFUSED, cause="failed", **more):
    """Write a run that failed in its second stage after it had made a volume in its first."""
    done = [{"outcome": "done", "command": "createVolume", "what": "web_disk"}]
    events = stage("10-make", 0, 4, steps=done)
    steps = [*done, {"outcome": "failed", "command": "deployVirtualMachine", "what": "web-1"}]
    events += stage("50-deploy", 4, 3, cause, error=error, steps=steps)
    events += [{"at": at(7), "event": "stage-ended", "stage": "60-look", "cause": "not-run"}]
    folder = folders.run(runs, NAME, events, ended=cause, **more)
    after = folders.volumes(("other", "Ready", "9"), ("web_disk", "Ready", ID))
    book(folder, "10-make", before=[folders.volumes(("other", "Ready", "9"))], after=[after])
    book(folder, "50-deploy", before=[after], apply=[raised("JobFailed", error)])
    return folder


def good(runs):
    """Write a run that did all it was to do, with each kind of output and of fact."""
    folder = folders.good(runs)
    table = pd.DataFrame({"ok": ["✓", "✗"], "GiB": [40.0, None], "id": [ID, ""]})
    table["at"] = pd.to_datetime([at(0), None])
    prints = [folders.printed(text) for text in ("10 %\r50 %\r100 %\n", "done\n")]
    prints.append(shown(table.head(0)))
    book(folder, "60-look", before=[shown(table)], check=[raised("NotOne", "none"), *prints])
    facts = {"command": ["runbook", "run", "my file"], "code": {"commit": "c0ffee", "dirty": True}}
    facts |= {"lib": {"a.py": "0" * 64}, "packages": {"pandas": "3"}, "observed": {"endpoint": "e"}}
    facts |= {"user": "ann", "host": "desk", "reason": "ticket 7", "earlier": [], "python": None}
    (folder / "run.json").write_text(json.dumps(facts))
    approved = {"at": at(99), "event": "approved", "by": "eve", "plan": "20260303-080000-web"}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(approved) + "\n")
    calls = [call("listVolumes", 0.5), call("listVolumes", 1, 40), call("createVolume", 2, 9, 431)]
    write_lines(folder / "api.jsonl", calls)
    return folder


def stopped(runs):
    """Write a run whose second stage failed, with all that such a run may lack or leave open."""
    folder = failed(runs)
    write_lines(folder / "journal.jsonl", folders.journal(5)[:2])
    (folder / "api.jsonl").write_text(json.dumps(call("listZones", 5)) + '\n{"at": "2026-03-')
    (folder / "10-make.ipynb").unlink()
    return folder


def plan(runs):
    folder = folders.run(runs, NAME, stage("10-make", 0, 4), mode="plan")
    book(folder, "10-make", plan=[folders.volumes(("web_disk", "", ""))])
    disk = ("make", "createVolume", "web_disk", "there is none", "40 GB", "Custom", "zone-1")
    folders.planned(folder, "10-make", disk, there=[{"name": "key", "state": "Ready", "id": "7"}])
    machine = ("make", "deployVirtualMachine", "web-1", "there is none")
    folders.planned(folder, "50-deploy", machine, ("remove", "deleteSnapshot", "old", "unused"))
    return folder


def abandoned(runs):
    """Write a run that was resumed after its first stage failed, and whose driver then vanished."""
    events = stage("10-make", 0, 4, "failed", error="no")
    events += [{"at": at(5000), "event": "run-resumed", "pid": 1}]
    events += stage("10-make", 5000, 2, attempt=2) + stage("50-deploy", 5002, 0)[:1]
    events += [{"at": at(5007), "event": "cell-started", "stage": "50-deploy", "cell": "apply"}]
    folder = folders.run(runs, NAME, events, ended="")
    book(folder, "10-make", plan=[])
    book(folder, "10-make.attempt1", plan=[])
    book(folder, "50-deploy", apply=[step("deployVirtualMachine", "web-1")])
    return folder


@pytest.mark.parametrize(
    "created", [good, stopped, plan, abandoned], ids=lambda created: created.__name__
)
def test_the_page_reads_as_it_did(created, tmp_path, reads_as):
    reads_as(created.__name__, lambda: page_of(created(tmp_path)))


@pytest.mark.parametrize(("mode", "removed"), [("apply", True), ("plan", False)])
def test_only_after_changes_it_says_how_to_remove_them(tmp_path, mode, removed):
    assert ("To remove it all instead" in page_of(failed(tmp_path, mode=mode))) is removed


def hostile(runs):
    """Write a run in which every text that others choose is markup."""
    bad = pd.DataFrame({HOSTILE: [HOSTILE], "name": [HOSTILE], "id": ["1"]})
    folder = failed(runs, HOSTILE, cluster_name=HOSTILE, note=HOSTILE)
    cells = {"before": [], "plan": [shown(bad), folders.printed(HOSTILE)], "after": [shown(bad)]}
    cells["apply"] = [step(HOSTILE, HOSTILE), v4.new_output("display_data", {"text/html": HOSTILE})]
    cells["check"] = [v4.new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE])]
    path = book(folder, "10-make", **cells)
    notebook = json.loads(path.read_text())
    links = "[x](javascript:alert(1)) [z](http://evil/) ![y](http://evil/)"
    notebook["cells"][0]["source"] = f"# {HOSTILE}\n\n{HOSTILE}\n\n{links}"
    path.write_text(json.dumps(notebook))
    lost = {"n": 1, "state": "intent", "command": HOSTILE, "params": {"a": HOSTILE}}
    write_lines(folder / "journal.jsonl", [lost])
    write_lines(folder / "api.jsonl", [call(HOSTILE, 1)])
    (folder / "run.json").write_text(json.dumps({"reason": HOSTILE, "user": HOSTILE}))
    return folder


def test_texts_of_a_cloud_never_become_markup_or_external_links(tmp_path):
    html = page_of(hostile(tmp_path))
    assert html.count("&lt;script&gt;") > 20
    assert not re.findall(r"<(?:script|img|link|iframe|object|embed|base|form)\b", html)
    inside = [tag for tag in re.findall(r"<[^>]+>", html) if "evil" in tag or "javascript" in tag]
    assert inside == []
    assert not re.findall(r"<[^>]*\b(?:src|srcset|xlink:href|action)\s*=|url\(|@import", html)
    links = set(re.findall(r'href="([^"]*)"', html))
    assert all(
        link.startswith("#") or re.fullmatch(r"[\w.-]+\.(ipynb|csv)", link) for link in links
    )


def test_control_characters_do_not_reach_the_page(tmp_path):
    bad = "a\x1b[31mb\x00\x9b"
    folder = failed(tmp_path, bad)
    path = book(folder, "10-make", plan=[folders.printed(bad), shown(pd.DataFrame({"n": [bad]}))])
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["source"] += bad
    path.write_text(json.dumps(notebook))
    html = page_of(folder)
    assert html.count("ab") > 3
    assert all(c == "\n" or c.isprintable() for c in html)


def test_long_outputs_are_cut_and_name_the_file_with_the_full_text(tmp_path):
    folder = folders.good(tmp_path)
    table = shown(pd.DataFrame({"n": range(200)}))
    book(folder, "10-make", plan=[folders.printed(("x" * 99 + "\n") * 20_000), table])
    for number in range(11, 40):
        book(folder, f"{number}-more", plan=[folders.printed("y" * 50_000), table])
    (folder / "events.jsonl").unlink()
    html = page_of(folder)
    assert len(html.encode()) < 150_000
    assert "characters left out; 10-make.ipynb has the full text" in html
    assert re.search(r"\d+ of 200 rows; the notebook is 39-more.ipynb", html)


def test_a_run_of_a_thousand_machines_has_a_small_page_and_a_table_beside_it(tmp_path, words):
    folder = folders.large(tmp_path)
    page = report.write(folder)
    text = words(page.read_text("utf-8"))
    assert page.stat().st_size < 300_000
    rows = re.findall(r"created machine (web-\d+)", text)
    assert rows[0] == "web-1" and rows[-1] == "web-1000" and len(rows) < 50
    assert "more; [report.csv] report.csv has them" in text
    failed = re.findall(r"deployVirtualMachine (web-\d+) .*failed: no room", text)
    assert failed == ["web-7", "web-400", "web-999"]
    table = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert len([row for row in table if row["run"] == "created"]) == 997
    assert {"web-2", "web-998"} < {row["name"] for row in table}


def test_a_cut_text_keeps_its_end():
    text = trimmed("\n".join(f"line {n}" for n in range(1000)), 300, "a.ipynb")
    assert text.startswith("line 0\nline 1\n")
    assert text.endswith("line 998\nline 999")


def test_an_open_change_of_a_machine_is_listed_with_its_parameters(tmp_path, monkeypatch, words):
    folder = failed(tmp_path, "the kernel died", "kernel-died")
    monkeypatch.setenv("RUNBOOK_RUN", str(folder))
    params = {"volume": ID, "device": "/dev/vdb", "sha256": "ab" * 32}
    with (
        pytest.raises(KeyboardInterrupt),
        journalled("me@ws", "coreos-install", "disk of ws", params),
    ):
        raise KeyboardInterrupt
    text = words(page_of(folder)).partition("Changes without a known outcome")[2][:400]
    assert "coreos-install disk of ws intent" in text
    assert f"volume {ID}, device /dev/vdb, sha256 abab" in text


def test_a_lost_change_that_succeeded_later_is_not_open(tmp_path):
    folder = failed(tmp_path)
    intent, _, done = folders.journal(5, command="updateVirtualMachine")
    lost, asked = done | {"state": "lost"}, intent | {"customjobid": JOB}
    for lines, count in (
        ([asked], 1),
        ([intent, lost], 1),
        ([intent, lost, intent | {"n": 2}, done | {"n": 2}], 0),
    ):
        write_lines(folder / "journal.jsonl", lines)
        assert len(past.read(folder).unsettled) == count
        assert ("Changes without a known outcome" in page_of(folder)) == bool(count)


@pytest.mark.parametrize("name", ["api.jsonl", "journal.jsonl", "events.jsonl", "params.yaml"])
def test_a_folder_that_lacks_a_file_still_has_a_report(tmp_path, name, words):
    folder = folders.good(tmp_path)
    (folder / name).unlink()
    assert "The stages" in words(page_of(folder))


def test_an_empty_folder_has_a_report_too(tmp_path, words):
    assert "0 of 0 stages" in words(page_of(tmp_path))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (None, [("web_disk", "Ready", ID)]),  # the first attempt stopped before its After
        ([("web_disk", "Ready", ID)], []),  # a later stage or hand removed it again
    ],
)
def test_steps_of_all_attempts_count_for_the_stage(tmp_path, first, second):
    again = [{"at": at(9), "event": "run-resumed", "pid": 1}, *stage("10-make", 9, 2, attempt=2)]
    folder = folders.run(tmp_path, NAME, stage("10-make", 0, 4) + again)
    after = {} if first is None else {"after": [folders.volumes(*first)]}
    book(folder, "10-make.attempt1", before=[folders.volumes()], **after)
    seen = folders.volumes(*second)
    book(folder, "10-make", before=[seen], after=[seen])
    found = resources.changed(past.read(folder))
    assert found[["stage", "change", "name"]].values.tolist() == [["10-make", "new", "web_disk"]]


@pytest.mark.parametrize(
    "after", [[["new", "web_disk", ID, "state Ready"]], [["none", "", "", "nothing changed"]]]
)
def test_what_a_stage_shows_as_changes_is_reported_as_it_is(tmp_path, after):
    folder = folders.run(tmp_path, NAME, stage("10-make", 0, 4) + stage("20-use", 5, 4))
    changes = folders.shown(pd.DataFrame(after, columns=reading.CHANGES, dtype="str"))
    book(folder, "10-make", before=[folders.volumes()], after=[changes])
    book(folder, "20-use", before=[folders.shown(pd.DataFrame({"path": ["/dev/vda"]}))])
    run = past.read(folder)
    new = [row for row in after if row[0] != "none"]
    assert resources.changed(run).values.tolist() == [["10-make", *row] for row in new]
    seen = resources.of_cluster(run, resources.read(run))
    assert [(one.change, one.name, one.id) for one in seen] == [
        ("created", name, identity) for _, name, identity, _ in new
    ]


def test_a_pause_between_attempts_takes_little_of_the_axis():
    spans = [timeline.Span(0, 10, ""), timeline.Span(100_000, 100_010, "")]
    axis = timeline.axis(spans)
    assert [axis.place(at) for at in (0, 10, 100_000, 100_010)] == [0, 480, 520, 1000]
    assert axis.cuts == [500]


def test_calls_and_waits_are_bars_of_their_own_and_many_short_calls_are_few_bars(tmp_path):
    folder = folders.good(tmp_path)
    html = page_of(folder)
    assert 'class="api"><title>createVolume: 0.12 s</title>' in html
    assert 'class="wait"><title>createVolume web_disk: 2.00 s</title>' in html
    calls = [call("queryAsyncJobResult", n * 0.004) for n in range(1000)]
    write_lines(folder / "api.jsonl", calls)
    html = page_of(folder)
    assert html.count('class="api"') < 20
    assert "1000 × queryAsyncJobResult" in html  # noqa: RUF001


def test_jobs_side_by_side_are_waited_for_once():
    spans = [timeline.Span(0, 4, "a"), timeline.Span(1, 5, "b"), timeline.Span(7, 8, "c")]
    assert timeline.seconds(spans) == 6


def test_the_page_of_a_run_that_goes_on_does_not_name_the_seal_before(tmp_path):
    folder = folders.good(tmp_path)
    (folder / "MANIFEST.sha256").write_text("")
    assert "sha256 of the seal" in page_of(folder)
    with (folder / "events.jsonl").open("a") as book:
        book.write(json.dumps({"at": at(200), "event": "run-resumed", "pid": 1}) + "\n")
        book.write(json.dumps({"at": at(201), "event": "run-ended", "cause": "ok"}) + "\n")
    html = page_of(folder)
    assert "sealed when this page was written" in html and "sha256 of the seal" not in html


def test_the_report_of_a_sealed_run_is_not_written_again(tmp_path):
    folder = folders.good(tmp_path)
    (folder / "MANIFEST.sha256").write_text("")
    with pytest.raises(BadInput, match="sealed"):
        report.write_unsealed(folder)
    assert report.write_unsealed(folder, tmp_path / "draft.html").exists()


@pytest.mark.system
def test_a_browser_shows_the_report_and_asks_for_nothing(tmp_path, words):
    page, log = report.write(failed(tmp_path, HOSTILE)), tmp_path / "net.json"
    assert printed(page, tmp_path, f"--log-net-log={log}") == (2, "A4")
    events = [e.get("params", {}) for e in json.loads(log.read_text())["events"]]
    asked = {urlsplit(t["url"]).hostname for t in events if str(t.get("url")).startswith("http")}
    assert [
        host for host in asked if not host.endswith((".google.com", ".googleapis.com", ".gvt1.com"))
    ] == []
    assert "50-deploy failed" in words(browse(tmp_path, "--dump-dom", page.as_uri()))


@pytest.mark.system
def test_a_report_on_paper_tells_in_its_contents_where_each_part_begins(tmp_path, capsys):
    browse(tmp_path, "--version")
    folder, to = folders.good(tmp_path), tmp_path / "good.pdf"
    with open(folder / "params.yaml", "a") as file:
        file.writelines(f"p{n}: x\n" for n in range(300))
    assert main(["report", folder.name, "--runs", str(tmp_path), "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"{to}\n"
    text = subprocess.run(["pdftotext", "-layout", to, "-"], capture_output=True, text=True).stdout
    first, *more = text.split("\f")
    assert re.search(r"To check this record +p\. 1\b", first)
    number = int(re.search(r"API requests +p\. (\d)\b", first)[1])
    assert number > 1 and re.search(r"^ *API requests$", more[number - 2], re.M)


def test_without_a_browser_a_report_is_not_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/none")
    folder = folders.good(tmp_path)
    words = ["report", folder.name, "--runs", str(tmp_path), "--to", str(tmp_path / "a.pdf")]
    assert main(words) == 2
    assert "there is no Chromium here to print with" in capsys.readouterr().err
    assert (folder / "report.html").exists() and not (tmp_path / "a.pdf").exists()
