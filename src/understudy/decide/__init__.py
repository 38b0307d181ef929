"""The decision core: pure functions from (state, view, policy) to the next state. No I/O, no clock, no randomness."""

from understudy.decide.decide import Decision, after_failure, decide
from understudy.decide.plans import StepOutcome, abandon, complete, next_step, steps

__all__ = ["Decision", "StepOutcome", "abandon", "after_failure", "complete", "decide", "next_step", "steps"]
