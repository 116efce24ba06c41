"""What a layer is made with stays: kernels take sizes on trust."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastgate as fg

LAYERS = {make.__name__: make for make in (fg.LSTM, fg.Linear, fg.Embedding)}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("copied", [lambda x: x, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_options_cannot_be_changed(name, copied):
    layer = copied(LAYERS[name](3, 4, seed=0))
    for option in vars(layer).copy():
        if not option.startswith("_") and option != "params":
            with pytest.raises(AttributeError, match=rf"^{name}\.{option}: is fixed when the layer is made"):
                setattr(layer, option, 4000)
    with pytest.raises(AttributeError, match=rf"^{name}\.params: cannot be replaced"):
        layer.params = LAYERS[name](5, 6).params
    layer.comment = "anything else can be added"
    layer.comment += ", and changed"


def test_threads_that_write_different_parameters_lose_nothing():
    layer = fg.LSTM(3, 40, seed=0)
    threads = [
        threading.Thread(
            target=lambda name=name: [layer.params.update({name: layer.params[name] * 0 + n}) for n in range(50)]
        )
        for name in layer.params
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(layer.params.flat, 49)
    assert layer.params.version == 1 + 50 * len(threads)


def test_a_write_inside_edit_by_other_means_is_an_error():
    layer = fg.RNN(2, 3, seed=0)

    def write_twice():
        with layer.params.edit() as arrays:
            arrays["weight_hh_l0"] *= 2
            layer.params["bias_ih_l0"] = np.ones(3)

    with pytest.raises(RuntimeError, match=r"written by other means inside edit\(\)"):
        write_twice()
    np.testing.assert_array_equal(layer.params["bias_ih_l0"], 1)
