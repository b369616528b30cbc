"""What students get wrong in a2 to a6: each costs its own tasks and gets a line that helps."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from course_help import cells_of, judge_cells, why_no_isolation

from streamrl_np import course
from streamrl_np.cells import mingru
from streamrl_np.course import grade, notebook, sources
from streamrl_np.course.assignments import ASSIGNMENTS, a4_actor_critic, a6_project

pytestmark = pytest.mark.slow
STUB = "raise NotImplementedError()"

# (cell, what is in the solution, what a student writes), tasks that are lost, a line of feedback
A2 = {
    "the_whole_reward": (
        ("true_values", "-0.5, 0.5", "-1, 1"),
        "true_values",
        "the step out is taken half of the times",
    ),
    "no_discount": (
        ("true_values", "19, 0.95", "19, 1.0"),
        "true_values",
        "the discount is missing",
    ),
    "another_walk": (
        ("true_values", "19, 0.95", "21, 0.95"),
        "true_values",
        "true_values() has shape (21,), (19,) is wanted",
    ),
    "merged_flags": (
        ("td_error", "(not terminated)", "(not (terminated or truncated))"),
        "td_error td_lambda",
        "td_error with terminated = False, truncated = True is",
    ),
    "tilde": (("td_error", "(not terminated)", "(~terminated)"), "td_error", "write `not`"),
    "sign_of_the_error": (
        ("td_error", "reward + gamma * (not terminated) * v_next - v", "v - reward - gamma*v_next"),
        "td_error td_lambda",
        "truncated = False: these are the numbers of a known mistake: the sign",
    ),
    "a_new_trace": (
        ("accumulate", "z *= decay\n    z += gradient", "z = decay * z + gradient\n    return z"),
        "accumulate td_lambda agent",
        "accumulate leaves z as it was: change it in place",
    ),
    "no_decay": (
        ("accumulate", "z *= decay", "pass"),
        "accumulate td_lambda agent",
        "z does not decay",
    ),
    "another_norm": (
        ("obgd_step", "np.abs(z).sum()", "np.linalg.norm(z)"),
        "obgd_step td_lambda agent",
        "‖z‖₁ is the sum of |zᵢ|, not √Σ zᵢ²",
    ),
    "downhill": (
        ("obgd_step", "w += step", "w -= step"),
        "obgd_step td_lambda agent",
        "this goes down where it must go up",
    ),
    "nothing_returned": (
        ("obgd_step", "    return step", ""),
        "obgd_step",
        "the step size it returns is None: is a `return` missing?",
    ),
    "no_new_start": (
        ("td_lambda", "z[:] = 0", "pass"),
        "td_lambda",
        "the episode has ended: the trace starts again from zero",
    ),
    "new_start_after_ends_only": (
        ("td_lambda", "if ended or cut:", "if ended:"),
        "td_lambda",
        "a truncation ends the episode too",
    ),
    "trace_without_lambda": (
        ("td_lambda", "gamma * lam", "gamma"),
        "td_lambda",
        "the trace decays by γλ; this is γ",
    ),
    "changes_the_weights_given": (
        ("td_lambda", "w.copy()", "w"),
        "td_lambda",
        "td_lambda changes its argument w in place",
    ),
    "half_of_it": (
        (("obgd_step", None, STUB), ("td_lambda", None, STUB)),
        "obgd_step td_lambda agent",
        "there is no obgd_step",
    ),
}
A3 = {
    "no_root": (
        ("gates", " ** 0.5", ""),
        "gates network",
        "the exponent of 1 − |λ|² is missing",
    ),
    "a_plain_tuple": (
        ("gates", "rtu.Gates(nu", "(nu"),
        "gates network",
        "gates must return rtu.Gates(nu, theta, lam, gamma), a tuple with names",
    ),
    "the_published_slip": (
        ("immediate_jacobian", "1j * theta * lam", "1j * lam"),
        "immediate_jacobian network",
        "a factor θ is missing",
    ),
    "forgotten_exponent": (
        ("immediate_jacobian", "0.5 * (1 - lam2)", "(1 - lam2)"),
        "immediate_jacobian network",
        "in ∂γ/∂ν the exponent of 1 − |λ|² is missing",
    ),
    "one_term_is_wrong": (
        ("immediate_jacobian", "* 2 * nu * lam2", "* 2 * nu * lam2**2"),
        "immediate_jacobian network",
        "the part with h_prev is right, the part with Bx is not",
    ),
    "real_parts_only": (
        (
            "immediate_jacobian",
            "return dlam_dnu_log * h_prev + ",
            "return dlam_dnu_log.real * h_prev + ",
        ),
        "immediate_jacobian network",
        "the part with Bx is right, the part with h_prev is not",
    ),
    "old_h_is_gone": (
        ("advance", "state.h.copy()", "state.h"),
        "advance rtrl network",
        "J is that of the new h: it wants the old one",
    ),
    "nothing_is_carried": (
        ("advance", "carry[:, None] * state.S_B + ", ""),
        "advance rtrl network",
        "S_B: these are the numbers of a known mistake: λ S is left out",
    ),
    "one_mode_for_two": (
        ("advance", ' if mode == "rtrl" else np.zeros_like(g.lam)', ""),
        "advance",
        "λ S belongs to mode rtrl alone",
    ),
    "frozen_is_not_zero": (
        ("advance", "    return", '    if mode == "frozen":\n        state.S_B[:] = 0\n    return'),
        "advance",
        "the sensitivities must stay as they are",
    ),
    "transposed_outer_product": (
        ("advance", "g.gamma[:, None] * x", "x[:, None] * g.gamma"),
        "advance rtrl network",
        "S_B",
    ),
    "no_conjugate": (
        ("vjp", "state.S_B.conj()", "state.S_B"),
        "vjp rtrl network",
        "a conjugate of S_B is missing",
    ),
    "adds_to_the_gradient": (
        ("vjp", "grad.nu_log[:] =", "grad.nu_log[:] +="),
        "vjp rtrl",
        "it is added to what was there: write with =, not +=",
    ),
    "no_gradient_of_x": (
        ("vjp", "    return (", "    ("),
        "vjp network",
        "vjp: ∂L/∂x is None: is a `return` missing?",
    ),
    "lambda_backwards": (
        ("bptt", "g.lam.conj() * G", "g.lam * G"),
        "bptt",
        "λ carries G where its conjugate is wanted",
    ),
    "never_zero": (
        ("bptt", "grad.flat[:] = 0", "pass"),
        "bptt",
        "start from zero, grad.flat[:] = 0",
    ),
    "no_bptt": (("bptt", None, STUB), "bptt", "there is no bptt"),
}
A4 = {
    "down_not_up": (
        ("log_prob_gradient", "return g", "return -g"),
        "log_prob_gradient remembers",
        "π − one-hot(a) goes down, not up",
    ),
    "of_the_probability": (
        ("log_prob_gradient", "return g", "return layers.softmax(logits)[action] * g"),
        "log_prob_gradient remembers",
        "this is the derivative of π(a), not of log π(a)",
    ),
    "free_probabilities": (
        ("entropy_gradient", "- pi @ log_pi", "+ 1"),
        "entropy_gradient remembers",
        "π is treated as free, but it sums to 1",
    ),
    "entropy_not_its_gradient": (
        ("entropy_gradient", "return (-pi * (log_pi - pi @ log_pi)", "return (-(pi @ log_pi)"),
        "entropy_gradient remembers",
        "entropy_gradient has shape (), (",
    ),
    "merged_flags": (
        ("update", "(not terminated)", "(not (terminated or truncated))"),
        "update remembers",
        "only termination makes v(s′) count 0; truncation does not",
    ),
    "no_end": (
        ("update", "gamma * (not terminated)", "gamma"),
        "update remembers",
        "after termination v(s′) must count 0",
    ),
    "looks_ahead_by_going_on": (
        (
            "update",
            "agent.critic.peek(next_observation)",
            "agent.critic.forward(next_observation)[0]",
        ),
        "update remembers",
        "the look-ahead moves the critic on: peek at s′",
    ),
    "entropy_without_sign": (
        ("update", "tau * float(np.sign(delta))", "tau"),
        "update remembers",
        "the weight of the entropy bonus is τ sign(δ)",
    ),
    "no_entropy": (
        ("update", "tau * float(np.sign(delta))", "0.0"),
        "update remembers",
        "the entropy bonus is missing",
    ),
    "own_derivative": (
        (
            "update",
            "agent.policy.gradient(logits, action, weight)",
            "log_prob_gradient(logits, action) + weight * entropy_gradient(logits)",
        ),
        "update remembers",
        "ask agent.policy.gradient for the policy",
    ),
    "no_new_start": (
        ("update", "agent.reset()", "pass"),
        "update remembers",
        "the episode has ended: reset",
    ),
    "a_start_by_half": (
        ("update", "agent.reset()", "agent.z_v.flat[:], agent.z_pi.flat[:] = 0, 0"),
        "update remembers",
        "h and S are not: agent.reset()",
    ),
    "the_other_half": (
        ("update", "agent.reset()", "agent.actor.reset(); agent.critic.reset()"),
        "update remembers",
        "the traces are not: agent.reset()",
    ),
    "only_cut_off": (
        ("update", "terminated or truncated", "truncated"),
        "update remembers",
        "the episode ends with a termination too: reset",
    ),
    "one_network_rests": (
        ("update", "agent.optimizer_v.step(agent.critic.p.flat, agent.z_v.flat, delta)", "pass"),
        "update remembers",
        "the critic does not step",
    ),
    "without_flat": (
        ("update", "agent.z_v.flat, agent.critic.grad.flat", "agent.z_v, agent.critic.grad"),
        "update remembers",
        "update stops with TypeError",
    ),
    "derivatives_alone": (("update", None, STUB), "update remembers", "there is no update"),
}
BUGS = [task.name for task in ASSIGNMENTS["a5"].tasks if task.judge]
MENDS = " ".join(name for name in BUGS if name.startswith("mend_"))
NAMES = " ".join(name for name in BUGS if name.startswith("name_"))
SOLVED_BUGS = [name.removeprefix("mend_") for name in MENDS.split()]
A5 = {
    "nothing_mended": (
        tuple((name, None, None) for name in SOLVED_BUGS),
        MENDS,
        "a mean for a sum?",
    ),
    "nothing_named": (("diagnosis", None, STUB), NAMES, "there is no diagnosis"),
    "a_list": (
        ("diagnosis", "diagnosis = {", "diagnosis = list('ebfadcgh')\nunused = {"),
        NAMES,
        "diagnosis must be a dict, it is a list",
    ),
    "two_exchanged": (
        (("diagnosis", '"e"', '"x"'), ("diagnosis", '"b"', '"e"'), ("diagnosis", '"x"', '"b"')),
        "name_linear_vjp name_layer_norm_vjp",
        "linear_vjp: another kind; what differs between the code found and the mended?",
    ),
    "a_word_for_a_letter": (
        ("diagnosis", '"a"', '"factor"'),
        "name_immediate_jacobian",
        'diagnosis["immediate_jacobian"] must be one letter of a, b, c',
    ),
    "one_not_named": (
        ("diagnosis", '    "vjp": "c",\n', ""),
        "name_vjp",
        'diagnosis has no entry "vjp"',
    ),
    "mended_the_wrong_way": (
        ("td_error", "(not terminated)", "(not truncated)"),
        "mend_td_error",
        "td_error with terminated = True, truncated = False is",
    ),
    "too_many_conjugates": (
        ("vjp", "G[:, None] * state.S_B.conj()", "(G[:, None] * state.S_B).conj()"),
        "mend_vjp",
        "both are conjugated; only S_B is to be",
    ),
    "another_sign": (
        ("layer_norm_vjp", "- y * (g * y)", "+ y * (g * y)"),
        "mend_layer_norm_vjp",
        "the sign of the way through inv_std",
    ),
    "still_the_output": (
        ("leaky_relu_vjp", "x > 0, g, 0.01 * g", "g > 0, g, 0.01 * g"),
        "mend_leaky_relu_vjp",
        "the vjp is not linear in g",
    ),
}
ALL6 = "interface peek gradient memory"
COPIED = Path(mingru.__file__).read_text().replace("from .. import", "from streamrl_np import")
# notebook 9's cell, as one would copy it
BOOK = Path(__file__).parent.parent / "notebooks" / "09_your_own.md"
FROM_THE_BOOK = """
from types import SimpleNamespace
from streamrl_np.layers import sigmoid
""" + re.search(r"def init\(.*?(?=cells.CELLS)", BOOK.read_text(encoding="utf-8"), re.DOTALL)[0]
FROM_THE_BOOK += """
layout, state_layout = leaky.layout, leaky.state_layout
feature_count, retention = leaky.feature_count, leaky.retention
"""
A6 = {
    "features_of_another_class": (
        ("cell", "return PER_UNIT * n\n", "return 2 * PER_UNIT * n\n"),
        ALL6,
        "with 1 a unit it must be",
    ),
    "a_copy_of_mingru": (("cell", None, COPIED), ALL6, "this is the library's mingru"),
    "the_cell_of_the_book": (("cell", None, FROM_THE_BOOK), ALL6, "this is that of chapter 9:"),
    "the_cell_of_the_book_and_a_tanh": (
        ("cell", None, FROM_THE_BOOK.replace("y=state.h.copy()", "y=np.tanh(state.h)")),
        ALL6,
        "this is that of chapter 9 with a tanh behind it",
    ),
    "the_librarys_mingru": (
        ("cell", None, "from streamrl_np.cells.mingru import *"),
        ALL6,
        "is yours to write",
    ),
    "two_features_that_are_one": (
        ("cell", "return Cache(x, np.tanh(state.h))", "return Cache(x, 0 * state.h + state.h[0])"),
        ALL6,
        "y repeats itself",
    ),
    "a_generator_of_its_own": (
        ("cell", "r = np.sqrt(rng.uniform", "r = np.sqrt(np.random.default_rng().uniform"),
        ALL6,
        "the same rng draws other parameters the second time",
    ),
    "no_layout": (
        ("cell", '{"a": (m,), "B": (m, d)}', "[(m,), (m, d)]"),
        ALL6,
        "must return a dict",
    ),
    "half_of_the_digits": (
        ("cell", "np.tanh(state.h))", "np.tanh(state.h).astype('f4'))"),
        "peek gradient",
        "differences of y tell nothing: it jumps with the parameters, or is rounded",
    ),
    "peek_goes_on": (
        (
            "cell",
            "return np.tanh(lam * state.h",
            "advance(p, state, x, 'rtrl')\n    return (lam * state.h",
        ),
        "peek",
        "peek changes the state: it may only look",
    ),
    "sign": (
        ("cell", "(h - lam / take * Bx)", "(lam / take * Bx - h)"),
        "gradient",
        "the sign is flipped",
    ),
    "nothing_is_carried": (
        ("cell", "carry[:, None] * state.S_B + ", ""),
        "gradient",
        "over one it is right: look at what is carried",
    ),
    "tanh_is_left_out": (
        ("cell", "gy * (1 - cache.y**2)", "gy"),
        "gradient",
        "the gradient over 1 step: a",
    ),
    "adds_to_the_gradient": (
        ("cell", "grad.a[:] =", "grad.a[:] +="),
        "gradient",
        "it is added to what was there",
    ),
    "one_mode_for_two": (
        ("cell", ' if mode == "rtrl" else np.zeros_like(lam)', ""),
        "gradient",
        'mode "tbptt1", the gradient of the last step alone',
    ),
    "never_frozen": (
        ("cell", 'if mode != "frozen":', "if True:"),
        "gradient",
        'mode "frozen": from zeros on the gradient must stay zero',
    ),
    "no_gradient_of_x": (
        ("cell", "    return (g *", "    (g *"),
        "gradient",
        "∂L/∂x, which vjp returns, is None",
    ),
    "what_is_lost_not_what_is_kept": (
        ("cell", "return keep(p)[::PER_UNIT]", "return 1 - keep(p)[::PER_UNIT]"),
        "memory",
        "with r_min = 0.5, r_max = 0.95 must lie between them",
    ),
    "no_memory": (
        ("cell", "state.h[:] = lam * h", "state.h[:] = 0 * h"),
        "peek gradient memory",
        "does not depend on the input of step 1: no memory",
    ),
}
CLASSES = {"a2": A2, "a3": A3, "a4": A4, "a5": A5, "a6": A6}


def submission(name, changes):
    """Make a solution with some of its cells changed; the tests are left out."""
    made = sources.make("solutions", ASSIGNMENTS[name], None)
    cells = [c for c in made["cells"] if c["cell_type"] == "code"]
    by_id = {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in cells}
    for cell, old, new in [changes] if isinstance(changes[0], str) else changes:
        text = notebook.source_of(by_id[cell])
        assert old is None or old in text, (cell, old)
        by_id[cell]["source"] = (new or "pass") if old is None else text.replace(old, new)
    return json.dumps({"cells": cells, "nbformat": 4})


@pytest.mark.parametrize("name", CLASSES)
def test_each_mistake_costs_its_own_tasks_and_gets_a_line_that_helps(name, tmp_path):
    sheet, wanted = ASSIGNMENTS[name], CLASSES[name]
    (tmp_path / "class").mkdir()
    for student, (changes, _, _) in wanted.items():
        (tmp_path / "class" / f"{student}.ipynb").write_text(submission(name, changes))
    out = tmp_path / "out" / "grades.csv"
    isolated = not why_no_isolation()
    grade.grade(sheet, tmp_path / "class", out, isolated=isolated, workers=2, quiet=True)
    points = {task.name: task.points for task in sheet.tasks if task.judge}
    with out.open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    wrong = []
    for student, (_, lost, line) in wanted.items():
        row, lost = rows[student], lost.split()
        page = (out.parent / "grades_feedback" / f"{student}.md").read_text()
        assert row["status"] == "graded"
        expected = {task: 0 if task in lost else of for task, of in points.items()}
        found = {task: int(row[task]) for task in points}
        readable = page.replace("&lt;", "<").replace("&gt;", ">")
        if found != expected or int(row["points"]) != sum(expected.values()):
            wrong.append(f"{student}: {found}, expected {expected}\n{page}")
        if line not in readable:
            wrong.append(f"{student}: {line!r} is not in\n{page}")
    assert not wrong, "\n".join(wrong)


def test_transitions_that_hide_a_mistake_are_drawn_again(monkeypatch):
    real, drawn = a4_actor_critic.transitions, []

    def without_an_end_at_first(rng):
        seed, weights, stream = real(rng)
        if not drawn:
            stream[4][:] = False  # nothing terminates: who ignores it cannot be told
        drawn.append(stream)
        return seed, weights, stream

    monkeypatch.setattr(a4_actor_critic, "transitions", without_an_end_at_first)
    _, _, stream, right, guesses = a4_actor_critic.telling(np.random.default_rng(0), 1.0)
    assert len(drawn) >= 2 and stream is drawn[-1]
    histories = map(a4_actor_critic.flats, guesses.values())
    assert all(a4_actor_critic.first_difference(history, right) for history in histories)


def test_a_right_cell_with_a_corner_is_never_wrong():
    """With these seeds differences reach over the corner of minGRU's candidate on one draw."""
    source = COPIED.replace("(1.0 - u) * h + u * c", "(1.0 - u) * h + np.sqrt(u) * c").replace(
        "layers.sigmoid_vjp(c - h_prev, u)", "layers.sigmoid_vjp(c / (2 * np.sqrt(u)) - h_prev, u)"
    )
    source = source.replace("candidate_vjp(u, c)", "candidate_vjp(np.sqrt(u), c)")
    names = {"__name__": "__main__"}
    exec(source, names)
    outcomes = [course.check("a6", seed=seed, namespace=names) for seed in (30, 55, 69)]
    assert all(outcomes)


