"""The credit measurement against differences that move the parameters of one step alone."""

import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, cli, networks
from streamrl_np.arrays import Views
from streamrl_np.experiments import credit

T, DECAY = 5, 0.7


def make(mode):
    rng = np.random.default_rng(0)
    cell = cells.Config(units=3, mode=mode, r_min=0.5)
    net = networks.Network(2, 1, networks.Config(width=3, sparsity=0.0), cell, rng, np.float64)
    return net, rng.normal(size=(T, 2))


def discounted_values(net, observations, j, shift):
    """Compute Σ_k decay^(T−1−k) v_k with the cell's parameters shifted at step j alone."""
    flat = net.p.flat.astype(np.longdouble)
    twin = networks.Network.__new__(networks.Network)
    twin.__dict__.update(net.__dict__)
    twin.mode, twin.state = "frozen", Views(net.state.layout, np.longdouble)
    total = 0.0
    for k, x in enumerate(observations.astype(np.longdouble)):
        twin.p = Views(net.p.layout, flat=flat.copy())
        if k == j:
            twin.p.cell.flat[:] += shift
        total = DECAY * total + twin.forward(x)[0][0]
    return total


def test_credit_of_exact_rtrl_is_what_a_step_s_parameters_did_to_all_later_values():
    net, observations = make("rtrl")
    measured = credit.measure(net, observations, DECAY)
    for lag in range(T):
        zero = np.zeros(net.p.cell.flat.size)
        j = T - 1 - lag
        owed = derivative(lambda shift, j=j: discounted_values(net, observations, j, shift), zero)
        assert_close(measured.recurrent[lag], np.abs(owed).sum())
        owed = Views(net.p.cell.layout, flat=np.abs(owed.astype(float)))
        units = owed.nu_log + owed.theta_log + owed.B.real.sum(1) + owed.B.imag.sum(1)
        assert_close(measured.units[lag], units)


def test_credit_of_tbptt1_is_the_decayed_gradient_of_that_step_alone():
    net, observations = make("tbptt1")
    measured = credit.measure(net, observations, DECAY)
    net.reset()
    for t, x in enumerate(observations):
        _, cache = net.forward(x)
        net.vjp(cache, np.ones(1))
        lag = T - 1 - t
        weight = DECAY**lag
        assert_close(measured.recurrent[lag], weight * np.abs(net.grad.cell.flat).sum())
        others = np.abs(net.grad.flat).sum() - np.abs(net.grad.cell.flat).sum()
        assert_close(measured.rest[lag], weight * others)


def test_a_rate_is_read_off_a_geometric_decay():
    assert credit.rate(3.0 * 0.9 ** np.arange(30), 5, 29) == pytest.approx(0.9)


def test_the_command_writes_data_table_and_figure(tmp_path, capsys, monkeypatch):
    study = credit.study
    monkeypatch.setattr(credit, "study", lambda *options: study(*options, units=6, width=6))
    arguments = ["credit", "--length", "8", "--steps", "100", "--episodes", "1"]
    places = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert cli.main([*arguments, *places]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"credit.csv", "table.md", "credit.png"}
    assert len((tmp_path / "out" / "credit.csv").read_text().splitlines()) == 1 + 2 * 9
    shown = capsys.readouterr().out
    assert "exact RTRL" in shown and "TBPTT(1)" in shown
    assert cli.main(["credit", "--length", "2"]) == 2
