"""Taking a good part out of the bank that was added by mistake, also when others were added after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgead_runtime.bank import Reference
from edgead_runtime.coreset import taken_back
from edgead_runtime.errors import EnrollmentError
from edgead_runtime.memory import Memory
from edgead_runtime.pipeline import Pipeline


def place_of_added(references: Sequence[Reference], name: str | None) -> int:
    """Where among the references the one is that is to be taken back.

    Args:
        references: In the order of the bank.
        name: Of a part that was added; ``None``: the last one.

    Raises:
        EnrollmentError: Nothing was added since enrolment, or nothing of that name.
    """
    added = [place for place, reference in enumerate(references) if reference.added == "add_good"]
    if not added:
        raise EnrollmentError("nothing was added since enrolment", "There is nothing to undo.")
    if name is None:
        return added[-1]
    for place in added:
        if references[place].picture.name == name:
            return place
    raise EnrollmentError(f"nothing of the name {name} was added", "Give the name that add_good returned.")


def as_if_never_added(pipeline: Pipeline, memory: Memory, place: int, most: int | None = None) -> Memory:
    """A coreset without one of the parts that were added, and without any trace of it.

    What is kept of a part is what those before it do not stand for. So without one of them the others that
    were added have holes, and patches that a thinning dropped are nowhere kept: all of them are encoded
    again. What was enrolled was never touched.

    Args:
        pipeline: The method.
        memory: With a coreset.
        place: Which reference.
        most: See :meth:`Memory.adding`.
    """
    references = memory.references
    enrolled = [reference for reference in references if reference.added == "enrollment"]
    rest = replace(memory.of(enrolled), coreset=taken_back(enrolled, memory.coreset, memory.recipe))
    fixed = pipeline.landmarks_to_align_to(references[0])
    for index, reference in enumerate(references):
        if reference.added == "add_good" and index != place:
            picture = reference.picture
            features = pipeline.encode(picture.frame)
            rest = rest.adding(pipeline.embed(picture, features, fixed, added_later=True), most)
    return rest
