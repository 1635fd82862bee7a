"""Measuring restored images: protocols, metrics, statistics, reports."""

from __future__ import annotations

from adair_core.evaluation.comparison import ComparedPair, Comparison
from adair_core.evaluation.examples import Example, chosen_examples
from adair_core.evaluation.images import EvaluationImage, EvaluationImages, evaluation_images
from adair_core.evaluation.paired import Difference
from adair_core.evaluation.report import ImageResult, MetricInfo, Report
from adair_core.evaluation.restorer import Restorer
from adair_core.evaluation.result_folder import ResultFolder
from adair_core.evaluation.run import compare, evaluate
from adair_core.evaluation.statistics import Statistic, bootstrap
from adair_core.evaluation.writing import write

__all__ = [
    "ComparedPair",
    "Comparison",
    "Difference",
    "EvaluationImage",
    "EvaluationImages",
    "Example",
    "ImageResult",
    "MetricInfo",
    "Report",
    "Restorer",
    "ResultFolder",
    "Statistic",
    "bootstrap",
    "chosen_examples",
    "compare",
    "evaluate",
    "evaluation_images",
    "write",
]
