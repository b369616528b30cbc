"""The gradient checker's own exam: every planted mistake must make the command fail."""

import importlib
import time

import pytest
from mutants import EQUIVALENT, MUTANTS, functions, planted

from streamrl_np import cli
from streamrl_np.gradcheck import registry

CHECKS = registry.checks()


def test_there_are_enough_of_them_and_no_two_alike():
    assert len(MUTANTS) >= 60
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert len({(m.module, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.module}: {mutant.name}")
def test_a_mutant_is_found(mutant):
    with planted(mutant):
        start = time.process_time()
        report = CHECKS[mutant.check].run()
        seconds = time.process_time() - start
    assert report.verdict == "fail", f"{mutant.check} did not see it"
    assert "stopped with" not in str(report), f"it was met by accident: {report}"
    assert seconds < 2.0


@pytest.mark.parametrize("mutant", MUTANTS[::40], ids=lambda mutant: mutant.name)
def test_the_command_fails_with_a_mutant(mutant, capsys):
    with planted(mutant):
        assert cli.main(["gradcheck", "--only", mutant.check]) == 1
    assert "0 of 1 checks pass" in capsys.readouterr().out
    assert cli.main(["gradcheck", "--only", mutant.check]) == 0


@pytest.mark.parametrize("mutant, reason", EQUIVALENT, ids=lambda value: getattr(value, "name", ""))
def test_a_mutant_that_changes_nothing(mutant, reason):
    with planted(mutant):
        assert CHECKS[mutant.check].run().ok, reason


def test_a_mutant_leaves_no_trace():
    mutant = MUTANTS[0]
    module = importlib.import_module(f"streamrl_np.{mutant.module}")
    before = {name: f.__code__ for name, f in functions(module).items()}
    with planted(mutant):
        assert {name: f.__code__ for name, f in functions(module).items()} != before
    assert {name: f.__code__ for name, f in functions(module).items()} == before
