"""From asv's results to tables, charts and pages; and the name of a machine."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"
SCRIPTS = ["charts", "elsewhere", "history", "machine", "publish", "readme_table"]
ZEN4 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9654 96-Core Processor
"""
XEON = """vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz
"""


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def write_results(folder, machine, commit, microseconds, *, begun=1, environment="env"):
    """One file as asv writes it: fastgate, PyTorch and ONNX Runtime at one shape; NaN was skipped, null failed."""
    ours, torch, onnxruntime = microseconds
    values = [ours * 1e-6, torch * 1e-6, onnxruntime * 1e-6, float("nan"), 2e-6, 6e-6, None, 9e-6]
    parameters = [["'LSTM'", "'GRU'"], ["'1,2,3,4'"], ["'fastgate'", "'torch'", "'onnxruntime'", "'jax'"]]
    benchmarks = "Forward.time_forward", "TrainingStep.time_training_step", "StreamingStep.time_100_steps"
    results = {
        "requirements": dict.fromkeys(("torch", "onnxruntime", "jax", "numba", "numpy"), "1.0"),
        "env_vars": {"FASTGATE_NUM_THREADS": "1"},
        "result_columns": ["result", "params", "version", "started_at"],
        "results": {f"recurrent.{name}": [values, parameters, "1", begun] for name in benchmarks},
    }
    place = folder / "results" / machine
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{commit[:8]}-{environment}.json").write_text(json.dumps(results))
    (place / "machine.json").write_text(json.dumps({"cpu": f"CPU of {machine}"}))


def write_releases(folder, *releases):
    lines = ["version commit", *(f"{version} {commit}" for version, commit in releases)]
    (folder / "releases.txt").write_text("\n".join(lines) + "\n")


def test_releases_are_a_table():
    header, *rows = (FOLDER / "releases.txt").read_text().splitlines()
    assert header == "version commit"
    assert all(len(row.split()) == 2 for row in rows)


def test_the_table_names_the_best_peer(scripts, tmp_path):
    write_releases(tmp_path, ("1.0", "a" * 40))
    write_results(tmp_path, "zen", "a" * 40, (10, 40, 25))
    table = scripts("readme_table").speed_section(tmp_path)
    assert "| 1 2 3 4 | 10.0 µs | 25.0 µs ONNX Runtime | 2.50 | 2.0 µs | 6.0 µs PyTorch | 3.00 |" in table
    assert "| 1 2 3 4 | 0.1 µs | 0.2 µs ONNX Runtime | 2.50 |" in table, "a hundred steps are divided by a hundred"
    assert "| *geometric mean* | | | 2.50 | | | 3.00 |" in table
    assert "fastgate 1.0 beside the fastest of PyTorch, ONNX Runtime and JAX" in table
    assert "CPU of zen" in table


def test_no_results_no_table(scripts, tmp_path):
    write_releases(tmp_path, ("1.0", "a" * 40))
    assert scripts("readme_table").speed_section(tmp_path) is None


def test_machines_and_environments_are_never_joined(scripts, tmp_path):
    write_releases(tmp_path, ("1.0", "a" * 40), ("2.0", "b" * 40), ("3.0", "c" * 40))
    write_results(tmp_path, "old", "a" * 40, (10, 10, 10), begun=9)
    write_results(tmp_path, "old", "b" * 40, (10, 10, 10), begun=1)
    write_results(tmp_path, "new", "a" * 40, (10, 20, 30), begun=2, environment="first")
    write_results(tmp_path, "new", "a" * 40, (10, 50, 60), begun=3, environment="second")
    write_results(tmp_path, "new", "b" * 40, (10, 70, 80), begun=4)
    releases = scripts("history").measured(tmp_path)
    assert [release.version for release in releases] == ["1.0", "2.0"]
    assert {release.machine["cpu"] for release in releases} == {"CPU of new"}
    seconds = [release.rows("recurrent.Forward.time_forward")["LSTM", "1,2,3,4"] for release in releases]
    assert [each["torch"] for each in seconds] == pytest.approx([50e-6, 70e-6])


def test_charts_are_drawn_from_results_alone(scripts, tmp_path):
    pytest.importorskip("matplotlib")
    write_releases(tmp_path, ("1.0", "a" * 40), ("2.0", "b" * 40))
    for commit in "ab":
        write_results(tmp_path, "zen", commit * 40, (10, 40, 25))
    charts = scripts("charts")
    charts.draw(tmp_path)
    first = {path.name: path.read_bytes() for path in (tmp_path / "charts").iterdir()}
    assert set(first) == {f"{name}.svg" for name in scripts("readme_table").CHARTS}
    charts.draw(tmp_path)
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "charts").iterdir()}


def test_pages_ask_for_nothing_remote(scripts):
    publish = scripts("publish")
    asv = pytest.importorskip("asv")
    page = publish.localise((Path(asv.__file__).parent / "www" / "index.html").read_text("utf-8"))
    assert not publish.REMOTE.search(page)
    assert 'href="charts.html"' in page
    assert page.index("jquery-3.3.1.min.js") < page.index("data.js") < page.index("jquery.flot")
    with pytest.raises(SystemExit, match=r"other\.js"):
        publish.localise('<script src="https://example.org/other.js"></script>')


def test_data_of_pages_are_a_script(scripts, tmp_path):
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "a b.json").write_text('[1, "</script>"]')
    script = scripts("publish").data_script(tmp_path)
    data = json.JSONDecoder().raw_decode(script.removeprefix("var ASV_DATA = "))[0]
    assert data["graphs/a b.json"] == '[1, "</script>"]'


def test_a_machine_is_named_after_its_cpu(scripts):
    kind = scripts("machine").kind
    assert kind(ZEN4) == ("epyc-zen4", "AMD EPYC (Zen 4, AVX-512)")
    assert kind(ZEN4.replace(": 25", ": 26").replace("17", "2"))[0] == "epyc-zen5"
    assert kind(ZEN4.replace("EPYC", "Ryzen"))[0] != "epyc-zen4"
    assert kind(XEON)[0] == "intel-xeon-platinum-8488c-6-143"
    assert kind(XEON.replace("2.40", "3.10"))[0] == kind(XEON)[0], "the clock is no part of it"
    assert kind("")[0]


def test_what_is_no_history_is_written_elsewhere(scripts, tmp_path):
    config = json.loads(scripts("elsewhere").write(tmp_path / "there").read_text())
    assert Path(config["results_dir"]).parent == tmp_path / "there"
    assert Path(config["benchmark_dir"]) == FOLDER.resolve() / "benchmarks"
    assert Path(config["repo"]) == FOLDER.resolve().parent
