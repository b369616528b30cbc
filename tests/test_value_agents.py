"""TD(λ), stream Q(λ) and QRC(λ) against a reference that takes every gradient by differences."""

import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, networks
from streamrl_np.agents import qrc, stream_q, td
from streamrl_np.arrays import NonFiniteError, Views
from streamrl_np.optimizers import SGD, Adam
from streamrl_np.policies import EpsilonGreedy
from streamrl_np.settings import SettingError

INPUTS, ACTIONS = 2, 2
SMALL = networks.Config(width=3, sparsity=0.0)
MODULES = {"td": td, "stream-q": stream_q, "qrc": qrc}


def make(name, cell="rtu", mode="rtrl", dtype=np.float64, seed=0, **settings):
    cell = cells.Config(name=cell, units=2, mode=mode, r_min=0.5)
    rng, config = np.random.default_rng(seed), MODULES[name].Config(**settings)
    if name == "td":
        return td.TD(INPUTS, rng, config, SMALL, cell, dtype)
    kind = {"stream-q": stream_q.StreamQ, "qrc": qrc.QRC}[name]
    return kind(INPUTS, ACTIONS, rng, config, SMALL, cell, dtype)


class Differences:
    """A network's outputs and gradients over an episode in which the parameters keep moving.

    A sensitivity carried forward is the derivative by a shift that all parameters of the past
    had in common; the encoder's is declared to be one step's.
    """

    def __init__(self, network):
        self.network, self.w, self.past = network, network.p.flat.copy(), []

    def look(self, x, shift=0.0):
        """Compute the output at x with parameters shifted along the whole episode."""
        twin = networks.Network.__new__(networks.Network)
        twin.__dict__.update(self.network.__dict__)
        twin.mode = "frozen"
        twin.state = Views(self.network.state.layout, np.longdouble)
        encoder = np.zeros(self.w.size, bool)
        encoder[: Views(twin.p.layout).encoder.flat.size] = True
        for x_t, w_t in self.past:
            twin.p = Views(twin.p.layout, flat=w_t + np.where(encoder, 0.0, shift))
            twin.forward(x_t)
        twin.p = Views(twin.p.layout, flat=self.w + np.longdouble(1) * shift)
        return twin.peek(x)

    def gradient(self, x, index):
        """Differentiate one output at x."""
        zero = np.zeros(self.w.size)
        return derivative(lambda shift: self.look(x, shift)[index], zero).astype(float)

    def remember(self, x):
        """Take the step."""
        self.past.append((x.astype(np.longdouble), self.w.astype(np.longdouble)))


