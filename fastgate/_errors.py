"""Every sentence that fastgate says about a wrong argument: which one, what was expected, what came."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

Shapes = Mapping[str, tuple[int, ...]]
LONGEST = 500  # characters of what a file says about itself


def wrong_type(name: str, expected: str, got: object) -> TypeError:
    return TypeError(f"{name}: expected {expected}, got {got}")


def wrong_shape(name: str, expected: str, got: tuple[int, ...]) -> ValueError:
    return ValueError(f"{name}: expected shape {expected}, got {got}")


def wrong_value(name: str, expected: str, got: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {got!r}")


def unknown_name(name: str, expected: str, got: str, known: Iterable[str]) -> ValueError:
    """Of a string that should be one of the known ones."""
    return ValueError(f"{name}: expected {expected}, got {got!r}{did_you_mean(got, known)}")


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """The known name that is most like it, however it is written; so are Keras' names of losses."""
    plain = {_letters(name): name for name in known}
    found = get_close_matches(_letters(str(got)), plain, 1, 0.8)
    return f"; did you mean {plain[found[0]]!r}?" if found else ""


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower())).removeprefix("sparse").removeprefix("categorical")


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


def mask_for_lengths() -> TypeError:
    return TypeError(
        "lengths: expected integers, got a mask: give it by mask= to a call; in fit, predict and evaluate put"
        " fg.Masking() or fg.Embedding(..., mask_zero=True) in the model, or give mask.sum(axis=1) if it is True from"
        " each sequence's beginning on"
    )


def ids_for_features(got: tuple[int, ...]) -> TypeError:
    return TypeError(
        f"x: expected features, (batch, time, features), got integers of shape {got}; if they are ids, 0 of them"
        " padding, fg.Embedding(..., mask_zero=True) says so; if features, x.astype('float32')"
    )


def carry_of_reset_after() -> ValueError:
    return ValueError("reset_carry: expected reset_after=False with it (it takes r * h for h throughout), got True")


def wrong_gates(names: Iterable[str], got: Iterable[str]) -> ValueError:
    return ValueError(f"gates: expected each of {', '.join(names)} once, got {', '.join(got) or 'none'}")


def fixed_option(layer: str, name: str, is_option: bool) -> AttributeError:
    if name == "params":
        return AttributeError(
            f"{layer}.params: cannot be replaced; write into it, as in params.flat = other.params.flat"
        )
    advice = f"; layer.replace({name}=...) makes another one, with these parameters if they fit" if is_option else ""
    return AttributeError(f"{layer}.{name}: is fixed when the layer is made{advice}")


def no_such_option(layer: str, name: str, known: Iterable[str]) -> TypeError:
    return TypeError(f"replace: expected options of {layer}, {', '.join(known) or 'which has none'}, got {name!r}")


def other_shapes(layer: str, options: Mapping[str, object], own: Shapes, new: Shapes) -> ValueError:
    """Of a layer whose parameters cannot be copied; the options are those that it should get."""
    changed = ", ".join(f"{name}={value!r}" for name, value in options.items())
    name = next(name for name in {**own, **new} if own.get(name) != new.get(name))
    got = f"{name} of shape {new[name]}" if name in new else f"no {name}"
    had = f"of shape {own[name]} in this {layer}" if name in own else f"which this {layer} does not have"
    return ValueError(f"replace: {changed}: expected the same parameters, as they are copied, got {got}, {had}")


def quantized_options(layer: object) -> TypeError:
    return TypeError(f"replace: {layer} has no options of its own; quantize what replace makes of its original")


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


def no_direction() -> ValueError:
    return ValueError("jvp: give dx, dstate or dparams, one direction at least")


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


def no_device(device: str, missing: str) -> RuntimeError:
    return RuntimeError(
        f"device={device!r} needs an NVIDIA GPU with its driver, and the extra: pip install fastgate[cuda]; found:"
        f" {missing}; NUMBA_ENABLE_CUDASIM=1 simulates one, slowly"
    )


def not_on_device(what: str, device: str) -> ValueError:
    return ValueError(f"{what}: expected a layer on the CPU, as this is not computed on {device!r}; take .to('cpu')")


def shared_output(other: str) -> ValueError:
    return ValueError(f"out: expected memory of its own, got an array that shares memory with {other}")


def no_single_step(call: str = "step", place: str = "a bidirectional layer") -> ValueError:
    return ValueError(f"{call}: {place} needs the whole sequence; it cannot run step by step")


def not_embeddable(layer: object, reason: str, call: str = "jit") -> ValueError:
    return ValueError(f"{call}: {layer} cannot be stepped inside compiled loops, because of {reason}")


def not_quantizable(name: str, weights: str) -> ValueError:
    return ValueError(f"quantized: params[{name!r}] holds values that are not finite, or would not be in {weights}")


def inference_only(method: str, layer: object) -> TypeError:
    return TypeError(f"{method}: {layer} is for inference only; train the layer that it was made from")


def fixed_params(layer: object) -> TypeError:
    return TypeError(f"params: those of {layer} cannot be written; write into the layer that it was made from")


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    return ImportError(f"{package} is needed {purpose}: pip install {package} (or fastgate with the extra '{extra}')")


def no_mpi(problem: object) -> RuntimeError:
    return RuntimeError(
        f"distributed: mpi4py finds no MPI ({problem}); install one, as with apt-get install openmpi-bin"
    )


def written_by_flat(name: str) -> TypeError:
    return TypeError(f"params[{name!r}]: of many sequences or members on a GPU it is a copy; write into flat")


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
        f" Activation({activation!r}); leave it out, as fg.Sequential(*model.layers[:-1]) does, which shares all"
        " parameters, and apply it to what predict gives if you want probabilities"
    )


def quantized_config(layer: object) -> TypeError:
    return TypeError(f"config: {layer} has none; save the layer that it was made from, and quantize what is loaded")


def foreign_pickle(kind: str, missing: Iterable[str]) -> ValueError:
    advice = "pickles are for one release; read it there, and take it over by fastgate.save and fastgate.load"
    return ValueError(f"pickle of {kind}: expected one of this release, got one without {', '.join(missing)}; {advice}")


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


def no_folder(path: object, name: str = "path") -> OSError:
    return FileNotFoundError(f"{name}: there is no folder {str(path)!r} to write into")


def not_writable(folder: object, error: OSError, name: str = "path") -> OSError:
    kind = PermissionError if isinstance(error, PermissionError) else OSError
    return kind(f"{name}: the folder {str(folder)!r} cannot be written: {error.strerror or error}")


def a_folder(path: object) -> OSError:
    return IsADirectoryError(f"path: {str(path)!r} is a folder, not a file")


def no_ordinary_file(path: object, name: str = "path") -> OSError:
    return OSError(f"{name}: {str(path)!r} is no ordinary file")


def no_new_folder(path: object, error: OSError) -> OSError:
    return type(error)(f"folder: {str(path)!r} is no folder and cannot be made one: {error.strerror or error}")


def not_in_c(place: str, reason: str) -> ValueError:
    return ValueError(f"{place}: cannot become a program in C, as {reason}")


def not_an_identifier(name: str, longest: int) -> ValueError:
    expected = f"letters, digits and underscores, at most {longest}, the first of them a letter"
    return ValueError(f"name: expected {expected}, got {name!r}")


def addresses_inside(kind: str) -> TypeError:
    return TypeError(f"{kind}: holds addresses and can be neither copied nor pickled; copy the layer, and make another")
