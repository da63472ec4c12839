import json
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import folders
import pandas as pd
import pytest
from folders import ID, JOB, at, book, call, printed, shown, stage, step, write_lines
from nbformat import v4

from lib import errors
from lib.chain.faults import BadInput
from lib.report import past, report, resources, timeline
from lib.report.cells import trimmed
from lib.report.known_errors import UNKNOWN, explain
from lib.writes import noted

HOSTILE = '<script>alert(1)</script><img src="http://evil/x"> & "quoted"'


def page_of(folder):
    return report.write(folder).read_text("utf-8")


def words(html):
    """Return the text of a page without its markup and style."""
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", bare)


def failed(runs, error, cause="failed", **more):
    """Write a run that failed in its second stage after it had made a volume."""
    done = [{"outcome": "done", "command": "createVolume", "what": "web_disk"}]
    events = stage("10-make", 0, 4, steps=done)
    events += stage("50-deploy", 4, 3, cause, error=error, steps=[])
    events += [{"at": at(7), "event": "stage-ended", "stage": "60-look", "cause": "not-run"}]
    folder = folders.run(runs, "20260304-050607-web", events, ended=cause, **more)
    after = folders.volumes(("other", "Ready", "9"), ("web_disk", "Ready", ID))
    book(folder, "10-make", before=[folders.volumes(("other", "Ready", "9"))], after=[after])
    raised = v4.new_output(
        "error", ename="JobFailed", evalue=error, traceback=["\x1b[31mat\x1b[0m"]
    )
    book(folder, "50-deploy", before=[after], apply=[raised])
    return folder


def test_the_outcome_and_what_to_do_next_come_first(tmp_path):
    text = words(page_of(folders.good(tmp_path)))
    assert "✓ All 2 stages ended well in 6.0 s, with 1 change." in text
    order = ["ended well", "Nothing is left to do", "10 make", "Timeline", "Resources made"]
    order += ["The stages", "Parameters", "API requests"]
    assert sorted(order, key=text.index) == order


def test_a_plan_says_how_to_make_its_changes(tmp_path):
    folder = folders.run(tmp_path, "20260304-050607-web", stage("10-make", 0, 4), mode="plan")
    text = words(page_of(folder))
    assert "nothing was changed, as the run only looked" in text
    assert f"runbook run {folder}/params.yaml --mode apply" in text


def test_every_stage_has_its_outcome_as_a_sign_and_not_only_as_a_colour(tmp_path):
    text = words(page_of(failed(tmp_path, "no")))
    assert "✓ 10 make" in text
    assert "✗ 50 deploy failed" in text
    assert "· 60 look not run" in text


def test_resources_are_the_difference_between_before_and_after(tmp_path):
    folder = folders.good(tmp_path)
    found = resources.changed(resources.tables(past.read(folder)))
    assert found.values.tolist() == [["10-make", "made", "web_disk", ID, "state Allocated"]]
    assert f"made web_disk {ID} state Allocated" in words(page_of(folder))


def test_parameters_are_shown_with_their_origin(tmp_path):
    assert "volume_name web_disk my.yaml" in words(page_of(folders.good(tmp_path)))


def test_requests_are_counted_by_command(tmp_path):
    folder = folders.good(tmp_path)
    lines = [call("listVolumes", 0.5), call("listVolumes", 1, 40), call("createVolume", 2, 9, 431)]
    write_lines(folder / "api.jsonl", lines)
    text = words(page_of(folder))
    assert "3 requests, 0.1 s in all." in text
    assert "listVolumes 2 60 40" in text
    assert "createVolume 1 9 9 1 (431)" in text


