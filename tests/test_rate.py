"""`prepare --bench`, and the warning about trainings that wait."""

from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.data.decoders import installed
from pipeline.data.rate import rates
from pipeline.data.reader import Reading
from pipeline.job import Home
from pipeline.placement import Backend
from pipeline.terminal import starved


def test_every_decoder_and_the_cache_are_measured(fractal: Home) -> None:
    measured = list(rates(Path(fractal.folder), Reading(), 0.0, 64, 2, 0.05))
    assert [r.backend for r in measured if not r.cached] == [b for b in Backend if installed(b)]
    (cached,) = [r for r in measured if r.cached]
    assert cached.per_core > max(r.per_core for r in measured if not r.cached)
    assert all(r.wall > 0 and r.first > 0 for r in measured)


def test_the_table_names_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.bench.SECONDS", 0.05)
    small = ["data=fractal", "data.fractal.classes=4", "data.fractal.per_class=40", "data.fractal.image_size=16"]
    assert main(["prepare", *small, "--bench", "arch=vit_nano", "device=h100"]) == 0
    printed = capsys.readouterr().out
    assert "Reading fractal" in printed and "decoded cache" in printed and "Cores for one h100" in printed
    assert main(["prepare", *small, "--bench"]) == 0
    assert "Add arch=... and device=..." in capsys.readouterr().out


def test_waiting_for_data_is_worth_a_warning_above_a_twentieth() -> None:
    assert starved("vit", 0.05) == ""
    assert "vit spent 12% of its training waiting for data" in starved("vit", 0.12)
