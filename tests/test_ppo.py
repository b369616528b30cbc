"""PPO: every derivative, in each of its forms of recurrence; its data; and that it learns."""

import gymnasium
import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, networks, optimizers
from streamrl_np.agents import ppo, rollout
from streamrl_np.arrays import NonFiniteError, Views
from streamrl_np.experiments import loop
from streamrl_np.policies import Categorical, Gaussian
from streamrl_np.settings import SettingError

INPUTS, WIDTH, UNITS = 3, 5, 4
T = 8
STARTS = np.array([t in (0, 3, 6) for t in range(T)])
UNROLLED = [name for name, cell in cells.CELLS.items() if hasattr(cell, "unroll")]


def make_network(name="rtu", mode="rtrl", outputs=2):
    rng = np.random.default_rng(0)
    config = networks.Config(width=WIDTH, blocks=1, sparsity=0.0)
    cell = cells.Config(name=name, units=UNITS, mode=mode)
    return networks.Network(INPUTS, outputs, config, cell, rng, np.float64), rng


def with_parameters(net, flat):
    """Make a network of other parameters in another precision, with a fresh state."""
    twin = net.acting_twin()
    twin.p, twin.state = Views(net.p.layout, flat=flat.copy()), Views(net.state.layout, flat.dtype)
    return twin


def run(net, flat, xs, starts):
    """Run a sequence one step at a time; returns the outputs."""
    twin, outputs = with_parameters(net, flat), []
    for x, start in zip(xs, starts, strict=True):
        if start:
            twin.reset()
        outputs.append(twin.forward(x.astype(flat.dtype))[0])
    return np.array(outputs)


@pytest.mark.parametrize("name", UNROLLED)
@pytest.mark.parametrize("length", [1, 2, 8])
def test_unrolled_segments_give_the_numbers_of_single_steps(name, length):
    net, rng = make_network(name)
    xs = rng.normal(size=(T, INPUTS))
    memory = net.replay(xs, STARTS, length)
    segments = xs.reshape(-1, length, INPUTS).swapaxes(0, 1)
    outputs, _ = net.unroll(segments, memory, STARTS.reshape(-1, length).T)
    assert_close(outputs.swapaxes(0, 1).reshape(T, -1), run(net, net.p.flat, xs, STARTS), 1e-13)


@pytest.mark.parametrize("name", UNROLLED)
@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_segments_with_sensitivities_give_the_exact_gradient_of_the_cell(name, length):
    net, rng = make_network(name)
    xs, g = rng.normal(size=(T, INPUTS)), rng.normal(size=(T, 2))
    starts = STARTS.copy()
    if length == 8:
        starts[0] = True  # one segment holds the whole past

    def cut(a):
        return a.reshape(-1, length, *a.shape[1:]).swapaxes(0, 1)

    memory = net.replay(xs, starts, length)
    _, cache = net.unroll(cut(xs), memory, cut(starts))
    net.unroll_vjp(cache, cut(g))
    exact = derivative(lambda flat: (g * run(net, flat, xs, starts)).sum(), net.p.flat)
    exact = Views(net.p.layout, flat=exact.astype(float))
    for group in net.p.layout:
        if group != "encoder" or length == 8:  # the encoder's gradient ends with its segment
            assert_close(net.grad[group].flat, exact[group].flat)


@pytest.mark.parametrize("name", UNROLLED)
@pytest.mark.parametrize("starts", [(0, 0, 0), (1, 0, 0), (0, 1, 0)])
def test_bptt_within_a_segment_is_exact_for_every_parameter(name, starts):
    """Two segments side by side, from states that stay as they are."""
    net, rng = make_network(name, "tbptt1")
    x, g = rng.normal(size=(3, 2, INPUTS)), rng.normal(size=(3, 2, 2))
    starts = np.repeat(np.array(starts, bool)[:, None], 2, axis=1)
    memory = net.replay(rng.normal(size=(2, INPUTS)), np.array([True, False]), 1)

    def loss(flat):
        return (g * with_parameters(net, flat).unroll(x, memory, starts)[0]).sum()

    _, cache = net.unroll(x, memory, starts)
    net.unroll_vjp(cache, g)
    assert_close(net.grad.flat, derivative(loss, net.p.flat))