def test_nothing_that_a_cloud_says_becomes_markup(tmp_path):
    bad = pd.DataFrame({HOSTILE: [HOSTILE], "name": [HOSTILE], "id": ["1"]})
    folder = failed(tmp_path, HOSTILE, cluster_name=HOSTILE, note=HOSTILE)
    cells = {"before": [], "plan": [shown(bad), printed(HOSTILE)], "after": [shown(bad)]}
    cells["apply"] = [step(HOSTILE, HOSTILE), v4.new_output("display_data", {"text/html": HOSTILE})]
    cells["check"] = [v4.new_output("error", ename=HOSTILE, evalue=HOSTILE, traceback=[HOSTILE])]
    path = book(folder, "10-make", **cells)
    made = json.loads(path.read_text())
    made["cells"][0]["source"] = (
        f"# {HOSTILE}\n\n{HOSTILE} [x](javascript:alert(1)) ![y](http://e/)"
    )
    path.write_text(json.dumps(made))
    write_lines(folder / "journal.jsonl", [{"n": 1, "state": "intent", "command": HOSTILE}])
    write_lines(folder / "api.jsonl", [call(HOSTILE, 1)])
    (folder / "run.json").write_text(json.dumps({"reason": HOSTILE, "user": HOSTILE}))
    html = page_of(folder)
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert html.count("&lt;script&gt;") > 15


def test_the_page_leads_nowhere_but_into_its_own_folder(tmp_path):
    html = page_of(failed(tmp_path, "see http://example.com/"))
    assert not re.findall(r"<(?:script|link|iframe|object|embed|base|form)\b", html)
    assert not re.findall(r"\b(?:src|srcset|xlink:href|action)\s*=|url\(|@import", html)
    links = set(re.findall(r'href="([^"]*)"', html))
    assert all(link.startswith("#") or re.fullmatch(r"[\w.-]+\.ipynb", link) for link in links)


def test_long_outputs_are_cut_with_a_word_that_says_where_the_whole_is(tmp_path):
    folder = folders.good(tmp_path)
    long = [printed("x" * 99 + "\n") for _ in range(3)]
    long[0]["text"] *= 20_000
    book(folder, "10-make", plan=[*long, shown(pd.DataFrame({"n": range(200)}))])
    for number in range(11, 40):
        book(
            folder,
            f"{number}-more",
            plan=[printed("y" * 50_000), shown(pd.DataFrame({"n": range(200)}))],
        )
    (folder / "events.jsonl").unlink()
    html = page_of(folder)
    assert len(html.encode()) < 150_000
    assert "characters left out here; all of it is in 10-make.ipynb" in html
    assert re.search(r"\d+ of 200 rows; the notebook is 39-more.ipynb", html)


def test_the_end_of_a_cut_text_is_kept_as_it_tells_most():
    said = trimmed("\n".join(f"line {n}" for n in range(1000)), 300, "a.ipynb")
    assert said.startswith("line 0\nline 1\n")
    assert said.endswith("line 998\nline 999")


def test_progress_that_redraws_its_line_is_shown_in_its_last_state(tmp_path):
    folder = folders.good(tmp_path)
    book(folder, "10-make", apply=[printed("10 %\r50 %\r100 %\ndone\n")])
    text = words(page_of(folder))
    assert "100 % done" in text
    assert "50 %" not in text


def test_a_failure_says_what_it_means_what_there_is_and_how_to_go_on(tmp_path):
    folder = failed(
        tmp_path, "deployVirtualMachine of web-1 was accepted and then failed (533): no"
    )
    text = words(page_of(folder))
    assert "✗ 50-deploy failed after 7.0 s; 1 of 3 stages ended well and 1 was not run." in text
    assert "No host could take it" in text
    assert "Is trying again safe? Yes" in text
    assert f"runbook resume {folder}" in text
    assert f"runbook run {folder}/params.yaml --stages 90 --mode plan" in text
    assert "50-deploy, failed under “Apply”" in text
    now = text[text.index("What exists now") : text.index("To remove it all")]
    assert f"as 50-deploy saw it under Before name id state web_disk {ID} Ready" in now
    assert "other" not in now


def test_what_was_sent_without_a_known_end_is_named_with_its_ids(tmp_path):
    folder = failed(tmp_path, "the kernel died", "kernel-died")
    write_lines(folder / "journal.jsonl", folders.journal(5)[:2])
    text = words(page_of(folder))
    start = text.index("Begun without a known end")
    assert f"createVolume web_disk accepted {ID} {JOB}" in text[start : start + 400]
    write_lines(folder / "journal.jsonl", [folders.journal(5)[0] | {"customjobid": JOB}])
    assert f"createVolume web_disk intent {JOB}" in words(page_of(folder))


