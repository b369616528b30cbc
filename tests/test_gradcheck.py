import ast
import sys

import numpy as np
import pytest

from streamrl_np import gradcheck, layers
from streamrl_np.gradcheck import registry
from streamrl_np.gradcheck.check import examine
from streamrl_np.gradcheck.inputs import Inputs

rng = np.random.default_rng(0)


def check_layer_norm(vjp, x, **options):
    return gradcheck.check(lambda x: layers.layer_norm(x)[0], vjp, x, **options)


# the package


def test_every_derivative_has_a_check():
    assert registry.uncovered() == [], "register these in streamrl_np/gradcheck/catalogue.py"


def test_a_new_derivative_would_be_missed():
    names = registry.named_functions(
        ast.parse("def f_vjp(g): ...\nclass A:\n def gradient(): ..."), "m."
    )
    assert list(names) == ["m.f_vjp", "m.A.gradient"]
    assert all(registry.DERIVATIVE.fullmatch(n) for n in ("vjp", "f_vjp", "a_gradient", "jacobian"))
    assert not registry.DERIVATIVE.fullmatch("gradients")


@pytest.mark.parametrize("name", registry.checks())
def test_every_check_passes_and_calls_what_it_covers(name):
    check = registry.checks()[name]
    report = check.run(seed=1)
    assert report.ok, str(report)
    assert report.worst.error < 1e-9
    if check.covers:
        called = codes_called(check)
        assert [c for c in check.covers if code_of(c) not in called] == [], "covered, never called"


def codes_called(check):
    called = set()

    def watch(frame, event, argument):
        called.add(frame.f_code)

    sys.setprofile(watch)
    try:
        if check.problem is None:
            check.run_(check.rng(0))
        else:
            problem = check.problem(check.rng(0))
            examine(problem, Inputs(problem.inputs, problem.f), rng, 1.0)
    finally:
        sys.setprofile(None)
    return called


def code_of(name):
    owner, attribute = registry.resolve(name)
    return getattr(owner, attribute).__code__


# a single function


def test_a_right_vjp_passes_with_many_digits():
    x = rng.normal(size=(3, 6))
    report = check_layer_norm(lambda g, x: layers.layer_norm_vjp(g, *layers.layer_norm(x)), x)
    assert report.ok and report.checked == 18
    assert report.worst.error < 1e-13
