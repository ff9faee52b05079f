"""NSGA-II over a space: members between which one must choose, good or quick.

Deb et al. 2002 (10.1109/4235.996017), as Optuna has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from training.search.scoring import Judge
from training.search.space import Space


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a search goes on, and how it draws."""

    population: int
    """Members of a generation, two at least."""
    generations: int
    seed: int

    @property
    def trials(self) -> int:
        """How many members are drawn; those that were drawn before are not scored again."""
        return self.population * self.generations


def evolve(space: Space, judge: Judge, plan: Plan, done: Callable[[], None] = lambda: None) -> bool:
    """Draw generations of members, each from the best of all before; the judge has the scores.

    Ctrl-C ends it early.

    Args:
        space: whose genes are mixed and changed.
        judge: scores members; limits come before objectives.
        plan: how many members are drawn.
        done: is called after each.

    Returns:
        Whether it came to its end.

    Raises:
        InputError: the judge's table lacks a part.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.NSGAIISampler(population_size=plan.population, seed=plan.seed)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    choices = space.choices()
    try:
        for _ in range(plan.trials):
            trial = study.ask()
            genes = [trial.suggest_int(name, 0, count - 1) for name, count in choices.items()]
            scored = judge(space.member(genes))
            for index, violation in enumerate(scored.violations):
                trial.set_constraint(str(index), violation)
            study.tell(trial, scored.objectives)
            done()
    except KeyboardInterrupt:
        return False
    return True
