"""
One model, four schedules
=========================

The same matrix factorisation on one thread, under bulk-synchronous ring shifts, and with item factors that wander
freely between workers. All reach the same objective; they differ in how long they take.
"""

import matplotlib.pyplot as plt

from steppe.datasets import make_ratings
from steppe.recommend import MatrixFactorization

X = make_ratings(4000, 1500, 400_000, 16, random_state=0)[0]

figure, axis = plt.subplots(layout="constrained")
for schedule, n_jobs in [("serial", 1), ("bsp", 2), ("nomad", 2), ("hogwild", 2)]:
    model = MatrixFactorization(16, schedule=schedule, n_jobs=n_jobs, max_iter=20, tol=0, callbacks=lambda info: False)
    history = model.fit(X).history_
    axis.plot(history["seconds"], history["objective"], marker=".", label=f"{schedule}, n_jobs={n_jobs}")

# %%
# A callback was given, so the objective was evaluated after every iteration.
axis.set(xlabel="seconds", ylabel="objective", yscale="log", title="MatrixFactorization, 400 k ratings")
axis.legend()
plt.show()
