"""The example of a streaming effect: the same bits in blocks of any size, files of all formats, and what it learns."""

import json
import re
import struct

import numpy as np
import pytest
from differences import assert_close, differences
from numba.core.runtime import _nrt_python, rtsys
from scipy.io import wavfile

import fastgate as fg
from fastgate.examples import _amplifier, _wav, audio_effect
from fastgate.examples._amplifier import Amplifier
from fastgate.examples._wav import FLOAT, PCM, Format, Sound

FORMATS = [Format(PCM, 16), Format(PCM, 24), Format(PCM, 32), Format(FLOAT, 32), Format(FLOAT, 64)]
SAMPLES = np.random.default_rng(0).uniform(-1, 1, (777, 2))


@pytest.fixture(scope="module")
def amplifier():
    return Amplifier(fg.Sequential(fg.LSTM(1, 16, seed=0), fg.Linear(16, 1, seed=1)), gain=0.5, rate=44100)


def played(amplifier, block, channels=slice(None), way=audio_effect.compiled):
    x = SAMPLES[:, channels].astype(np.float32)
    return audio_effect.play(way(amplifier, x.shape[1]), x, block)[0]


def test_blocks_of_any_size_and_channels_have_the_bits_of_the_model(amplifier):
    x = SAMPLES.T[..., None].astype(np.float32)
    expected = np.float32(0.5) * (amplifier.model.predict(x) + x)[..., 0].T
    for block in (1, 100, 777):
        np.testing.assert_array_equal(played(amplifier, block), expected)
    np.testing.assert_array_equal(played(amplifier, 64, slice(1)), expected[:, :1])
    np.testing.assert_array_equal(played(amplifier, 64, way=audio_effect.streamed), expected)


def test_a_block_allocates_nothing(amplifier):
    """But for what Python's arrays take on their way in, however many samples there are."""
    effect, x = audio_effect.compiled(amplifier, 2), SAMPLES[..., None].astype(np.float32)
    y = np.empty_like(x)

    def allocations(block):
        before = rtsys.get_allocation_stats().alloc
        effect(x[:block], y[:block])
        return rtsys.get_allocation_stats().alloc - before

    _nrt_python.memsys_enable_stats()
    try:
        allocations(1)
        assert allocations(700) == allocations(1) > 0
    finally:
        _nrt_python.memsys_disable_stats()


def test_error_to_signal_and_its_gradient():
    rng = np.random.default_rng(0)
    y, target = rng.standard_normal((2, 2, 9))
    for loss in (audio_effect.error_to_signal, audio_effect.offset):
        assert_close(loss(y, target)[1], differences(lambda loss=loss: loss(y, target)[0], y))
        assert loss(target, target)[0] == 0
    assert audio_effect.error_to_signal(0 * target, target)[0] == pytest.approx(1)


def test_learns_saves_and_plays_a_file(output_of, tmp_path):
    source, model, result = (tmp_path / name for name in ("in.wav", "model.json", "out.wav"))
    _wav.write(source, Sound(SAMPLES, 22050, Format(PCM, 24)))
    files = "--input", source, "--output", result
    output = output_of(audio_effect, *files, "--save", model)
    ours, plain = (float(re.search(rf"^  {row} .* (\S+)$", output, re.MULTILINE)[1]) for row in ("LSTM", "without"))
    assert ours < 0.6 * plain
    assert ": the same bits\n" in output
    first, rate, form = _wav.read(result)
    assert (first.shape, rate, form) == (SAMPLES.shape, 22050, Format(PCM, 24))

    assert audio_effect.main([*map(str, files), "--model", str(model)]) == 0
    again = _wav.read(result).samples
    np.testing.assert_allclose(
        again, first, atol=1e-6
    )  # the file has the sum of two biases: roundings, and one of 24 bits


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("form", FORMATS, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_samples_survive_a_file(tmp_path, form, channels):
    """In SciPy's eyes too, whose integers of 24 bits are the upper ones of 32."""
    path, unit = tmp_path / "a.wav", 2.0 ** (form.bits - 1)
    samples = np.random.default_rng(0).uniform(-1, 1, (5, channels))
    samples = np.rint(samples * unit) / unit if form.kind == PCM else samples.astype(f"f{form.bits // 8}").astype(float)
    assert _wav.write(path, Sound(samples, 12345, form)) == 0
    found, rate, again = _wav.read(path)
    np.testing.assert_array_equal(found, samples)
    assert (rate, again) == (12345, form)
    rate, found = wavfile.read(path)
    scale = 1 if form.kind == FLOAT else 2.0 ** (8 * found.itemsize - 1)
    np.testing.assert_array_equal(found.reshape(5, channels) / scale, samples)
    assert rate == 12345


def test_what_is_too_loud_is_cut_off_and_counted(tmp_path):
    path = tmp_path / "a.wav"
    assert _wav.write(path, Sound(np.array([[1.5], [1.0], [0.0], [-1.0], [-2.0]]), 8000, Format(PCM, 24))) == 3
    top = 1 - 2.0**-23
    np.testing.assert_array_equal(_wav.read(path).samples[:, 0], [top, top, 0, -1, -1])


def test_what_is_too_loud_fits_with_the_gain_that_is_advised(tmp_path, capsys, amplifier):
    model, result = tmp_path / "model.json", tmp_path / "out.wav"
    _amplifier.save(model, amplifier)
    source = tmp_path / "in.wav"
    _wav.write(source, Sound(SAMPLES, 44100, Format()))

    def cut_off(*options):
        assert audio_effect.main([*map(str, ("--model", model, "--input", source, "--output", result)), *options]) == 0
        return re.search(r"too loud .*: --gain (\S+) prevents", capsys.readouterr().out)

    advised = cut_off()[1]
    assert cut_off("--gain", advised) is None
    assert np.abs(_wav.read(result).samples).max() > 0.85


def test_a_description_that_extends_the_usual_one(tmp_path):
    path = tmp_path / "a.wav"
    description = struct.pack("<HHIIHHHHIH", 0xFFFE, 1, 8000, 24000, 3, 24, 22, 24, 4, PCM) + _wav.GUID
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # of an odd size
    chunks += b"fmt " + struct.pack("<I", 40) + description + b"data" + struct.pack("<I", 3) + b"\0\0\xc0\0"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    assert _wav.read(path).samples.tolist() == [[-0.5]]


def content(samples, **changed):
    """A file of 16 bits, of which one number is another."""
    named = {"kind": PCM, "channels": 1, "rate": 8000, "frame": 2, "bits": 16} | changed
    header = struct.pack(
        "<HHIIHH", *(named[name] for name in ("kind", "channels", "rate")), 16000, named["frame"], named["bits"]
    )
    chunks = b"fmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", changed.get("size", len(samples)))
    return b"RIFF" + struct.pack("<I", 4) + b"WAVE" + chunks + samples