def life(agent, steps=9, ends=(3, 7)):
    """Yield random transitions with two ends; the agent acts and updates."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=INPUTS)
    for t in range(steps):
        x_next, r = rng.normal(size=INPUTS), float(rng.normal())
        terminated, truncated = t == ends[0], t == ends[1]
        a = agent.act(x)
        yield x, a, r, x_next, terminated, truncated
        x = x_next


def bounded(w, z, delta, kappa):
    return w + delta * z / max(1.0, kappa * max(abs(delta), 1.0) * np.abs(z).sum())


@pytest.mark.parametrize("cell", ["rtu", "mingru"])
def test_td_is_its_pseudocode(cell):
    agent = make("td", cell)
    v, z = Differences(agent.v), 0.0
    for transition in life(agent):
        x, _, r, x_next, terminated, truncated = transition
        delta = r - float(v.look(x)[0])
        gradient = v.gradient(x, 0)
        v.remember(x)
        delta += 0.0 if terminated else 0.99 * float(v.look(x_next)[0])
        z = 0.99 * 0.8 * z + gradient
        v.w = bounded(v.w, z, delta, 2.0)
        assert_close(agent.update(*transition).td_error, delta)
        assert_close(agent.v.p.flat, v.w)
        if terminated or truncated:
            z, v.past = 0.0, []


def test_stream_q_is_its_pseudocode():
    agent = make("stream-q", epsilon_start=0.7, epsilon_end=0.7)
    q, z, cuts = Differences(agent.q), 0.0, 0
    for transition in life(agent):
        x, a, r, x_next, terminated, truncated = transition
        values = q.look(x)
        gradient = q.gradient(x, a)
        q.remember(x)
        following = 0.0 if terminated else 0.99 * max(q.look(x_next))
        delta = float(r + following - values[a])
        if values[a] < max(values):
            cuts += np.any(z)
            z = 0.0
        z = 0.99 * 0.8 * z + gradient
        q.w = bounded(q.w, z, delta, 2.0)
        assert_close(agent.update(*transition).td_error, delta)
        assert_close(agent.q.p.flat, q.w)
        if terminated or truncated:
            z, q.past = 0.0, []
    assert 1 <= cuts <= 5, "some actions were greedy, some were not"


@pytest.mark.parametrize("cell, mode", [("rtu", "rtrl"), ("mingru", "rtrl"), ("gru", "rtrl")])
def test_qrc_is_its_pseudocode(cell, mode):
    steps = dict(step_size=0.05, step_size_auxiliary=0.03, beta=0.7)
    agent = make("qrc", cell, mode, epsilon_start=0.7, epsilon_end=0.7, **steps)
    q, h = Differences(agent.q), Differences(agent.h)
    z_w = z_theta = z_h = 0.0
    for transition in life(agent):
        x, a, r, x_next, terminated, truncated = transition
        values, q_gradient = q.look(x), q.gradient(x, a)
        auxiliary, h_gradient = float(h.look(x)[a]), h.gradient(x, a)
        q.remember(x)
        h.remember(x)
        following = q.look(x_next)
        next_gradient = q.gradient(x_next, int(np.argmax(following)))
        gamma = 0.0 if terminated else 0.99
        delta = float(r + gamma * max(following) - values[a])
        decay = 0.99 * 0.95 * (values[a] == max(values))
        z_w = decay * z_w + q_gradient
        z_theta = decay * z_theta + h_gradient
        z_h = decay * z_h + auxiliary
        dw = delta * z_w - auxiliary * q_gradient - z_h * (gamma * next_gradient - q_gradient)
        dtheta = delta * z_theta - auxiliary * h_gradient - 0.7 * h.w
        q.w, h.w = q.w + 0.05 * dw, h.w + 0.03 * dtheta
        assert_close(agent.update(*transition).td_error, delta)
        assert_close(agent.q.p.flat, q.w)
        assert_close(agent.h.p.flat, h.w)
        if terminated or truncated:
            z_w = z_theta = z_h = 0.0
            q.past, h.past = [], []


def test_the_trace_form_of_qrc_adds_up_to_its_forward_view():
    """With frozen parameters an episode's steps sum to Σ_t [δ^λ ∇q − h ∇q − h ∇δ^λ]   (eq. A10)."""

    class Sum:
        def step(self, w, gradient):
            self.total = getattr(self, "total", 0.0) - gradient

        def arrays(self):
            return {}

    agent = make("qrc", epsilon_start=0.0, epsilon_end=0.0)
    agent.optimizer_q, agent.optimizer_h = Sum(), Sum()
    q, h = Differences(agent.q), Differences(agent.h)
    decay, rows = 0.99 * 0.95, []
    for transition in life(agent, steps=4):
        x, a, r, x_next, terminated, _ = transition
        values, gradient = q.look(x), q.gradient(x, a)
        auxiliary, h_gradient = h.look(x)[a], h.gradient(x, a)
        q.remember(x)
        h.remember(x)
        following = q.look(x_next)
        gamma = 0.0 if terminated else 0.99
        delta = r + gamma * max(following) - values[a]
        ddelta = gamma * q.gradient(x_next, int(np.argmax(following))) - gradient
        rows.append((delta, ddelta, gradient, auxiliary, h_gradient))
        agent.update(*transition)
    expected_w, expected_theta, delta_lam, ddelta_lam = 0.0, 0.0, 0.0, 0.0
    for delta, ddelta, gradient, auxiliary, h_gradient in reversed(rows):
        delta_lam = delta + decay * delta_lam
        ddelta_lam = ddelta + decay * ddelta_lam
        expected_w += delta_lam * gradient - auxiliary * gradient - auxiliary * ddelta_lam
        expected_theta += (delta_lam - auxiliary) * h_gradient - h.w
    assert_close(agent.optimizer_q.total, expected_w)
    assert_close(agent.optimizer_h.total, expected_theta)


def test_qrc_looks_ahead_without_stepping():
    agent = make("qrc")
    x = np.random.default_rng(1).normal(size=INPUTS)
    agent.act(x)
    before = agent.q.state.flat.copy()
    value = agent.look_ahead(x + 1)
    assert (agent.q.state.flat == before).all()
    assert value == agent.q.forward(x + 1)[0].max()