def test_what_was_begun_on_a_machine_is_named_with_what_it_was_to_write(tmp_path, monkeypatch):
    folder = failed(tmp_path, "the kernel died", "kernel-died")
    monkeypatch.setenv("RUNBOOK_RUN", str(folder))
    params = {"volume": ID, "device": "/dev/vdb", "sha256": "ab" * 32}
    with pytest.raises(KeyboardInterrupt), noted("me@ws", "coreos-install", "disk of ws", params):
        raise KeyboardInterrupt
    text = words(page_of(folder))
    shown = text[text.index("Begun without a known end") :][:400]
    assert f"coreos-install disk of ws intent volume {ID}, device /dev/vdb, sha256 abab" in shown


def test_what_was_lost_and_then_done_is_not_said_to_be_open(tmp_path):
    folder = failed(tmp_path, "the kernel died", "kernel-died")
    intent, _, done = folders.journal(5, command="updateVirtualMachine")
    lost = done | {"state": "lost"}
    write_lines(folder / "journal.jsonl", [intent, lost])
    assert "Begun without a known end" in words(page_of(folder))
    again = [intent, lost, intent | {"n": 2}, done | {"n": 2}]
    write_lines(folder / "journal.jsonl", again)
    assert "Begun without a known end" not in words(page_of(folder))


def test_a_failed_job_is_not_said_to_have_changed_nothing():
    refused = explain("failed", "Refused: createVolume was refused (535): quota")
    job = explain(
        "failed", "JobFailed: createVolume of x was accepted and then failed (535): quota"
    )
    assert "changed nothing" in refused.again
    assert "may have changed something" in job.again


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.Refused("listZones", 401, "unable to verify"), "who is asking"),
        (errors.Refused("x", 401, "no", "This machine's clock is 700 s ahead of it"), "time"),
        (errors.Refused("createVolume", 429, "The given user has reached"), "too many"),
        (errors.Refused("createVolume", 431, "Invalid parameter size"), "value of the call"),
        (errors.Refused("attachVolume", 431, "Volume state must be Ready"), "state"),
        (errors.Refused("createVolume", 432, "not available"), "may not use it"),
        (errors.Refused("listVolumes", 433, "page"), "page"),
        (errors.JobFailed("deployVirtualMachine", "j", 530, "internal"), "inside the cloud"),
        (errors.JobFailed("deployVirtualMachine", "j", 533, "capacity"), "No host"),
        (errors.JobFailed("startVirtualMachine", "j", 530, "No suitable host found."), "No host"),
        (errors.Refused("deployVirtualMachine", 431, "The vm with hostName a-1 already exists in "
                        "the network domain: cs2.internal; network=n"), "holds the name"),
        (errors.Refused("createVolume", 534, "max"), "quota"),
        (errors.Refused("createVolume", 535, "limit"), "quota"),
        (errors.JobTimeout("createSnapshot", "j", 3600, "disk"), "longer than"),
        (errors.Unreachable("x", "https://c", "lost", may_have_changed=True), "No usable answer"),
        (errors.Unreachable("GET at the discovery service", "https://d", "no answer in time",
                            may_have_changed=False), "discovery service"),
        (errors.CheckFailed("the disk to write on", "exactly one", "none"), "no new disk"),
        (errors.CheckFailed("/dev/vdc of volume 1", "blank", "ext4"), "not empty"),
        (errors.ShellFailed("coreos-install -d /dev/vdc", 1, "no space"), "installer ended badly"),
        (errors.ShellFailed("flatcar-install", 1, "gpg: BAD signature from"), "not signed"),
        (errors.CheckFailed("coreos-install on the workstation", "on root's PATH", "absent"),
         "installer is not on"),
        (errors.ShellFailed("true", 255, "Host key verification failed."), "over ssh"),
        (errors.CheckFailed("installers at work on the workstation", "none", "coreos-install"),
         "still writes"),
        (errors.CheckFailed("m-1 over SSH", "its user_data", "sudo: a password is required"),
         "machine of the cluster"),
        (errors.NotOne("zone", "name 'x'", []), "fits nothing"),
        (errors.ProfileError("no section x"), "profile"),
        (errors.CheckFailed("left to do", "nothing", "createVolume x"), "found something left"),
    ],
    ids=str,
)  # fmt: skip
def test_the_errors_of_the_library_are_known(error, word):
    known = explain("failed", f"{type(error).__name__}: {error}")
    assert word in known.means
    assert known.do
    assert known.again


