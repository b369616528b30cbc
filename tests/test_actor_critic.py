import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from differences import assert_close

from streamrl_np import cells, layers, networks
from streamrl_np.agents import actor_critic, ppo
from streamrl_np.arrays import NonFiniteError
from streamrl_np.policies import Categorical, Gaussian
from streamrl_np.settings import SettingError


def make(dtype=np.float64, units=6, width=5, seed=0, **settings):
    rng = np.random.default_rng(seed)
    config = actor_critic.Config(**settings)
    network, cell = networks.Config(width=width, sparsity=0.5), cells.Config(units=units)
    return actor_critic.ActorCritic(3, Categorical(2), rng, config, network, cell, dtype)


class Reference:
    """Stream AC(λ) once more, with nothing shared but the networks."""

    def __init__(self, agent):
        self.agent, self.cfg = agent, agent.config
        self.z_pi, self.z_v = 0.0, 0.0

    def update(self, s, a, r, s_next, terminated, truncated):
        cfg, actor, critic = self.cfg, self.agent.actor, self.agent.critic
        logits, cache = actor.forward(s)
        v, critic_cache = critic.forward(s)
        bootstrap = 0.0 if terminated else cfg.discount * critic.peek(s_next)[0]
        delta = r + bootstrap - v[0]
        pi = np.exp(logits) / np.exp(logits).sum()
        entropy = -(pi * np.log(pi)).sum()
        g = np.eye(2)[a] - pi + cfg.entropy * np.sign(delta) * -pi * (np.log(pi) + entropy)
        actor.vjp(cache, g)
        critic.vjp(critic_cache, np.ones(1))
        decay = cfg.discount * cfg.trace_decay
        self.z_pi = decay * self.z_pi + actor.grad.flat
        self.z_v = decay * self.z_v + critic.grad.flat
        kappas = (cfg.kappa_policy, cfg.kappa_value)
        for net, z, kappa in zip((actor, critic), (self.z_pi, self.z_v), kappas, strict=True):
            bound = kappa * max(abs(delta), 1.0) * np.abs(z).sum()
            net.p.flat[:] += delta * z / max(1.0, bound)
        if terminated or truncated:
            self.z_pi, self.z_v = 0.0, 0.0
            for net in (actor, critic):
                net.state.flat[:] = 0.0
        return delta


def test_update_is_the_pseudocode_over_three_episodes():
    agent, reference = make(), Reference(make())
    rng = np.random.default_rng(1)
    s = rng.normal(size=3)
    for t in range(12):
        s_next, r = rng.normal(size=3), rng.normal()
        terminated, truncated = t == 3, t == 7
        a = agent.act(s)
        delta = agent.update(s, a, r, s_next, terminated, truncated).td_error
        assert_close(delta, reference.update(s, a, r, s_next, terminated, truncated))
        for net in ("actor", "critic"):
            mine, theirs = getattr(agent, net), getattr(reference.agent, net)
            assert_close(mine.p.flat, theirs.p.flat)
            assert_close(mine.state.flat, theirs.state.flat)
        s = s_next


def one_update(terminated, truncated):
    agent, rng = make(), np.random.default_rng(1)
    s, s_next = rng.normal(size=3), rng.normal(size=3)
    a = agent.act(s)
    return agent, agent.update(s, a, 1.0, s_next, terminated, truncated).td_error


def test_termination_ends_bootstrapping_and_truncation_does_not():
    _, going_on = one_update(False, False)
    _, truncated = one_update(False, True)
    _, terminated = one_update(True, False)
    assert going_on == truncated != terminated


@pytest.mark.parametrize("how", [(True, False), (False, True)])
def test_either_end_resets_state_sensitivities_and_traces(how):
    agent, _ = one_update(*how)
    for name in ("actor_state", "critic_state", "actor_trace", "critic_trace"):
        assert not agent.parts()[name].flat.any(), name
    agent, _ = one_update(False, False)
    assert all(views.flat.any() for views in agent.parts().values())


def test_the_same_seed_gives_the_same_bits():
    def life():
        agent, rng = make(np.float32), np.random.default_rng(1)
        for t in range(20):
            s = rng.normal(size=3).astype("f4")
            agent.update(s, agent.act(s), 0.5, s, t % 7 == 6, False)
        return agent.actor.p.flat.tobytes() + agent.critic.p.flat.tobytes()

    assert life() == life()