@pytest.mark.parametrize("name", MODULES)
def test_termination_ends_bootstrapping_and_either_end_resets(name):
    errors = {}
    for how in (False, False), (False, True), (True, False):
        agent, rng = make(name), np.random.default_rng(1)
        x, x_next = rng.normal(size=INPUTS), rng.normal(size=INPUTS)
        errors[how] = agent.update(x, agent.act(x), 1.0, x_next, *how).td_error
        ended = [a for k, a in agent.arrays().items() if k.endswith(("state", "trace"))]
        assert len(ended) == {"td": 2, "stream-q": 2, "qrc": 5}[name]
        assert all(a.any() == (how == (False, False)) for a in ended)
    assert errors[False, False] == errors[False, True] != errors[True, False]


@pytest.mark.parametrize("name", MODULES)
def test_float32_stays_and_the_seed_decides(name):
    def bits():
        agent = make(name, dtype=np.float32)
        for x, a, r, x_next, *ends in life(agent, 20):
            agent.update(x.astype("f4"), a, r, x_next.astype("f4"), *ends)
        return {k: a.tobytes() for k, a in agent.arrays().items()}, agent

    first, agent = bits()
    assert first == bits()[0]
    assert {views.flat.dtype for views in agent.parts().values()} == {np.dtype("f4")}


@pytest.mark.parametrize("name", MODULES)
def test_a_broken_number_is_named(name):
    agent, x = make(name), np.ones(INPUTS)
    a = agent.act(x)
    next(iter(agent.learners.values())).network.p.head.b[:] = np.nan
    with pytest.raises(NonFiniteError, match=r"parameters: head.b\[0\] is nan"):
        agent.update(x, a, 0.0, x, False, False)


@pytest.mark.parametrize("name", ["stream-q", "qrc"])
@pytest.mark.parametrize("action", [-1, ACTIONS, 0.5, "0", None])
def test_an_action_that_there_is_not_is_refused(name, action):
    agent, x = make(name), np.ones(INPUTS)
    agent.act(x)
    with pytest.raises(SettingError, match=f"action must be one of 0 to 1, got {action!r}"):
        agent.update(x, action, 1.0, x, False, False)


@pytest.mark.parametrize("name", MODULES)
def test_an_update_needs_an_act_of_its_own(name):
    agent, x = make(name), np.ones(INPUTS)
    with pytest.raises(RuntimeError, match="update needs an act before it"):
        agent.update(x, 0, 1.0, x, False, False)
    action = agent.act(x)
    agent.update(x, action, 1.0, x, False, False)
    before = {key: array.tobytes() for key, array in agent.arrays().items()}
    with pytest.raises(RuntimeError, match="update needs an act before it"):
        agent.update(x, action, 1.0, x, False, False)
    assert before == {key: array.tobytes() for key, array in agent.arrays().items()}


def test_a_broken_auxiliary_network_is_named_before_q_moves():
    agent, x = make("qrc"), np.ones(INPUTS)
    a = agent.act(x)
    agent.h.p.head.b[:] = np.nan
    before = agent.q.p.flat.copy()
    with pytest.raises(NonFiniteError, match=r"the h parameters: head.b\[0\] is nan"):
        agent.update(x, a, 0.0, x, False, False)
    assert np.array_equal(agent.q.p.flat, before)


def test_settings_out_of_range():
    with pytest.raises(SettingError, match=r"epsilon_end must be a number in \[0, 1\], got 2"):
        qrc.Config(epsilon_end=2)
    with pytest.raises(SettingError, match="optimizer must be one of sgd, adam, got 'obgd'"):
        qrc.Config(optimizer="obgd")
    with pytest.raises(SettingError, match="kappa must be a number above 0"):
        stream_q.Config(kappa=0)


def test_epsilon_falls_in_a_line_and_then_stays():
    for wrong, words in (
        ((1, 0.1, 0), "steps must be a whole number, at least 1, got 0"),
        ((2.0, 0.1, 5), r"start must be a share in \[0, 1\], got 2.0"),
        ((1.0, -1, 5), r"end must be a share in \[0, 1\], got -1"),
        (("a", 0.1, 5), r"start must be a share in \[0, 1\], got 'a'"),
    ):
        with pytest.raises(SettingError, match=words):
            EpsilonGreedy(*wrong)
    policy = EpsilonGreedy(1.0, 0.2, 100)
    assert [round(policy.epsilon(t), 9) for t in (0, 25, 100, 500)] == [1.0, 0.8, 0.2, 0.2]


def test_greedy_actions_have_the_share_they_should():
    policy, rng, values = (
        EpsilonGreedy(0.3, 0.3, 1),
        np.random.default_rng(0),
        np.array([0.0, 1, 0]),
    )
    counts = np.bincount([policy.sample(values, 0, rng) for _ in range(20_000)], minlength=3)
    expected = np.array([0.1, 0.8, 0.1])
    tolerance = 5 * np.sqrt(expected * (1 - expected) / 20_000)
    assert (np.abs(counts / 20_000 - expected) < tolerance).all()


