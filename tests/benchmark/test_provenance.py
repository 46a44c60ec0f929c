"""What stands beside every number."""

from __future__ import annotations

import sys

import pytest

from zifbench.benchmark.provenance import command_line


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["evaluate", "runs/a/model.pth", "--out", "x/y"], "evaluate runs/a/model.pth --out x/y"),
        (["evaluate", "/data/me/model.pth", "--out=/data/x"], "evaluate model.pth --out=x"),
        (["evaluate", "../secret/a b.pth"], "evaluate 'a b.pth'"),
        (["x", "/model.pth", "--data=/data/n=10/x.xyz"], "x model.pth --data=x.xyz"),
        (["x", "--start", "a.xyz,/data/me/b.xyz"], "x --start a.xyz,b.xyz"),
        (["x", "--set", "file=/data/me/x"], "x --set file=x"),
        (["train", "r", "--set", "a.b=1/2"], "train r --set a.b=1/2"),
        (["data", "info", "https://host/s.zip"], "data info https://host/s.zip"),
    ],
)
def test_the_command_can_be_repeated_and_names_no_folder_of_the_machine(
    monkeypatch, words, command
):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/zifbench", *words])
    assert command_line() == f"zifbench {command}"
