"""The corrections against differences of the sensitivities, and a small run."""

import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, cli
from streamrl_np.arrays import Views
from streamrl_np.cells import rtu
from streamrl_np.experiments import staleness

N, D, T = 3, 2, 6


def make():
    rng = np.random.default_rng(0)
    p = Views(rtu.layout(N, D))
    for name, value in rtu.init(rng, N, D, cells.Config(units=N, r_min=0.5)).items():
        setattr(p, name, value)
    return p, rng.normal(size=(T, D)), rng


def test_curvature_of_lambda_and_gamma():
    p, _, _ = make()
    found = staleness.curvature(rtu.gates(p))
    names = {"nu": 0, "theta": N}
    for part in np.real, np.imag:
        for first, second, name in (
            ("nu", "nu", "nu_nu"),
            ("nu", "theta", "nu_theta"),
            ("theta", "theta", "theta_theta"),
        ):
            for i in range(N):

                def slope(flat, first=first, part=part, i=i):
                    q = Views(p.layout, flat=flat)
                    return part(getattr(staleness.curvature(rtu.gates(q)), first)[i])

                moved = derivative(slope, p.flat)[names[second] + i]
                assert_close(part(getattr(found, name)[i]), moved)
    for i in range(N):
        flat = p.flat

        def gamma_nu(flat, i=i):
            return staleness.curvature(rtu.gates(Views(p.layout, flat=flat))).gamma_nu[i]

        assert_close(found.gamma_nu_nu[i], derivative(gamma_nu, flat)[i])


@pytest.mark.parametrize("name", ["S_nu", "S_theta", "S_B"])
def test_the_whole_second_derivative_is_the_derivative_of_the_sensitivities(name):
    p, inputs, _ = make()
    form = staleness.Corrected(N, D, "unit")
    for x in inputs:
        form.advance(p, x)
    recomputed = staleness.recompute(p, inputs)
    assert_close(staleness.sensitivities(form), staleness.sensitivities(recomputed))
    second = {
        "S_nu": (form.H_nu_nu, form.H_nu_theta),
        "S_theta": (form.H_nu_theta, form.H_theta_theta),
        "S_B": (form.H_nu_B, form.H_theta_B),
    }[name]
    for part in np.real, np.imag:
        for i in range(N):

            def entry(flat, part=part, i=i):
                q = Views(p.layout, flat=flat)
                return part(staleness.recompute(q, inputs.astype(flat.dtype))[name][i]).sum()

            slopes = derivative(entry, p.flat)
            assert_close(part(second[0][i]).sum(), slopes[i])
            assert_close(part(second[1][i]).sum(), slopes[N + i])


def errors(form, size):
    """Shift the parameters once in mid-episode; how far is S from the recomputed one?"""
    p, inputs, rng = make()
    direction = Views(p.layout, flat=size * rng.normal(size=p.flat.size))
    corrected = staleness.Corrected(N, D, form)
    for t, x in enumerate(inputs):
        if t == 3:
            p.flat[:] += direction.flat
            corrected.follow(direction)
        corrected.advance(p, x)
    return staleness.distance(corrected, staleness.recompute(p, inputs))


def test_what_the_correction_within_a_unit_leaves_is_of_second_order():
    assert errors("unit", 1e-3) / errors("unit", 5e-4) == pytest.approx(4, rel=0.05)
    assert errors("diagonal", 1e-3) / errors("diagonal", 5e-4) == pytest.approx(2, rel=0.05)
    assert errors("unit", 1e-3) < 0.02 * errors("diagonal", 1e-3)


# few parameters take large steps each, so κ is large
SMALL = {"cell.units": "4", "network.width": "6", "agent.kappa_value": "1000"}


def test_nothing_is_stale_while_the_parameters_stand_still():
    still = {"agent.step_size": "1e-300"}
    measured = staleness.measure(2, 400, {**SMALL, **still})
    assert len(measured.step) == 3, "every tenth of 25 episodes"
    assert all(distances.max() < 1e-12 for distances in measured.distances.values())


def test_learning_makes_sensitivities_stale_and_the_correction_less_so():
    measured = staleness.measure(2, 2000, SMALL)
    none, unit = measured.distances["none"], measured.distances["unit"]
    assert none.mean() > 1e-6 and unit.mean() < none.mean() / 2


def test_the_table_shows_the_first_and_the_last_fifth():
    distances = {form: np.arange(10.0) for form in staleness.FORMS}
    measured = staleness.Staleness(4, np.arange(10), distances, np.zeros(100))
    rows = staleness.table([measured]).splitlines()[2:4]
    assert "first fifth | 5.00e-01" in rows[0] and "last fifth | 8.50e+00" in rows[1]


def test_the_command_writes_data_table_and_figure(tmp_path, capsys, monkeypatch):
    measure = staleness.measure
    monkeypatch.setattr(staleness, "measure", lambda delay, steps: measure(delay, 1500, SMALL, 1))
    assert cli.main(["staleness", "--out", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"staleness.csv", "table.md", "staleness.png"}
    assert capsys.readouterr().out.count("last fifth") == len(staleness.DELAYS)
    assert cli.main(["staleness", "--steps", "1"]) == 2


def test_the_table_shows_the_return_of_the_last_episodes():
    distances = {form: np.arange(10.0) for form in staleness.FORMS}
    returns = np.append(np.zeros(100), np.full(100, 21.0))
    measured = staleness.Staleness(4, np.arange(10), distances, returns)
    assert staleness.table([measured]).count("21.0 of 28") == 2


def test_a_thinned_curve_is_made_of_medians():
    assert staleness.thin(np.array([1.0, 2.0, 9.0] * staleness.POINTS)).tolist() == [2.0] * 25
