"""The credit measurement against differences that move the parameters of one step alone."""

import types

import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, cli, networks
from streamrl_np.arrays import Views
from streamrl_np.experiments import configs, credit, sweep

T, DECAY = 5, 0.7


def make(mode):
    rng = np.random.default_rng(0)
    cell = cells.Config(units=3, mode=mode, r_min=0.5)
    net = networks.Network(2, 1, networks.Config(width=3, sparsity=0.0), cell, rng, np.float64)
    return net, rng.normal(size=(T, 2))


def discounted_values(net, observations, j, last, shift):
    """Compute Σ_k decay^(last−k) v_k with the cell's parameters shifted at step j alone."""
    flat = net.p.flat.astype(np.longdouble)
    twin = networks.Network.__new__(networks.Network)
    twin.__dict__.update(net.__dict__)
    twin.mode, twin.state = "frozen", Views(net.state.layout, np.longdouble)
    total = 0.0
    for k, x in enumerate(observations[: last + 1].astype(np.longdouble)):
        twin.p = Views(net.p.layout, flat=flat.copy())
        if k == j:
            twin.p.cell.flat[:] += shift
        total = DECAY * total + twin.forward(x)[0][0]
    return total


def test_credit_of_exact_rtrl_is_what_a_step_s_parameters_did_to_all_later_values():
    net, observations = make("rtrl")
    measured = credit.follow(net, observations, 1, DECAY)
    assert len(measured.recurrent) == T - 1
    for age in range(T - 1):

        def values(shift, age=age):
            return discounted_values(net, observations, 1, 1 + age, shift)

        owed = derivative(values, np.zeros(net.p.cell.flat.size))
        assert_close(measured.recurrent[age], np.abs(owed).sum())
        owed = Views(net.p.cell.layout, flat=np.abs(owed.astype(float)))
        units = owed.nu_log + owed.theta_log + owed.B.real.sum(1) + owed.B.imag.sum(1)
        assert_close(measured.units[age], units)


def test_credit_of_tbptt1_and_of_the_rest_is_the_decayed_gradient_of_that_step_alone():
    net, observations = make("tbptt1")
    measured = credit.follow(net, observations, 2, DECAY)
    net.reset()
    for x in observations[:3]:
        _, cache = net.forward(x)
    net.vjp(cache, np.ones(1))
    of_cell = np.abs(net.grad.cell.flat).sum()
    of_others = np.abs(net.grad.flat).sum() - of_cell
    decays = DECAY ** np.arange(T - 2)
    assert_close(measured.recurrent, of_cell * decays)
    assert_close(measured.rest, of_others * decays)


def test_a_measure_averages_over_steps_and_episodes_geometrically(monkeypatch):
    def follow(network, observations, j, decay):
        weights = 5.0 * (len(observations) + j) ** -np.arange(len(observations) - j, dtype=float)
        return credit.Credit(weights, 2 * weights, np.stack([weights, weights], 1))

    monkeypatch.setattr(credit, "follow", follow)
    found = credit.measure(None, [np.zeros((6, 1)), np.zeros((6, 1))], DECAY)
    assert_close(found.recurrent, np.sqrt(6.0 * 7.0) ** -np.arange(4))  # steps 0 and 1, ages 0 to 3
    assert_close(found.rest, found.recurrent)
    assert_close(found.units[:, 1], found.recurrent)


def test_the_prediction_is_the_sum_that_it_stands_for():
    lam, gl = np.array([0.95 * np.exp(0.3j), 0.4 * np.exp(2j)]), 0.8
    units = np.ones((6, 2))
    study = credit.Study("rtrl", 1.0, gl, lam, credit.Credit(units.sum(1), units.sum(1), units))
    for n, row in enumerate(credit.predicted(study)):
        expected = [abs(sum(gl ** (n - m) * z**m for m in range(n + 1))) for z in lam]
        assert_close(row, expected)
    assert_close(credit.limits(study), [0.95, 0.8])
    assert_close(credit.predicted(study._replace(mode="tbptt1"))[:, 1], gl ** np.arange(6))


def test_a_rate_is_read_off_a_geometric_decay():
    assert credit.rate(3.0 * 0.9 ** np.arange(30)) == pytest.approx(0.9)


def test_an_agent_that_was_interrupted_is_not_measured(tmp_path, monkeypatch, capsys):
    job = sweep.run_job
    monkeypatch.setattr(sweep, "run_job", lambda *given: job(*given) | {"complete": False})
    arguments = ["credit", "--length", "8", "--steps", "100", "--episodes", "1"]
    places = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert cli.main([*arguments, *places]) == 130
    assert "interrupted: the same command goes on where it was" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_the_command_writes_data_table_and_figure(tmp_path, capsys, monkeypatch):
    study = credit.study
    monkeypatch.setattr(credit, "study", lambda *options: study(*options, units=6, width=6))
    arguments = ["credit", "--length", "8", "--steps", "100", "--episodes", "1"]
    places = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert cli.main([*arguments, *places]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"credit.csv", "table.md", "credit.png"}
    assert len((tmp_path / "out" / "credit.csv").read_text().splitlines()) == 1 + 2 * 6
    shown = capsys.readouterr().out
    assert "exact RTRL" in shown and "TBPTT(1)" in shown
    assert cli.main(["credit", "--length", "2"]) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(credit, "study", lambda *options: pytest.fail("too late"))
    assert cli.main([*arguments, "--out", str(tmp_path / "file")]) == 2
    assert cli.main(["credit", "--length", "8", "--steps", "8"]) == 2


def test_a_recorded_episode_begins_from_nothing():
    experiment = configs.build("memory-chain", {"env.length": "3"})
    observe, _ = experiment.make_normalizers(3)
    log = []
    agent = types.SimpleNamespace(
        reset=lambda: log.append("reset"), act=lambda x: log.append(0) or 0
    )
    found = credit.record(experiment.make_env(), agent, observe, 0, 2)
    assert log == ["reset", 0, 0, 0, 0] * 2 and [x.shape for x in found] == [(4, 3)] * 2


def test_a_recorded_episode_teaches_nothing():
    experiment = configs.build("memory-chain", {"env.length": "3"})
    observe, _ = experiment.make_normalizers(3)
    agent = types.SimpleNamespace(reset=lambda: None, act=lambda x: 0)
    credit.record(experiment.make_env(), agent, observe, 0, 2)
    assert float(observe.moments.count) == 0


def test_a_rate_is_that_of_the_older_half():
    weights = np.append(0.5 ** np.arange(10), 0.5**9 * 0.9 ** np.arange(1, 11))
    assert credit.rate(weights) == pytest.approx(0.9)


def test_the_decay_is_discount_times_trace_decay(tmp_path):
    measured = credit.study("tbptt1", 8, 100, 1, tmp_path, units=6, width=6)
    assert measured.decay == pytest.approx(0.999 * 0.8, rel=1e-12)