@pytest.mark.parametrize("optimizer", ["obgd", "adaptive_obgd"])
def test_everything_stays_float32(optimizer):
    agent, rng = make(np.float32, optimizer=optimizer), np.random.default_rng(1)
    s = rng.normal(size=3).astype("f4")
    logits, _ = agent.actor.forward(s)
    assert agent.policy.gradient(logits, 0, 0.01 * float(np.sign(-2.0))).dtype == "f4"
    found = {name: a.dtype for name, a in agent.arrays().items() if not name.endswith(".t")}
    assert set(found.values()) == {np.dtype("f4"), np.dtype("i8")}


def peak_of_a_step(units, width):
    agent, rng = make(np.float32, units=units, width=width), np.random.default_rng(1)
    observations = rng.normal(size=(70, 3)).astype("f4")

    def live():
        for t, s in enumerate(observations):
            agent.update(s, agent.act(s), 0.5, s, t % 17 == 16, False)

    live()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    live()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return peak


@pytest.mark.slow
def test_a_step_allocates_no_large_array():
    """NumPy's ufuncs have a fixed buffer of 8192 entries; nothing may come on top with n·d."""
    small, large = peak_of_a_step(192, 64), peak_of_a_step(384, 256)
    assert large - small < 384 * 256 * 4 / 8, f"{small} and {large} bytes"


def test_optimizers_that_hear_nothing_do_not_become_denormal():
    config = actor_critic.Config(optimizer="adaptive_obgd")
    agent = actor_critic.ActorCritic(3, Categorical(2), np.random.default_rng(0), config)
    agent.optimizer_v.v[:] = 1e-40
    x = np.zeros(3, "f4")
    for _ in range(64):
        agent.update(x, agent.act(x), 0.0, x, False, False)
    v = agent.optimizer_v.v
    assert not ((v > 0) & (v < np.finfo("f4").tiny)).any()


@pytest.mark.parametrize("inputs", [0, -1, 2.5])
def test_inputs_are_counted(inputs):
    with pytest.raises(SettingError, match="inputs must be a whole number, at least 1, got"):
        actor_critic.ActorCritic(inputs, Categorical(2), np.random.default_rng(0))


def test_traces_that_decay_do_not_become_denormal():
    """A saturated policy feeds its trace nothing; without the flush it decays into denormals."""
    agent, rng = make(np.float32, trace_decay=0.9), np.random.default_rng(1)
    agent.update(s := rng.normal(size=3).astype("f4"), agent.act(s), 1.0, s, False, False)
    agent.actor.p.head.b = [1000.0, 0.0]
    tiny = np.finfo("f4").tiny
    subnormal = 0
    for _ in range(1500):
        agent.update(s, agent.act(s), 0.0, s, False, False)
        z = np.abs(agent.z_pi.flat)
        subnormal = max(subnormal, np.count_nonzero((z > 0) & (z < tiny)))
    assert not agent.z_pi.flat.any(), "decayed to zero"
    assert subnormal == 0


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda agent: agent.critic.p.head.b.fill(np.nan),
            r"critic parameters: head.b\[0\] is nan",
        ),
        (lambda agent: agent.z_v.flat[5:6].fill(np.inf), "the eligibility trace: entry 5 is inf"),
    ],
)
def test_a_broken_number_is_named(spoil, words):
    agent, rng = make(), np.random.default_rng(1)
    s = rng.normal(size=3)
    a = agent.act(s)
    spoil(agent)
    with pytest.raises(NonFiniteError, match=words):
        agent.update(s, a, 1.0, s, False, False)