def test_a_frozen_cell_gets_no_gradient():
    net, rng = make_network("rtu", "frozen")
    x = rng.normal(size=(4, 2, INPUTS))
    memory = net.replay(rng.normal(size=(2, INPUTS)), np.array([True, False]), 1)
    _, cache = net.unroll(x, memory, np.zeros((4, 2), bool))
    net.unroll_vjp(cache, np.ones((4, 2, 2)))
    assert not net.grad.cell.flat.any() and net.grad.encoder.flat.any()


def test_policy_loss_gradient():
    rng = np.random.default_rng(0)
    log_ratio, A = 0.4 * rng.normal(size=200), rng.normal(size=200)
    expected = derivative(lambda x: ppo.policy_loss(np.exp(x), A, 0.2), log_ratio)
    assert_close(ppo.policy_loss_gradient(np.exp(log_ratio), A, 0.2), expected)


@pytest.mark.parametrize("clip", [0.2, None])
def test_value_loss_gradient(clip):
    rng = np.random.default_rng(0)
    v_old, target = rng.normal(size=200), rng.normal(size=200)
    v = v_old + 0.4 * rng.normal(size=200)
    expected = derivative(lambda x: ppo.value_loss(x, v_old, target, clip), v)
    assert_close(ppo.value_loss_gradient(v, v_old, target, clip), expected)


@pytest.mark.parametrize("policy", [Categorical(3), Gaussian(2)])
def test_both_gradients_of_a_minibatch(policy):
    rng = np.random.default_rng(0)
    config = ppo.Config(rollout=12, segment=3, minibatches=2, entropy=0.1)
    network, cell = (
        networks.Config(width=WIDTH, sparsity=0.0),
        cells.Config(units=UNITS, mode="tbptt1"),
    )
    agent = ppo.PPO(INPUTS, policy, rng, config, network, cell, np.float64)
    agent.learn = lambda: None
    for t in range(12):
        x = rng.normal(size=INPUTS)
        agent.update(x, agent.act(x), rng.normal(), x, t == 4, t == 7)
    agent.actor.p.flat[:] += 0.1 * rng.normal(size=agent.actor.p.flat.size)  # off the old policy
    agent.critic.p.flat[:] += 0.1 * rng.normal(size=agent.critic.p.flat.size)
    batch = {k: a.swapaxes(0, 1) for k, a in agent.rollout.segments(3).items()}
    batch["advantages"] = rng.normal(size=(3, 4))
    memory = [
        net.replay(agent.rollout.observations, agent.rollout.starts, 3)
        for net in (agent.actor, agent.critic)
    ]
    agent.gradient(batch, *memory)

    def policy_loss(flat):
        net = with_parameters(agent.actor, flat)
        outputs, _ = net.unroll(batch["observations"], memory[0], batch["starts"])
        ratio = np.exp(policy.log_prob(outputs, batch["actions"]) - batch["log_probs"])
        A = ppo.standardize(batch["advantages"])
        return ppo.policy_loss(ratio, A, 0.2) - 0.1 * policy.entropy(outputs).mean()

    def value_loss(flat):
        net = with_parameters(agent.critic, flat)
        v, _ = net.unroll(batch["observations"], memory[1], batch["starts"])
        target = batch["advantages"] + batch["values"]
        return ppo.value_loss(v[..., 0], batch["values"], target, 0.2)

    assert_close(agent.actor.grad.flat, derivative(policy_loss, agent.actor.p.flat))
    assert_close(agent.critic.grad.flat, derivative(value_loss, agent.critic.p.flat))


def test_advantages_are_discounted_sums_of_errors_within_an_episode():
    rng = np.random.default_rng(0)
    rewards, values, next_values = rng.normal(size=(3, 9))
    ends = np.array([t in (3, 6) for t in range(9)])
    gamma, lam = 0.9, 0.8
    delta = rewards + gamma * next_values - values
    episodes = [(0, 4), (4, 7), (7, 9)]
    expected = [
        sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, last))
        for first, last in episodes
        for t in range(first, last)
    ]
    assert_close(rollout.advantages(rewards, values, next_values, ends, gamma, lam), expected)


