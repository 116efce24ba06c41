"""What is said about what comes from other libraries, or cannot go there."""

from collections.abc import Iterable, Mapping

MOST_NAMES = 12  # in one sentence


def _some(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:MOST_NAMES]) + (", ..." if len(known) > MOST_NAMES else "") or "nothing"


def _modules(modules: Mapping[str, list[str]]) -> str:
    return _some(f"{module!r} ({_some(own)})" if module else _some(own) for module, own in modules.items())


def no_state_dict(name: str, part: str, others: list[str], parts: list[str]) -> ValueError:
    where = f" under the name {part!r}" if part else ""
    got = f"something else: {_some(others)}" if others else "none"
    advice = f"; take one of the parts {_some(map(repr, parts))} by part=" if parts and not part else ""
    return ValueError(f"{name}: expected tensors alone{where}, got {got}{advice}")


def untold_layer(name: str, modules: Mapping[str, list[str]], *, takes_part: bool) -> ValueError:
    general = "give one of several by part=, or a model or layer that fits by into="
    advice = f"; {_without_wrapper(modules) or general}" if takes_part else ""
    return ValueError(
        f"{name}: expected the parameters of an LSTM, GRU, RNN or Linear, got {_modules(modules)}{advice}"
    )


def unsaid_option(option: str, choices: Iterable[object], name: str) -> ValueError:
    expected = " or ".join(map(repr, choices))
    return ValueError(f"{option}: expected {expected}, as {name} does not say it, got None")


def unfit_names(name: str, own: str, is_extra: bool, modules: Mapping[str, list[str]]) -> ValueError:
    problem = f"holds {own!r}, which the layer does not have" if is_extra else f"lacks {own!r}, which the layer has"
    advice = _without_wrapper(modules)
    return ValueError(f"{name}: {problem}; there are {_modules(modules)}{'; ' if advice else ''}{advice}")


def _without_wrapper(modules: Iterable[str]) -> str:
    """What to do where DataParallel has put its name before all others."""
    is_wrapped = all(module.split(".")[0] == "module" for module in modules)
    return "all names begin as those of DataParallel do, which part='module' takes off" if is_wrapped else ""


def no_mapping(name: str, got: object) -> ValueError:
    """Of what was saved instead of a state_dict."""
    shape = getattr(got, "shape", None)
    described = f"a {type(got).__name__}" if shape is None else f"a single tensor of shape {tuple(shape)}"
    return ValueError(f"{name}: expected a state_dict, a mapping from names to tensors, got {described}")


def said_by_module(option: str) -> ValueError:
    return ValueError(f"{option}: expected none beside a module, which says it itself")


def unknown_module(place: str) -> ValueError:
    advice = "give what stands for its class by custom=, or by into= a model that has the same parameters"
    return ValueError(f"{place}: expected a module of torch.nn that fastgate has, and no subclass of one; {advice}")


def pair_for_module(place: str, number: int, following: str) -> ValueError:
    return ValueError(
        f"{place}: expected something that takes the pair (output, state) of the recurrent module {number} behind it,"
        f" got {following}, which PyTorch could not run there; fastgate.exchange.torch_modules.Sequential hands on the"
        " output, and custom= tells what a class of your own takes"
    )


def unknown_layer(place: str, kind: str, library: str) -> TypeError:
    return TypeError(
        f"{place}: expected a layer of fastgate that has an equal in {library}, or a Sequential of such, got {kind}"
    )


# What is said of options without which a layer has the same parameters.
IN_TRAINING = "is a copy without it, which computes the same but for training"
UNMASKED = "is a copy without it, for sequences without padding"
INSTEAD = {"recurrent_dropout": IN_TRAINING, "same_every_step": IN_TRAINING, "mask_zero": UNMASKED}


def not_there(place: str, option: str, usual: object, got: object, library: str) -> ValueError:
    """Of an option of fastgate that the other library does not have."""
    advice = f"; layer.replace({option}={usual!r}) {INSTEAD[option]}" if option in INSTEAD else ""
    return ValueError(f"{place}: expected {option}={usual!r}, as in {library}, got {got!r}{advice}")


def mask_in_onnx(place: str) -> ValueError:
    return ValueError(
        f"{place}: expected mask_zero=False, as no operator of ONNX takes a mask, got True; make a model with"
        " layer.replace(mask_zero=False) in its place and write that: with lengths=True if sequences are padded on the"
        " right, for a graph that takes their lengths"
    )


def without(option: str, other: str) -> ValueError:
    return ValueError(f"{option}: expected none without {other}")


def wrong_arrays(place: str, count: int, where: str, members: Iterable[object], known: Iterable[str]) -> ValueError:
    found = list(members)
    advice = f"; its layers are {_some(map(repr, known))}" if known else ""
    return ValueError(f"{place}: expected {count} arrays in {where}, got {len(found)}{advice}")


def unfit_layer(name: str, expected: Iterable[str]) -> ValueError:
    return ValueError(f"weights: hold those of a layer {name!r}: expected {_some(map(repr, expected))} alone")


def unknown_keras_layer(place: str, origin: str) -> ValueError:
    whose = f", of {origin!r}, which is never imported or run" if origin else ""
    advice = "see help('fastgate.exchange.keras')"
    return ValueError(f"{place}: expected a layer of Keras that fastgate has, got another one{whose}; {advice}")


def without_config(name: str) -> ValueError:
    return ValueError(
        f"source: {name!r} is, or has within, a class of your own that does not say of what it is made (get_config):"
        " expected layers of Keras that fastgate has, in a Sequential or functional model"
    )


def no_equal(place: str, option: str, got: object, reason: str = "") -> ValueError:
    """Of an option that has other values here or there."""
    why = f", {reason}" if reason else ""
    return ValueError(f"{place}: {option}={got!r} has no equal{why}")


def weights_alone() -> ValueError:
    return ValueError(
        "holds weights alone, and says nothing of the layers: expected a layer or model for them by into="
    )