WRONG = {
    "cannot read .*: No such file": None,
    "expected a WAV file, got an empty one": b"",
    "expected a WAV file, which begins with RIFF": b"OggS and so on",
    "it has no chunk 'fmt '": b"RIFF\4\0\0\0WAVE",
    "it ends 8 bytes too early": content(b"ab", size=10),
    "got format 1 with 8 bits": content(b"ab", bits=8, frame=1),
    "got format 85 with 16 bits": content(b"ab", kind=85),
    "it has 0 channels": content(b"ab", channels=0),
    "4 bytes for all channels": content(b"ab", frame=4),
    "expected samples of 1 x 2 bytes, got 3 bytes": content(b"abc"),
    "expected samples of 1 x 2 bytes, got 0 bytes": content(b""),
    "expected finite samples": content(struct.pack("<f", np.nan), kind=FLOAT, bits=32, frame=4),
}


@pytest.mark.parametrize("complaint", WRONG)
def test_files_that_are_no_sound(tmp_path, capsys, complaint):
    path = tmp_path / "in.wav"
    if WRONG[complaint] is not None:
        path.write_bytes(WRONG[complaint])
    check_refusal(capsys, ["--input", path, "--output", tmp_path / "out.wav"], complaint)
    assert not (tmp_path / "out.wav").exists()


def check_refusal(capsys, options, complaint):
    assert audio_effect.main(["--quick", *map(str, options)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    *_, last = printed.err.splitlines()  # what may stand before it is that kernels are compiled
    assert re.fullmatch(rf"python -m fastgate.examples.audio_effect: error: .*{complaint}.*", last), last


def test_files_that_do_not_go_together(tmp_path, capsys, amplifier):
    source, link, model = (tmp_path / name for name in ("in.wav", "link.wav", "model.json"))
    _wav.write(source, Sound(SAMPLES, 8000, Format()))
    link.hardlink_to(source)
    _amplifier.save(model, amplifier)
    before = source.read_bytes()
    check_refusal(capsys, ["--input", source, "--output", link], "expected another file than --input")
    check_refusal(capsys, ["--input", source, "--model", model], "expected 44100 samples a second, .* got 8000")
    for name, value in {"--save": model, "--epochs": 3, "--cell": "gru"}.items():
        check_refusal(capsys, ["--model", model, name, value], f"{name}: expected none beside --model")
    check_refusal(capsys, ["--model", "no.json"], "--model: there is no file 'no.json'")
    check_refusal(capsys, ["--gain", 0.5], "--gain: expected --output")
    check_refusal(capsys, ["--output", tmp_path / "no" / "out.wav"], "no such folder")
    check_refusal(capsys, ["--model", source], "is no JSON")
    check_refusal(capsys, ["--cell", "rnn", "--save", model], "RNN")
    assert source.read_bytes() == before


def test_what_files_of_models_say(tmp_path, capsys, amplifier):
    path, said = tmp_path / "model.json", {"metadata": {"samplerate": "48000"}, "in_skip": 0, "out_gain": -20}
    path.write_text(json.dumps(fg.to_rtneural(amplifier.model) | said))
    assert _amplifier.read(path, True)[1:] == (False, pytest.approx(0.1), 48000)
    rec, lin = (
        {f"{name}.{key}": own.tolist() for key, own in layer.params.items()}
        for name, layer in zip(("rec", "lin"), amplifier.model.layers, strict=True)
    )
    sizes = {"input_size": 1, "hidden_size": 16, "num_layers": 1, "output_size": 1}
    guitar = {"model": "SimpleRNN", "unit_type": "LSTM", "skip": 1, **sizes}
    path.write_text(json.dumps({"model_data": guitar, "state_dict": rec | lin}))
    found = _amplifier.read(path, False)
    assert found[1:] == (True, 1.0, None)
    np.testing.assert_array_equal(found.model.params.flat, amplifier.model.params.flat)

    wide = fg.Sequential(fg.LSTM(2, 3, seed=0), fg.Linear(3, 1, seed=0))
    fg.to_rtneural(wide, path)
    check_refusal(capsys, ["--model", path], "expected a model of one input")
