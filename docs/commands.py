"""What each directory of docs/results was made by: a name to its commands."""

OURS = {  # python -m streamrl_np …, one a line
    "first-run": "run memory-chain",
    "memory-chain": "study memory-chain",
    "memory-chain-500k": "study memory-chain-500k",
    "memory-chain-entropy": "study memory-chain-entropy",
    "memory-chain-slow-actor": "study memory-chain-slow-actor",
    "memory-chain-adaptive": "study memory-chain-adaptive",
    "distractors": "study distractors",
    "distractors-32": "study distractors-32",
    "flagged-recall": "study flagged-recall",
    "cost": "cost --out docs/results/cost",
    "credit": "credit --out docs/results/credit",
    "staleness": "staleness --out docs/results/staleness",
    "popgym": "sweep popgym --seeds 0-2",
    "mujoco": "sweep mujoco --seeds 0-2 --only 'PPO|(RTRL|memoryless)($|,-κ)'\n"
    "sweep mujoco --seeds 0-1 --only '(RTRL|memoryless),-plain'\n"
    "sweep mujoco --seeds 0 --only 'Hopper.*128'",
    "mujoco-rest": "sweep mujoco-rest --seeds 0 --only '(RTRL|memoryless)$'",
    "ring-16": "sweep ring-16 --seeds 0-2\nsweep ring-16 --seeds 3-9 --only length",
    "ring-64": "sweep ring-64 --seeds 0-1 --only ring\nsweep ring-64 --seeds 2-9 --only length",
    "ppo": "sweep ppo --seeds 0-2 --only '16|memoryless'",
    "gradcheck": "gradcheck --plots docs/results/gradcheck",
}
COMMANDS = {
    name: [f"python -m streamrl_np {line}" for line in lines.splitlines()]
    for name, lines in OURS.items()
}
COMMANDS["ppo"] += [  # the arms of Stable-Baselines3
    "python docs/results/ppo/run_sb3.py sweeps/ppo --only 'SB3-PPO|Repeat'",
    "python docs/results/ppo/run_sb3.py sweeps/ppo --only 'Cart.*Recurrent' --seeds 0",
]
