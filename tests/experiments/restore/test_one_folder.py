"""Commands that share a folder: what extends a run goes in, and nothing is overwritten."""

import hashlib
import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from experiments import progress
from experiments.__main__ import main
from experiments.restore.store import parsed_record, read_record
from support.tiny_command import FIVE, RUN, command, record_files, records_by_hash

pytestmark = pytest.mark.usefixtures("tiny")
TWO = f"{RUN} --count 2"


def content(folder):
    """What every file holds."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest() for path in files}


def test_another_command_is_refused_with_what_differs(whole, capsys):
    before = content(whole)
    for words, differs in {
        FIVE + " --sigma 0.1": "sigma 0.05 there, 0.1 here",
        FIVE + " --dtype bfloat16": "dtype none there, bfloat16 here",
        FIVE + " --seed 1": "seed 0 there, 1 here",
        FIVE + " --box 4": "other pixels, or other task options",
        FIVE.replace("--steps 5", "--steps 6"): "steps [[5]",
        FIVE.replace("dps", "daps").replace("--steps 5", "--levels 2"): "solver dps there, daps",
        FIVE.replace("box_inpainting", "hdr"): "task box_inpainting there, hdr here",
        FIVE.replace("none", "state"): "projection none there",
    }.items():
        assert main(command(words, whole)) == 2, words
        said = capsys.readouterr().err
        assert differs in said and said.count("\n") == 1 and "give another --out" in said
    assert content(whole) == before


def test_other_images_of_the_same_names_are_refused(tmp_path, capsys):
    rng, out = np.random.default_rng(0), tmp_path / "out"
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        for name in ("x.png", f"{folder}.png"):
            pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / name)
    assert main(command(RUN, out, "--images", tmp_path / "first" / "x.png")) == 0
    before = content(out)
    for images in ("second/x.png", "second/second.png"):
        assert main(command(RUN, out, "--images", tmp_path / images)) == 2
        assert "image x" in capsys.readouterr().err
    assert content(out) == before
    assert main(command(RUN, out, "--images", tmp_path / "first")) == 0
    assert {record["image"] for record in records_by_hash(out).values()} == {"x", "first"}


def test_more_of_the_same_goes_into_the_folder(tmp_path):
    out, count = tmp_path / "out", 0
    for words in ("", "--samples 2", "--samples 2 --seed 0 1", "--count 1 --samples 2 --seed 0 1"):
        assert main(command(f"{TWO} {words}", out)) == 0
        assert len(record_files(out)) >= count
        count = len(record_files(out))


def test_no_change_of_a_record_ends_in_a_traceback(whole):
    """It is read as it was written, or as damaged: values, types, names and settings."""
    path, rng = record_files(whole)[0], random.Random(0)
    whole_text = path.read_text()
    record = json.loads(whole_text)
    try:
        for value in (None, [], {}, "x", -1, 1e400, True, "../../x.png"):
            for name in record:
                path.write_text(json.dumps(record | {name: value}))
                one = parsed_record(path)
                assert one is None or type(one[name]) in (type(record[name]), type(None), int)
        for _ in range(300):
            text = bytearray(whole_text.encode())
            for _ in range(rng.randint(1, 4)):
                text[rng.randrange(len(text))] = rng.randrange(256)
            path.write_bytes(text)
            read_record(path.with_suffix(".png"), record["hash"])
        settings = record["settings"] | {"sigma": 0.3}
        path.write_text(json.dumps(record | {"settings": settings}))
        assert parsed_record(path) is None
    finally:
        path.write_text(whole_text)


def test_a_log_file_gets_plain_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr("sys.stderr", log)
    with progress.progress_bar(1000) as bar:
        bar.set_description("hdr: compiling")
        for _ in range(1000):
            bar.update(1)
    lines = log.getvalue().splitlines()
    assert len(lines) == 11 and "\r" not in log.getvalue()
    assert "compiling:   0%" in lines[0] and "100% 1000/1000" in lines[-1]
