"""`understudy demo`: two real servers, real writers, a real fault, and the way home, explained step by step.

`lab` starts and breaks things, `workload` writes, `audit` counts, `story` tells. The benches use the first three.
"""
