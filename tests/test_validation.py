"""Data to measure on after every epoch: what they may be, and that mistakes in them show before the first step."""

import numpy as np
import pytest
from training_tools import arrays, classifier, generated, tagger

import fastgate as fg

X, Y = arrays()
OPTIONS = {"loss": "mse", "optimizer": fg.Adam(), "batch_size": 4}


def measured(validation, **options):
    own = OPTIONS | {"optimizer": fg.Adam()} | options
    return classifier().fit(X, Y, **own, validation=validation)["val_loss"]


def test_a_list_is_as_a_tuple():
    assert measured([X[:4], Y[:4]]) == measured((X[:4], Y[:4]))
    weights = np.arange(4.0)
    assert measured([X[:4], Y[:4], None, weights]) == measured((X[:4], Y[:4], None, weights))


def test_what_gives_batches_gives_them_after_every_epoch():
    batches = [(X[:2], Y[:2]), (X[2:4], Y[2:4])]
    whole = measured((X[:4], Y[:4]), epochs=2)
    np.testing.assert_allclose(measured(lambda epoch: iter(batches), epochs=2), whole, rtol=1e-6)
    np.testing.assert_allclose(measured(dict(enumerate(batches)).values(), epochs=2), whole, rtol=1e-6)


@pytest.mark.parametrize(
    ("validation", "kind", "argument", "is_noted"),
    [
        ((X[..., :2], Y), ValueError, "x", True),
        ((X, Y[:-1]), ValueError, "y", True),
        ((X, np.zeros((len(X), 3))), ValueError, "y", True),
        ((X, None), ValueError, "y", True),
        ((X, Y, [1, 2]), ValueError, "lengths", True),
        (lambda epoch: [3], TypeError, "x", True),
        (lambda epoch: [], ValueError, "x", True),
        (iter([(X, Y)]), TypeError, "validation", False),
        (generated(0), TypeError, "validation", False),
        ([X], TypeError, "validation", False),
        ([(X, Y)] * 5, TypeError, "validation", False),
        (1.5, ValueError, "validation", False),
    ],
)
@pytest.mark.parametrize("optimizer", [fg.Adam(), "lbfgs"], ids=["adam", "lbfgs"])
def test_mistakes_show_before_the_first_step(validation, kind, argument, is_noted, optimizer):
    model = classifier()
    before = model.params.version
    with pytest.raises(kind, match=f"^{argument}: ") as caught:
        model.fit(X, Y, **(OPTIONS | {"optimizer": optimizer}), validation=validation)
    assert ("in validation" in getattr(caught.value, "__notes__", [])) == is_noted
    assert model.params.version == before


def test_a_first_batch_that_does_not_count_is_no_mistake():
    assert measured((X, Y, None, np.arange(len(X)) > 5.0))


def test_mistakes_in_x_are_not_taken_for_those_of_its_last_part():
    with pytest.raises(ValueError, match=r"^x: ") as caught:
        classifier().fit(X[..., :2], Y, **OPTIONS, validation=0.2)
    assert caught.value.__notes__ == ["in layer 0 (LSTM)"]


def test_predictions_of_batches_of_unequal_length():
    ids = np.arange(12).reshape(2, 6) % 7
    with pytest.raises(
        TypeError, match=r"^x: .*a list of sequences, got outputs of shapes \(2, 6, 7\) and \(2, 5, 7\)"
    ):
        tagger().predict(iter([ids, ids[:, :5]]))


class Foreign:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_batches_of_another_library_are_batches_of_x():
    model = classifier()
    np.testing.assert_array_equal(model.predict(iter([Foreign(X[:4]), Foreign(X[4:])])), model(X))