NO_BOUND = """
def obgd_step(w, z, delta, alpha, kappa):
    w += alpha * delta * z
    return alpha
"""
NOT_IN_PLACE = """
def accumulate(z, gradient, decay):
    z = decay * z + gradient
    return z
"""
LEARN = """
def td_lambda(w, xs, rewards, following, terminated, truncated, gamma, lam, alpha, kappa):
    w, z = w.copy(), np.zeros_like(w)
    for x, r, x2, end, cut in zip(xs, rewards, following, terminated, truncated):
        delta = td_error(r, gamma, end, cut, w @ x, w @ x2)
        accumulate(z, x, gamma * lam)
        obgd_step(w, z, delta, alpha, kappa)
        if end or cut:
            z[:] = 0
    return w
"""
TRACE = "        accumulate(z, x, gamma * lam)\n"
STEP = "        obgd_step(w, z, delta, alpha, kappa)\n"
CHANGES_GATES = """
def immediate_jacobian(gates, h_prev, Bx):
    nu, theta, lam, gamma = gates
    by_nu = nu * np.exp(-2 * nu) / gamma
    J_theta = 1j * theta * lam * h_prev
    lam *= -nu
    return lam * h_prev + by_nu * Bx, J_theta
"""
INLINE = """
def advance(p, state, x, mode):
    g = gates(p)
    h_prev, Bx = state.h.copy(), p.B @ x
    by_nu = g.nu * np.exp(-2 * g.nu) / g.gamma
    J_nu, J_theta = -g.nu * g.lam * h_prev + by_nu * Bx, 1j * g.theta * g.lam * h_prev
    state.h[:] = g.lam * h_prev + g.gamma * Bx
    if mode != "frozen":
        carry = g.lam if mode == "rtrl" else 0 * g.lam
        state.S_nu[:] = carry * state.S_nu + J_nu
        state.S_theta[:] = carry * state.S_theta + J_theta
        state.S_B[:] = carry[:, None] * state.S_B + g.gamma[:, None] * x
    return rtu.Cache(g, x, h_prev, rtu.features(state.h))
"""
BY_ZERO = """
def obgd_step(w, z, delta, alpha, kappa):
    bound = kappa * max(abs(delta), 1.0) * float(np.abs(z).sum())
    step = min(alpha, 1 / bound)
    w += step * delta * z
    return step
"""
ALONG_ONE = """
def layer_norm_vjp(g, y, inv_std):
    means = [a.mean(axis=1)[:, None] for a in (g, g * y)]
    return inv_std * (g - means[0] - y * means[1])
"""
COMMA = """
def log_prob_gradient(logits, action):
    g = -layers.softmax(logits)
    g[action] += 1
    return g,
"""


