"""Measuring restored images: protocols, metrics, statistics, reports."""

from __future__ import annotations

from adair_core.evaluation.images import EvaluationImage, EvaluationImages, evaluation_images
from adair_core.evaluation.report import ImageResult, Report
from adair_core.evaluation.run import evaluate
from adair_core.evaluation.statistics import Statistic, bootstrap

__all__ = [
    "EvaluationImage",
    "EvaluationImages",
    "ImageResult",
    "Report",
    "Statistic",
    "bootstrap",
    "evaluate",
    "evaluation_images",
]
