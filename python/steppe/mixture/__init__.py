"""Mixtures of Gaussians."""

from steppe.mixture._bayesian import BayesianGaussianMixture

__all__ = ["BayesianGaussianMixture"]