@pytest.mark.parametrize(
    "name, task, source, words",
    [
        ("a2", "obgd_step", NO_BOUND, "a known mistake: this is α alone: where is the bound?"),
        ("a2", "td_lambda", NOT_IN_PLACE, "do accumulate and obgd_step change"),
        ("a2", "td_lambda", LEARN.replace(TRACE + STEP, STEP + TRACE), "has not moved: is every"),
        (
            "a2",
            "td_lambda",
            LEARN.replace(TRACE, TRACE.replace("x,", "2 * x,")),
            "whole, not twice",
        ),
        (
            "a2",
            "td_lambda",
            LEARN.replace(TRACE, "        z[:] = gamma * lam * (z + x)\n"),
            "only the old trace decays",
        ),
        (
            "a2",
            "td_lambda",
            LEARN.replace("end or cut", "end != cut"),
            "at once: then it has ended",
        ),
        ("a2", "obgd_step", BY_ZERO, "ZeroDivisionError"),
        ("a1", "layer_norm_vjp", ALONG_ONE, "AxisError"),
        ("a3", "immediate_jacobian", CHANGES_GATES, "changes its argument gates in place"),
        ("a4", "log_prob_gradient", COMMA, "log_prob_gradient is 1 values; one array of shape"),
    ],
)
def test_the_line_is_true_whatever_the_draw(name, task, source, words):
    cells = [*cells_of("solutions", name), (999, source)]
    for seed in range(12):
        results, errors = judge_cells(name, cells, isolated=False, seed=seed, only=(task,))
        assert not errors and words in results[task].lines[0], (seed, results[task].lines)


