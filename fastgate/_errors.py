"""Every sentence that fastgate says about a wrong argument: which one, what was expected, what came."""

from collections.abc import Iterable

LONGEST = 500  # characters of what a file says about itself


def wrong_type(name: str, expected: str, got: object) -> TypeError:
    return TypeError(f"{name}: expected {expected}, got {got}")


def wrong_shape(name: str, expected: str, got: tuple[int, ...]) -> ValueError:
    return ValueError(f"{name}: expected shape {expected}, got {got}")


def wrong_value(name: str, expected: str, got: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {got!r}")


def unwanted(name: str, expected: str, got: object) -> ValueError:
    """Of something given where nothing should be: what it is, without its content."""
    shape = getattr(got, "shape", None)
    described = f"a {type(got).__name__}" if shape is None else f"an array of shape {tuple(shape)}"
    return ValueError(f"{name}: expected {expected}, got {described}")


def wrong_range(name: str, expected: str, least: object, largest: object) -> ValueError:
    """Of an array with values between these."""
    return ValueError(f"{name}: expected {expected}, got {least}{'' if least == largest else f' to {largest}'}")


def overflow(name: str, dtype: object) -> ValueError:
    return ValueError(f"{name}: holds finite values that would become infinite in {dtype}, the layer's dtype")


def carry_of_reset_after() -> ValueError:
    return ValueError("reset_carry: expected reset_after=False with it (it takes r * h for h throughout), got True")


def wrong_gates(names: Iterable[str], got: Iterable[str]) -> ValueError:
    return ValueError(f"gates: expected each of {', '.join(names)} once, got {', '.join(got) or 'none'}")


def fixed_option(layer: str, name: str) -> AttributeError:
    if name == "params":
        return AttributeError(
            f"{layer}.params: cannot be replaced; write into it, as in params.flat = other.params.flat"
        )
    return AttributeError(f"{layer}.{name}: is fixed when the layer is made; make another layer")


def trained_another(optimizer: str, steps: int) -> ValueError:
    return ValueError(
        f"optimizer: this {optimizer} has trained another model ({steps} steps) and keeps its moments and its place in"
        f" a schedule; make a new one for each model, as fg.{optimizer}(...)"
    )


def lost_write() -> RuntimeError:
    return RuntimeError(
        "params: were written by other means inside edit(); neither write to them there nor nest edit()"
    )


def no_such_parameter(name: object, names: Iterable[str]) -> KeyError:
    return KeyError(f"params: no parameter {name!r}; there are {', '.join(names)}")


def foreign_tape(layer: object) -> ValueError:
    return ValueError(f"tape: was made by another layer than this {layer}")


def stale_tape() -> ValueError:
    return ValueError("tape: the parameters have been written since forward made it; run forward again")


def nothing_to_propagate() -> ValueError:
    return ValueError("backward: expected dy, dstate or both, got neither")


def misplaced(place: str, expected: str, got: object) -> ValueError:
    return ValueError(f"{place}: expected {expected}, got {got}")


def whole_sequences(place: str, call: str = "step") -> ValueError:
    return ValueError(f"{call}: {place} needs whole sequences; it cannot run step by step")


def key_needed(dropout: float, recurrent_dropout: float = 0.0) -> ValueError:
    reason = f"recurrent_dropout is {recurrent_dropout}" if recurrent_dropout else f"dropout is {dropout}"
    return ValueError(
        f"rng_key: expected an integer (the number of the training step, say), because {reason} and the"
        " same key draws the same mask; got None"
    )


def shared_output(other: str) -> ValueError:
    return ValueError(f"out: expected memory of its own, got an array that shares memory with {other}")


def no_single_step(call: str = "step", place: str = "a bidirectional layer") -> ValueError:
    return ValueError(f"{call}: {place} needs the whole sequence; it cannot run step by step")


def not_quantizable(name: str, weights: str) -> ValueError:
    return ValueError(f"quantized: params[{name!r}] holds values that are not finite, or would not be in {weights}")


def inference_only(method: str, layer: object) -> TypeError:
    return TypeError(f"{method}: {layer} is for inference only; train the layer that it was made from")


def fixed_params(layer: object) -> TypeError:
    return TypeError(f"params: those of {layer} cannot be written; write into the layer that it was made from")


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    return ImportError(f"{package} is needed {purpose}: pip install {package} (or fastgate with the extra '{extra}')")


def nothing_counts(names: Iterable[str]) -> ValueError:
    return ValueError(f"{', '.join(names)}: expected at least one entry that counts, got none")


def option_not_kept(kind: str, name: str) -> TypeError:
    return TypeError(
        f"config: {kind} takes {name!r} and has no attribute of that name; keep it (self.{name} = {name}), or give"
        f" {kind} a method config()"
    )


def no_logits(name: str, function: str, activation: str) -> ValueError:
    return ValueError(
        f"{name}: expected a model that ends with logits for {function}, got one that ends with"
        f" Activation({activation!r}); leave it out, and apply it to what predict gives if you want probabilities"
    )


def quantized_config(layer: object) -> TypeError:
    return TypeError(f"config: {layer} has none; save the layer that it was made from, and quantize what is loaded")


def no_configuration(name: str, kind: str) -> TypeError:
    return TypeError(f"config: {name} holds a {kind}, which has no method config() that says how to make it again")


def unknown_class(name: str, known: Iterable[str]) -> ValueError:
    return ValueError(f"config: there is no class {name!r} among {', '.join(known)}; give others by custom=")


def wrong_options(name: str, problem: object) -> ValueError:
    return ValueError(f"config: {name} does not take these options: {problem}")


def beyond_the_file() -> ValueError:
    return ValueError("its configuration asks for more parameters than its tensors hold")


def no_json(problem: object) -> ValueError:
    return ValueError(f"config: cannot be written as JSON: {problem}")


def bad_file(path: object, problem: object) -> ValueError:
    text = str(problem)
    return ValueError(f"path: {str(path)!r} {text if len(text) <= LONGEST else text[:LONGEST] + '...'}")


def too_long_description(length: int, longest: int) -> ValueError:
    return ValueError(
        f"layer: its configuration and names take {length} bytes in a file, of which {longest} are allowed"
    )


def no_file(path: object) -> OSError:
    return FileNotFoundError(f"path: there is no file {str(path)!r}")


def no_folder(path: object) -> OSError:
    return FileNotFoundError(f"path: there is no folder {str(path)!r} to write into")


def a_folder(path: object) -> OSError:
    return IsADirectoryError(f"path: {str(path)!r} is a folder, not a file")


def no_ordinary_file(path: object) -> OSError:
    return OSError(f"path: {str(path)!r} is no ordinary file")
