import itertools

import numpy as np
import pytest

from streamrl_np import cli
from streamrl_np.experiments import cost


def test_exponents_are_those_of_the_power_laws_put_in():
    costs = [
        cost.Cost(label, n, parameters(n), 1e-3 * time(n), 2.0 * memory(n))
        for label, parameters, time, memory in (
            ("linear", lambda n: n**2, lambda n: n**2, lambda n: n**2),
            ("dense", lambda n: 6 * n**2, lambda n: n**4, lambda n: n**3),
        )
        for n in (8, 16, 32, 64, 128)
    ]
    fits = cost.exponents(costs)
    assert fits["linear"] == pytest.approx((2, 1, 2, 1))
    assert fits["dense"] == pytest.approx((4, 2, 3, 1.5))


def test_memory_carried_grows_as_the_theory_says():
    """Exact, not timed: RTU and minGRU with the parameters, dense RTRL with width cubed."""
    widths = (128, 256, 512)
    for name, power in (("rtu", 2), ("mingru", 2), ("gru", 3)):
        carried = [cost.make_step(name, n)[1] for n in (widths if name != "gru" else (16, 32, 64))]
        ratios = [b / a for a, b in itertools.pairwise(carried)]
        assert ratios == pytest.approx([2.0**power] * 2, rel=0.1), name


def test_the_table_shows_kilobytes_of_float32_at_the_greatest_width_that_all_have():
    costs = cost.measure(5, {"a": ("feedforward", (4, 8, 16)), "b": ("rtu", (4, 8))})
    first = costs[0]
    assert (first.parameters, first.kilobytes) == (32, pytest.approx(2 * 32 * 4 / 1000))
    assert "at width 8" in cost.table(costs, dict.fromkeys("ab", (1.0,) * 4))


def test_the_command_writes_data_table_and_figure(tmp_path, capsys, monkeypatch):
    small = {label: (name, (4, 8)) for label, (name, _) in cost.MEASURED.items()}
    monkeypatch.setattr(cost, "MEASURED", small)
    assert cli.main(["cost", "--repeats", "10", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cost.csv", "table.md", "cost.png"}
    assert len((tmp_path / "cost.csv").read_text().splitlines()) == 1 + 4 * 2
    assert "GRU, dense RTRL" in capsys.readouterr().out
    assert cli.main(["cost", "--repeats", "1"]) == 2


def test_only_the_widest_count():
    x = np.array([1.0, 2, 4, 8, 16, 32, 64, 128])
    assert cost.exponent(x, np.maximum(x, 8) ** 2) == pytest.approx(2)