RECURSIVE = """
def linear_vjp(g, x, W):
    if x.ndim == 1:
        return W.T @ g, np.outer(g, x), g.copy()
    parts = [linear_vjp(a, b, W) for a, b in zip(g, x)]
    return np.array([p[0] for p in parts]), sum(p[1] for p in parts), sum(p[2] for p in parts)
"""


@pytest.mark.parametrize(
    "name, task, source",
    [
        ("a1", "dense", RECURSIVE),
        ("a2", "td_lambda", LEARN),
        ("a3", "advance", INLINE),
        ("a3", "rtrl", INLINE),
        ("a5", "mend_advance", INLINE),
    ],
)
def test_what_is_right_in_another_way_is_right(name, task, source):
    cells = [*cells_of("solutions", name), (999, source)]
    for seed in range(6):
        results, errors = judge_cells(name, cells, isolated=False, seed=seed, only=(task,))
        assert not errors and results[task].right, (seed, results[task].lines)


def test_one_slip_does_not_cost_what_stands_on_it():
    slip = "\ndef gates(p):\n    return rtu.Gates(*(np.ones(len(p.nu_log)) for _ in range(4)))\n"
    tasks = "gates", "advance", "rtrl", "bptt"
    cells = [*cells_of("solutions", "a3"), (999, slip)]
    results, _ = judge_cells("a3", cells, isolated=False, seed=3, only=tasks)
    assert [results[task].right for task in tasks] == [False, True, True, True]