def test_advantages_with_lambda_one_are_returns_less_values():
    rewards, values = np.ones(5), np.arange(5.0)
    next_values = np.append(values[1:], 0)
    A = rollout.advantages(rewards, values, next_values, np.arange(5) == 4, 1.0, 1.0)
    assert_close(A + values, [5, 4, 3, 2, 1])


def test_the_next_value_is_zero_after_the_end_and_the_critics_after_a_cut():
    agent = ppo.PPO(2, Categorical(2), np.random.default_rng(0))
    x, y = np.ones(2, "f4"), -np.ones(2, "f4")
    for terminated, truncated in (False, False), (True, False), (False, True), (False, False):
        agent.update(x, agent.act(x), 1.0, y, terminated, truncated)
    data = agent.rollout
    assert data.next_values[1] == 0 and data.next_values[2] != 0
    assert list(data.starts[:4]) == [True, False, True, True]
    assert list(data.ends[:4]) == [False, True, True, False]
    first, again = data.values[[0, 2]]
    assert first == again, "both steps are the first of an episode"


def test_an_episode_that_is_broken_off_ends_in_the_rollout_too():
    agent = ppo.PPO(2, Categorical(2), np.random.default_rng(0))
    x = np.ones(2, "f4")
    for t in range(4):
        agent.update(x, agent.act(x), 1.0, x, False, False)
        if t == 1:
            agent.reset()
    assert list(agent.rollout.ends[:4]) == [False, True, False, False]
    assert list(agent.rollout.starts[:4]) == [True, False, True, False]


def test_an_actor_that_broke_gives_no_action():
    agent = ppo.PPO(2, Gaussian(1), np.random.default_rng(0))
    agent.actor.p.head.b[0] = np.nan
    with pytest.raises(NonFiniteError, match=r"the actor parameters: head.b\[0\] is nan"):
        agent.act(np.ones(2, "f4"))


def test_the_next_value_is_the_critics_look_ahead():
    config = ppo.Config(rollout=8, segment=2, minibatches=2)
    agent = ppo.PPO(2, Categorical(2), np.random.default_rng(0), config)
    agent.learn = lambda: None
    xs, expected = np.random.default_rng(1).normal(size=(9, 2)).astype("f4"), []
    for t in range(8):
        action = agent.act(xs[t])
        expected.append(0.0 if t == 4 else agent.judging.peek(xs[t + 1])[0])
        agent.update(xs[t], action, 1.0, xs[t + 1], t == 4, t == 6)
    assert (agent.rollout.next_values == np.array(expected, "f4")).all()


def test_adam_against_the_published_algorithm():
    rng = np.random.default_rng(0)
    w, gradients = np.zeros(4), rng.normal(size=(5, 4))
    adam = optimizers.Adam(4, 0.1, 0.9, 0.99, 1e-8, np.float64)
    m, v, expected = np.zeros(4), np.zeros(4), np.zeros(4)
    for t, g in enumerate(gradients, start=1):
        adam.step(w, g)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g**2
        expected -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
    assert_close(w, expected, 1e-14)


class Echo:
    """Say which of two things was seen two steps ago; needs a memory."""

    def __init__(self, seed):
        self.rng, self.seen = np.random.default_rng(seed), [0, 0, 0]

    def observe(self):
        return np.eye(2, dtype="f4")[self.seen[-1]]

    def step(self, action):
        reward = float(action == self.seen[-3])
        self.seen = [*self.seen[1:], int(self.rng.integers(2))]
        return self.observe(), reward


@pytest.mark.parametrize("segment, mode", [(1, "rtrl"), (16, "rtrl"), (16, "tbptt1")])
def test_it_learns_to_remember(segment, mode):
    config = ppo.Config(
        rollout=256, segment=segment, minibatches=4, discount=0.5, step_size=3e-3, max_norm=5.0
    )
    network, cell = networks.Config(width=16), cells.Config(units=16, mode=mode)
    agent = ppo.PPO(2, Categorical(2), np.random.default_rng(0), config, network, cell)
    task, rewards = Echo(1), []
    x = task.observe()
    for t in range(6144):
        action = agent.act(x)
        following, reward = task.step(action)
        agent.update(x, action, reward, following, t % 60 == 59, False)
        x = following
        rewards.append(reward)
    assert np.mean(rewards[:256]) < 0.65 and np.mean(rewards[-256:]) > 0.9


