"""a5: eight planted mistakes, to be mended and to be named."""

from ..tasks import Assignment, Task
from . import a1_layers, a2_td_lambda, a3_rtu, a4_actor_critic

CONSTANTS = {
    "leak": a1_layers.CONSTANTS["leak"],
    "temperature": a4_actor_critic.CONSTANTS["temperature"],
}
KINDS = {
    "a": "a factor is missing",
    "b": "a term is missing: something is held still that moves",
    "c": "a conjugate is missing",
    "d": "an array is overwritten before it is used for the last time",
    "e": "a mean is taken where a sum belongs, or a sum where a mean belongs",
    "f": "the right question, asked of the wrong array",
    "g": "two cases are treated as one",
    "h": "the constraint that probabilities sum to 1 is forgotten",
    "i": "the sign is wrong",
    "j": "it is transposed",
}
# what is wrong, which judge, and where it belongs in the library (None: it is a part of a method)
BUGS = {
    "linear_vjp": ("e", a1_layers.linear_vjp, "layers.linear_vjp"),
    "layer_norm_vjp": ("b", a1_layers.layer_norm_vjp, "layers.layer_norm_vjp"),
    "leaky_relu_vjp": ("f", a1_layers.leaky_relu_vjp, "layers.leaky_relu_vjp"),
    "immediate_jacobian": ("a", a3_rtu.immediate_jacobian, "cells.rtu.immediate_jacobian"),
    "advance": ("d", a3_rtu.advance, "cells.rtu.advance"),
    "vjp": ("c", a3_rtu.vjp, "cells.rtu.vjp"),
    "td_error": ("g", a2_td_lambda.td_error, None),
    "entropy_gradient": (
        "h",
        a4_actor_critic.entropy_gradient,
        "policies.Categorical.entropy_gradient",
    ),
}
# the same derivatives by another way
BESIDE = tuple(f"cells.rtu.{name}" for name in ("unroll_vjp", "sensitivity_vjp"))
BESIDE += "layers.softmax_vjp", "layers.log_softmax_vjp"
DEFAULTS = {"eps": float(a1_layers.CONSTANTS["eps"][0]), "power": 0.5}


def mended(judged):
    """Judge a mended function as the assignment that it comes from does."""

    def judge_it(ask, rng, c):
        return judged(ask, rng, DEFAULTS | c)

    return judge_it


def letter(ask, name):
    """Read the letter given for a function, or say why it is none."""
    given = ask("entry", "diagnosis", name)
    if given not in tuple(KINDS):
        return None, [f'diagnosis["{name}"] must be one letter of {", ".join(KINDS)}']
    return given, []


def named(name, kind):
    """Judge the kind given for a mistake."""

    def judge_it(ask, rng, c):
        given, lines = letter(ask, name)
        if not lines and given != c["letters"][kind]:
            lines = [f"{name}: another kind; what differs between the code found and the mended?"]
        return lines

    return judge_it


def given(name):
    """Look, before handing in, only whether a kind is given."""

    def judge_it(ask, rng, c):
        return letter(ask, name)[1]

    return judge_it


def tasks():
    """List two tasks a mistake."""
    for name, (kind, judged, _) in BUGS.items():
        yield Task(f"mend_{name}", 1, mended(judged))
        yield Task(f"name_{name}", 1, named(name, kind), shown=given(name))
    yield Task("explanation", 4, None)


SHEET = Assignment(
    "a5",
    "a5_bug_hunt",
    "Bug hunt",
    tuple(tasks()),
    (*(place for _, _, place in BUGS.values() if place), *BESIDE),
    CONSTANTS,
    letters="".join(KINDS),
)
