"""Data sets as they are shipped, read where they lie; one table entry each."""

from edgead.evaluation.datasets.sample import Category, DatasetError, Sample, few_shot
from edgead.evaluation.datasets.table import DATASETS, Dataset, get_dataset

__all__ = ["DATASETS", "Category", "Dataset", "DatasetError", "Sample", "few_shot", "get_dataset"]
