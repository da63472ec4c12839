"""Absurd parameters are refused at once with exit code 2."""

import os
import threading

import pytest

from lib.commands.main import main

CELL = """\
cluster_name: str = "c"  # its name
cluster_size: int = 3  # machines
volume_size: int = 40  # GB
ratio: float = 1.5  # of something
names: list[str] = []  # of machines
"""
FILES = {
    "10,000 deep": ("names: " + "[" * 10_000 + "]" * 10_000, "nested deeper than 5 levels"),
    "mappings deep": ("names: " + "{a: " * 10_000 + "}" * 10_000, "nested deeper than 5 levels"),
    "blocks deep": ("\n".join(" " * n + "a:" for n in range(900)), "nested deeper than 5 levels"),
    "large": ("# " + "x" * 1_100_000, "larger than 1,000,000 bytes"),
    "machines": ("cluster_size: 30000000", "expected 10,000 at most"),
    "digits": ("cluster_size: " + "9" * 4000, "expected 10,000 at most"),
    "more digits": ("volume_size: " + "9" * 10_000, "volume_size"),
    "a large fraction": ("ratio: 1.0e+300", "expected 1e+30 at most"),
    "a long name": ("cluster_name: " + "x" * 900_000, "expected 61 characters at most"),
    "many texts": ("names: [" + "a," * 10_001 + "]", "expected 10,000 texts at most"),
    "a lone surrogate": ('cluster_name: "\\ud800"', "UTF-8"),
    "control characters": ('"\\e[2J\\a": 1', "there is no such parameter"),
}


@pytest.fixture
def refused(book, notebooks, at, tmp_path, capsys):
    """Run a command that must be refused before it writes anything; return its error text."""
    book(notebooks / "10-one.ipynb", "1", parameters=CELL)

    def run(*words: str) -> str:
        assert main(["run", *words, *at]) == 2
        assert not (tmp_path / "runs").exists()
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize("kind", FILES)
def test_an_absurd_parameter_file_is_refused(refused, tmp_path, kind):
    text, fault = FILES[kind]
    path = tmp_path / "params.yaml"
    path.write_text(text)
    output = refused(str(path))
    assert fault in output and len(output) < 2000 and "\x1b" not in output and "\a" not in output


def test_a_path_that_is_not_a_parameter_file_is_refused(refused):
    for path in ("/dev/zero", "/dev", "/proc/self/mem"):
        assert path in refused(path)


def test_a_pipe_of_parameters_is_read_to_its_bound(refused, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: pipe.write_text("cluster_size: 10001\n"))
    thread.start()
    assert "expected 10,000 at most" in refused(str(pipe))
    thread.join()


OPTIONS = {
    "cluster_size=30000000": "expected 10,000 at most",
    "cluster_name=" + "x" * 100_000: "expected 61 characters at most",
    "cluster_name=a\udcffb": "UTF-8",
    "ratio=1e999": "expected float",
    "x" * 100_000 + "=1": "no such parameter",
    "\x1b[2J=1": "no such parameter",
}


@pytest.mark.parametrize(("option", "fault"), OPTIONS.items(), ids=range(len(OPTIONS)))
def test_an_absurd_option_is_refused(refused, option, fault):
    text = refused("-p", option)
    assert fault in text and len(text) < 2000 and "\x1b" not in text


def test_the_secret_of_a_profile_is_refused_as_a_parameter(refused, monkeypatch):
    secret = "kept-in-a-file-0123456789abcdef"
    monkeypatch.setenv("CLOUDSTACK_SECRET", secret)
    for name in ("cluster_name", "cluster_size"):
        text = refused("-p", f"{name}=in-{secret}")
        assert name in text and secret not in text