@pytest.mark.parametrize(
    "cause", ["kernel-died", "timed-out", "interrupted", "killed", "abandoned"]
)
def test_every_way_to_stop_is_explained_without_an_error(cause):
    assert explain(cause, "") is not UNKNOWN


def test_an_error_that_nobody_knows_is_said_to_be_unknown():
    assert explain("failed", "ZeroDivisionError: division by zero") is UNKNOWN


def test_a_run_without_an_end_whose_driver_is_gone_is_abandoned(tmp_path):
    events = [*stage("10-make", 0, 4), stage("50-deploy", 4, 0)[0]]
    events += [{"at": at(9), "event": "cell-started", "stage": "50-deploy", "cell": "apply"}]
    folder = folders.run(tmp_path, "20260304-050607-web", events, ended="")
    book(folder, "50-deploy", apply=[step("deployVirtualMachine", "web-1")])
    seen = past.read(folder)
    assert (seen.cause, seen.stopped.stage, seen.stopped.seconds) == ("abandoned", "50-deploy", 5)
    assert seen.stopped.steps[0]["what"] == "web-1"
    text = words(page_of(folder))
    assert "50-deploy was abandoned" in text
    assert "50-deploy, abandoned under “Apply”" in text


def test_a_notebook_that_is_missing_is_said_to_be(tmp_path):
    folder = folders.good(tmp_path)
    (folder / "10-make.ipynb").unlink()
    assert "Its notebook 10-make.ipynb is not in the folder." in words(page_of(folder))


@pytest.mark.parametrize("name", ["api.jsonl", "journal.jsonl", "events.jsonl", "params.yaml"])
def test_a_folder_that_lacks_a_file_still_has_a_report(tmp_path, name):
    folder = folders.good(tmp_path)
    (folder / name).unlink()
    assert "The stages" in words(page_of(folder))


def test_what_is_empty_leaves_no_trace_on_the_page(tmp_path):
    folder = folders.run(tmp_path, "20260304-050607-web", stage("10-make", 0, 4))
    (folder / "run.json").write_text('{"user": "ann", "earlier": [], "reason": ""}')
    text = words(page_of(folder))
    assert "[]" not in text
    assert "None" not in text


def test_the_circumstances_are_told_in_short(tmp_path):
    folder = folders.good(tmp_path)
    facts = {"command": ["runbook", "run", "my file"], "code": {"commit": "c0ffee", "dirty": True}}
    facts |= {"lib": {"a.py": "0" * 64}, "packages": {"pandas": "3"}, "told": {"endpoint": "e"}}
    (folder / "run.json").write_text(json.dumps(facts))
    text = words(page_of(folder))
    for said in ("runbook run 'my file'", "code commit c0ffee", "told endpoint e", "pandas 3"):
        assert said in text
    assert "000000" not in text


def test_an_empty_folder_has_a_report_too(tmp_path):
    assert "0 of 0 stages" in words(page_of(tmp_path))


def test_lines_that_were_cut_off_are_counted(tmp_path):
    folder = folders.good(tmp_path)
    with open(folder / "api.jsonl", "a") as file:
        file.write('{"at": "2026-03-')
    assert "Could not be read: api.jsonl: 1 of 3 lines." in words(page_of(folder))


def test_earlier_attempts_are_kept_and_told(tmp_path):
    events = stage("10-make", 0, 4, "failed", error="no")
    events += [{"at": at(5000), "event": "run-resumed", "pid": 1}]
    events += stage("10-make", 5000, 2, attempt=2)
    folder = folders.run(tmp_path, "20260304-050607-web", events)
    book(folder, "10-make", plan=[])
    book(folder, "10-make.attempt1", plan=[])
    html = page_of(folder)
    assert "The stage 10-make ended well in 6.0 s, resumed once" in words(html)
    assert 'href="10-make.attempt1.ipynb">attempt 1: failed</a>' in html
    assert "10-make (attempt 2)" in html