NO_PARAMETER = """
class Cache(NamedTuple):
    y: np.ndarray
    x: np.ndarray


def fixed(n, d):
    return np.random.default_rng(5).normal(size=(n, d))


def layout(n, d):
    return {"r": (n,)}


def state_layout(n, d, mode):
    return {"h": (n,)}


def feature_count(n):
    return PER_UNIT * n


def init(rng, n, d, config):
    return {"r": rng.uniform(config.r_min, config.r_max, n)}


def retention(p):
    return p.r


def peek(p, state, x):
    kept = np.linspace(0.6, 0.9, len(p.r))
    return kept * state.h + np.tanh(fixed(len(p.r), len(x)) @ x)


def advance(p, state, x, mode):
    state.h[:] = peek(p, state, x)
    return Cache(state.h.copy(), x.copy())


def vjp(p, state, cache, gy, grad):
    grad.flat[:] = 0
    W = fixed(len(p.r), len(cache.x))
    return (gy * (1 - np.tanh(W @ cache.x) ** 2)) @ W
"""


def test_a_cell_without_a_parameter_that_matters_has_no_gradient_to_be_right():
    cells = [*cells_of("solutions", "a6"), (999, NO_PARAMETER)]
    results, errors = judge_cells("a6", cells, isolated=False)
    assert not errors and results["gradient"].points == 0
    assert "y does not depend on the parameter r" in results["gradient"].lines[0]