def test_a_broken_reward_is_named():
    agent, rng = make(), np.random.default_rng(1)
    s = rng.normal(size=3)
    with pytest.raises(NonFiniteError, match="the reward is inf"):
        agent.update(s, agent.act(s), np.inf, s, False, False)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(discount=1.5), r"discount must be a number in \[0, 1\], got 1.5"),
        (dict(trace_decay=-0.1), "trace_decay must be a number in"),
        (dict(optimizer="sgd"), "optimizer must be one of obgd, adaptive_obgd, got 'sgd'"),
        (dict(kappa_value=0.0), "kappa_value must be a number above 0, got 0.0"),
        (dict(entropy=float("nan")), "entropy must be a number, at least 0, got nan"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(SettingError, match=words):
        actor_critic.Config(**settings)


def test_settings_of_another_kind_are_refused():
    policy, rng = Categorical(2), np.random.default_rng(0)
    with pytest.raises(SettingError, match=r"config must be a .*actor_critic\.Config, got a .*ppo"):
        actor_critic.ActorCritic(2, policy, rng, config=ppo.Config())
    with pytest.raises(SettingError, match=r"cell must be a .*cells\.Config, got a .*networks"):
        actor_critic.ActorCritic(2, policy, rng, cell=networks.Config())
    for agent in actor_critic.ActorCritic, ppo.PPO:
        with pytest.raises(SettingError, match=r"policy must be a .*policies\.Policy, got a int"):
            agent(2, 2, rng)
        with pytest.raises(SettingError, match=r"rng must be a .*Generator, got a int"):
            agent(2, policy, 0)
        for dtype in "int32", "foo":
            with pytest.raises(SettingError, match=f"dtype must be float32.*, got {dtype}"):
                agent(2, policy, rng, dtype=dtype)


def test_an_actor_that_broke_gives_no_action():
    agent, s = make(), np.ones(3)
    agent.actor.p.head.b[0] = np.nan
    with pytest.raises(NonFiniteError, match=r"the actor parameters: head.b\[0\] is nan"):
        agent.act(s)


@pytest.mark.parametrize("kind", [actor_critic.ActorCritic, ppo.PPO])
def test_an_update_needs_an_act_of_its_own(kind):
    agent, x = kind(3, Categorical(2), np.random.default_rng(0)), np.ones(3)
    with pytest.raises(RuntimeError, match="update needs an act before it"):
        agent.update(x, 0, 1.0, x, False, False)
    action = agent.act(x)
    agent.update(x, action, 1.0, x, False, False)
    with pytest.raises(RuntimeError, match="update needs an act before it"):
        agent.update(x, action, 1.0, x, False, False)
    assert agent.updates[0] == 1


@pytest.mark.parametrize("kind", [actor_critic.ActorCritic, ppo.PPO])
def test_an_action_that_there_is_not_is_refused(kind):
    x, rng = np.ones(3), np.random.default_rng(0)
    for policy, action, words in (
        (Categorical(2), 2, "action must be one of 0 to 1, got 2"),
        (Categorical(2), -1, "action must be one of 0 to 1, got -1"),
        (Categorical(2), 0.5, "action must be one of 0 to 1, got 0.5"),
        (Gaussian(2), np.ones(3), r"action must have shape \(2,\), got \(3,\)"),
    ):
        agent = kind(3, policy, rng)
        agent.act(x)
        with pytest.raises(SettingError, match=words):
            agent.update(x, action, 1.0, x, False, False)
        assert agent.updates[0] == 0


def test_a_copy_lives_the_same_life():
    agent, rng = make(optimizer="adaptive_obgd"), np.random.default_rng(1)
    xs = rng.normal(size=(9, 3))

    def live(agent, span):
        for t in span:
            agent.update(xs[t], agent.act(xs[t]), 1.0, xs[t + 1], t == 5, False)
        return {name: array.tobytes() for name, array in agent.arrays().items()}

    live(agent, range(4))
    twins = copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))
    lives = [live(one, range(4, 8)) for one in (agent, *twins)]
    assert lives[0] == lives[1] == lives[2]


def test_what_an_update_says_is_what_it_did():
    agent = make(kappa_policy=30.0, kappa_value=7.0)
    x = np.random.default_rng(1).normal(size=3)
    for _ in range(5):
        action = agent.act(x)
        pi = layers.softmax(agent.actor_step[0])
        update = agent.update(x, action, 0.5, x, False, False)
        delta = max(abs(update.td_error), 1)
        for name, z, kappa in ("policy", agent.z_pi, 30.0), ("value", agent.z_v, 7.0):
            norm = np.abs(z.flat).sum()
            assert getattr(update, f"trace_{name}") == pytest.approx(norm)
            step_size = 1 / max(1, kappa * delta * norm)
            assert getattr(update, f"step_size_{name}") == pytest.approx(step_size)
        assert update.entropy == pytest.approx(-(pi * np.log(pi)).sum())


def test_everything_stays_float64_too():
    cell, config = cells.Config(units=6), actor_critic.Config(optimizer="adaptive_obgd")
    rng = np.random.default_rng(0)
    agent = actor_critic.ActorCritic(
        3, Categorical(2), rng, config, networks.Config(width=5), cell, np.float64
    )
    assert {a.dtype for a in agent.arrays().values()} == {np.dtype("f8"), np.dtype("i8")}
