"""Use the core where nothing but NumPy is installed (or may be imported)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
for package in (
    "gymnasium",
    "matplotlib",
    "tqdm",
    "filelock",
    "popgym",
    "mujoco",
    "scipy",
    "torch",
    "jax",
):
    sys.modules[package] = None  # importing it now fails, installed or not

import numpy as np  # noqa: E402

from streamrl_np import policies  # noqa: E402
from streamrl_np.agents.actor_critic import ActorCritic  # noqa: E402
from streamrl_np.gradcheck import registry  # noqa: E402

agent = ActorCritic(3, policies.Categorical(2), np.random.default_rng(0))
observation = np.zeros(3, "f4")
for step in range(20):
    action = agent.act(observation)
    agent.update(observation, action, 1.0, observation, step % 7 == 6, False)
assert registry.checks()["cells.rtu, rtrl"].run().ok
print("the core works with NumPy alone")