def test_what_a_stopped_attempt_began_counts_as_made_by_its_stage(tmp_path):
    events = [stage("10-make", 0, 4)[0], {"at": at(9), "event": "run-resumed", "pid": 1}]
    events += stage("10-make", 9, 2, attempt=2)
    folder = folders.run(tmp_path, "20260304-050607-web", events)
    made = folders.volumes(("web_disk", "Ready", ID))
    book(folder, "10-make.attempt1", before=[folders.volumes()])
    book(folder, "10-make", before=[made], after=[made])
    found = resources.changed(resources.tables(past.read(folder)))
    assert found[["stage", "change", "name"]].values.tolist() == [["10-make", "made", "web_disk"]]


def test_what_later_stages_did_does_not_hide_what_a_stage_did(tmp_path):
    events = [*stage("10-make", 0, 4), {"at": at(9), "event": "run-resumed", "pid": 1}]
    folder = folders.run(
        tmp_path, "20260304-050607-web", events + stage("10-make", 9, 2, attempt=2)
    )
    made, gone = folders.volumes(("web_disk", "Ready", ID)), folders.volumes()
    book(folder, "10-make.attempt1", before=[gone], after=[made])
    book(folder, "10-make", before=[gone], after=[gone])
    assert len(resources.changed(resources.tables(past.read(folder)))) == 1


def test_a_pause_between_attempts_takes_little_of_the_axis():
    spans = [timeline.Span(0, 10, ""), timeline.Span(100_000, 100_010, "")]
    place, cuts = timeline.axis(spans)
    assert (place(0), place(10), place(100_000), place(100_010)) == (0, 480, 520, 1000)
    assert cuts == [500]


def test_calls_and_waits_are_bars_of_their_own_with_titles(tmp_path):
    html = page_of(folders.good(tmp_path))
    assert 'class="api"><title>createVolume: 0.12 s</title>' in html
    assert 'class="wait"><title>createVolume web_disk: 2.00 s</title>' in html


def test_a_thousand_calls_do_not_make_a_thousand_bars(tmp_path):
    folder = folders.good(tmp_path)
    calls = [call("queryAsyncJobResult", n * 0.004) for n in range(1000)]
    write_lines(folder / "api.jsonl", calls)
    html = page_of(folder)
    assert html.count('class="api"') < 20
    assert "1000 × queryAsyncJobResult" in html  # noqa: RUF001


def test_jobs_side_by_side_are_waited_for_once():
    spans = [timeline.Span(0, 4, "a"), timeline.Span(1, 5, "b"), timeline.Span(7, 8, "c")]
    assert sum(s.end - s.start for s in timeline.union(spans)) == 6


def test_the_report_of_a_sealed_run_is_not_written_again(tmp_path):
    folder = folders.good(tmp_path)
    (folder / "MANIFEST.sha256").write_text("")
    with pytest.raises(BadInput, match="sealed"):
        report.write_unsealed(folder)
    assert report.write_unsealed(folder, tmp_path / "draft.html").exists()


@pytest.mark.system
def test_a_browser_shows_the_report_and_asks_for_nothing(tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("there is no chromium here")
    page = report.write(failed(tmp_path, HOSTILE))
    log = tmp_path / "net.json"
    # The browser has calls of its own to make; without names they all come to nothing.
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    quiet += [f"--user-data-dir={tmp_path}/chromium", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command = [browser, *quiet, f"--log-net-log={log}", f"--print-to-pdf={tmp_path}/paper.pdf"]
    subprocess.run([*command, f"file://{page}"], capture_output=True, timeout=60, check=True)
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    told = [e.get("params", {}) for e in json.loads(log.read_text())["events"]]
    asked = {urlsplit(t["url"]).hostname for t in told if str(t.get("url")).startswith("http")}
    assert [
        host for host in asked if not host.endswith((".google.com", ".googleapis.com", ".gvt1.com"))
    ] == []
    shown = subprocess.run(
        [*command[:-2], "--dump-dom", f"file://{page}"], capture_output=True, text=True, timeout=60
    )
    assert "50-deploy failed" in words(shown.stdout)