def test_settings_that_do_not_fit():
    with pytest.raises(
        SettingError, match="rollout must be more than minibatches = 8, got 8: of a"
    ):
        ppo.Config(rollout=8, segment=1, minibatches=8)
    with pytest.raises(SettingError, match="multiple of segment · minibatches = 512, got 2000"):
        ppo.Config(rollout=2000)
    with pytest.raises(SettingError, match=r"cell.name must be one of rtu, .* for PPO, got 'gru'"):
        ppo.PPO(2, Categorical(2), np.random.default_rng(0), cell=cells.Config(name="gru"))


class Spoiled(gymnasium.Env):
    """Pendulum's spaces; a number that is none at one step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, what):
        self.what, self.t = what, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, "f4"), {}

    def step(self, action):
        assert np.isfinite(action).all(), "the simulator was given a NaN"
        self.t += 1
        bad = np.nan if self.t == 3 else 0.0
        observation = np.full(2, bad if self.what == "observation" else 0.0, "f4")
        return observation, bad if self.what == "reward" else 0.0, False, False, {}


@pytest.mark.parametrize("what", ["observation", "reward"])
def test_a_nan_of_the_environment_is_named_at_once(what):
    env, rng = Spoiled(what), np.random.default_rng(0)
    agent = ppo.PPO(
        2, Gaussian(1), rng, network=networks.Config(width=4), cell=cells.Config(units=3)
    )
    steps = loop.transitions(env, agent, lambda x: x, lambda r, done: r, seed=0)
    taken = 0
    with pytest.raises(NonFiniteError, match=f"the {what}"):
        for _ in steps:
            taken += 1
    assert taken <= 3


def small_learner():
    config = ppo.Config(rollout=8, segment=2, minibatches=2)
    network, cell = networks.Config(width=3, sparsity=0.0), cells.Config(units=2)
    return ppo.PPO(2, Categorical(2), np.random.default_rng(0), config, network, cell)


def fill(agent, reward):
    x = np.ones(2, "f4")
    for _ in range(8):
        agent.update(x, agent.act(x), reward, x, False, False)


def test_an_advantage_that_overflows_is_named():
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="the advantages"):
        fill(small_learner(), 3e38)


def test_a_gradient_that_is_no_number_is_named():
    agent = small_learner()
    agent.policy.log_prob_gradient = lambda outputs, action: outputs * np.nan
    with pytest.raises(NonFiniteError, match="the actor's gradient"):
        fill(agent, 1.0)


def test_a_critic_that_broke_gives_no_action():
    agent = small_learner()
    agent.critic.p.head.b[:] = np.nan
    with pytest.raises(NonFiniteError, match=r"the critic parameters: head.b"):
        agent.act(np.ones(2, "f4"))


def test_adams_means_do_not_become_denormal():
    agent = small_learner()
    agent.optimizer_pi.v[:] = agent.optimizer_v.m[:] = 1e-40
    agent.step_minibatch = lambda *arguments: ppo.Update(*[0.0] * 6)
    fill(agent, 1.0)
    assert not agent.optimizer_pi.v.any() and not agent.optimizer_v.m.any()


def test_values_are_clipped_to_something_or_not_at_all():
    with pytest.raises(SettingError, match=r"value_clip must be a number or none above 0, got 0"):
        ppo.Config(value_clip=0.0)


def test_a_gradient_shorter_than_the_longest_stays_as_it_is():
    config = ppo.Config(rollout=8, segment=2, minibatches=2, epochs=1, max_norm=1e6)
    network, cell = networks.Config(width=3, sparsity=0.0), cells.Config(units=2)
    agent = ppo.PPO(2, Categorical(2), np.random.default_rng(0), config, network, cell)
    taken, x = [], np.ones(2, "f4")
    for optimizer in agent.optimizer_pi, agent.optimizer_v:
        optimizer.step = lambda w, gradient: taken.append(float(gradient @ gradient))
    for _ in range(8):
        agent.update(x, agent.act(x), 1.0, x, False, False)
    norms = np.sqrt(np.reshape(taken, (2, 2)).sum(1))
    assert norms.mean() == pytest.approx(agent.log[-1]) and norms.max() < 1e3