def test_a_cell_of_the_library_is_known_in_another_order_too():
    order = '{"W_u": (n, d), "b_u": (n,), "W_c": (n, d), "b_c": (n,)}'
    assert COPIED.count(order) == 1
    other = COPIED.replace(order, '{"b_c": (n,), "W_c": (n, d), "W_u": (n, d), "b_u": (n,)}')
    results, _ = judge_cells("a6", [(1, other)], isolated=False, only=("interface",))
    assert "this is the library's mingru" in results["interface"].lines[0]


def test_a_cell_that_changes_its_input_is_told_so():
    changed = COPIED.replace(
        "def advance(p, state, x, mode):", "def advance(p, state, x, mode):\n    x *= 2", 1
    )
    results, _ = judge_cells("a6", [(1, changed)], isolated=False, only=("interface",))
    assert "x is changed in place" in results["interface"].lines[0]


def test_luck_in_the_first_episodes_is_no_memory(monkeypatch):
    monkeypatch.setattr(a4_actor_critic, "EPISODES", 300)
    monkeypatch.setattr(a4_actor_critic, "ATTEMPTS", 1)
    asked = []

    def ask(harness, *arguments):
        asked.append(harness)
        return 0

    for seed in range(8):
        rng = np.random.default_rng(seed)
        (line,) = a4_actor_critic.remembers(ask, rng, {"temperature": 1.0})
        assert line.startswith("after 300 episodes of MemoryChain(8)")
    assert asked.count("agent_start") == 8


def test_a_retention_on_either_side_of_the_ring_is_told():
    for kept in [0.49, 0.6], [0.6, 0.96]:
        facts = {"flat": np.ones(2), "retention": np.array(kept)}
        (line,) = a6_project.memory(lambda *asked, f=facts: f, np.random.default_rng(0), {})
        assert "r_min = 0.5, r_max = 0.95 must lie between them" in line