def test_sgd_and_adam_follow_their_formulas():
    rng = np.random.default_rng(0)
    w, plain, m, v = np.zeros(4), np.zeros(4), 0.0, 0.0
    expected, expected_plain = w.copy(), w.copy()
    adam, sgd = Adam(4, 0.1, dtype=np.float64), SGD(4, 0.1, dtype=np.float64)
    for t in range(1, 5):
        g = rng.normal(size=4)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        expected_plain -= 0.1 * g
        adam.step(w, g)
        sgd.step(plain, g)
    assert np.allclose(w, expected, rtol=1e-12) and np.allclose(plain, expected_plain, rtol=1e-14)
    assert set(adam.arrays()) == {"m", "v", "t"} and not sgd.arrays()


def test_weights_that_are_drawn_to_zero_do_not_become_denormal():
    agent = qrc.QRC(3, 2, np.random.default_rng(0))
    agent.h.p.encoder.W[:] = 1e-40
    x = np.zeros(3, "f4")
    for _ in range(64):
        agent.update(x, agent.act(x), 0.0, x, False, False)
    w = np.abs(agent.h.p.flat)
    assert not ((w > 0) & (w < np.finfo("f4").tiny)).any()


@pytest.mark.parametrize("agent", [stream_q.StreamQ, qrc.QRC])
@pytest.mark.parametrize("actions", [0, -1, 2.0])
def test_actions_must_be_a_whole_number(agent, actions):
    with pytest.raises(SettingError, match=r"actions must be a whole number, at least 1, got"):
        agent(3, actions, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["stream-q", "qrc"])
def test_epsilon_falls_as_the_agent_lives(name):
    agent = make(name, epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=4)
    x, said, greedy = np.ones(INPUTS), [], []
    for _ in range(40):
        action = agent.act(x)
        greedy.append(action == agent.q_step[0].argmax())
        said.append(agent.update(x, action, 1.0, x, False, False).epsilon)
    assert said[:6] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert all(greedy[4:])


@pytest.mark.parametrize("name", MODULES)
def test_states_and_sensitivities_do_not_become_denormal(name):
    agent = make(name, dtype=np.float32)
    for learner in agent.learners.values():
        learner.network.state.flat[:] = 1e-40
    agent.updates[:] = 63
    agent.count()
    assert not any(learner.network.state.flat.any() for learner in agent.learners.values())


@pytest.mark.parametrize("kind", [stream_q.StreamQ, qrc.QRC])
def test_what_an_update_says_is_what_it_did(kind):
    network, cell = networks.Config(width=3, sparsity=0.0), cells.Config(units=2, r_min=0.5)
    module = {stream_q.StreamQ: stream_q, qrc.QRC: qrc}[kind]
    config = module.Config(epsilon_start=0.0, epsilon_end=0.0)  # no trace is cut
    agent = kind(2, 2, np.random.default_rng(0), config, network, cell, np.float64)
    draw = np.random.default_rng(1)
    for _ in range(5):
        x = draw.normal(size=2)
        action = agent.act(x)
        value = agent.q_step[0][action]
        if kind is qrc.QRC:
            auxiliary = agent.h.peek(x)[action]
        update = agent.update(x, action, 0.5, x, False, False)
        assert update.value == pytest.approx(value)
        if kind is qrc.QRC:
            assert update.auxiliary == pytest.approx(auxiliary)
            assert update.trace_auxiliary == agent.z_h[0]
        else:
            norm = np.abs(agent.z.flat).sum()
            assert update.trace == pytest.approx(norm)
            bound = 2.0 * max(abs(update.td_error), 1.0) * norm
            assert update.step_size == pytest.approx(1.0 / max(1.0, bound))
    assert kind is stream_q.StreamQ or update.auxiliary != update.trace_auxiliary


@pytest.mark.parametrize("name", MODULES)
def test_a_broken_observation_is_told_from_the_next_one(name):
    x, broken = np.ones(INPUTS), np.array([1.0, np.nan])
    for seen, following, words in ((broken, x, "^the obs"), (x, broken, "^the next obs")):
        agent = make(name)
        a = agent.act(seen)
        with pytest.raises(NonFiniteError, match=words + r"ervation: entry 1 is nan"):
            agent.update(seen, a, 0.0, following, False, False)
