"""
Many classes
============

Multinomial logistic regression on sparse, text-like data with 100 classes, and the best few classes of each document
without ever forming the matrix of all scores.
"""

import matplotlib.pyplot as plt
import numpy as np

from steppe.datasets import make_text_classification
from steppe.linear_model import MultinomialLogisticRegression

X, y = make_text_classification(5000, 10_000, 60, 100, random_state=0)[:2]
train, test = slice(0, 4000), slice(4000, None)

model = MultinomialLogisticRegression(1e-5, n_jobs=2).fit(X[train], y[train])
labels, scores = model.predict_topk(X[test], 10)

# %%
# How often the right class is among the first k.
found = np.cumsum(labels == y[test][:, None], axis=1).mean(axis=0)
figure, axis = plt.subplots(layout="constrained")
axis.plot(np.arange(1, 11), found, marker="o")
axis.set(xlabel="k", ylabel="right class among the first k", ylim=(0, 1), title="100 classes, 4,000 documents")
plt.show()
