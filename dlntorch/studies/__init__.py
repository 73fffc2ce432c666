"""The studies: every claim of the paper as one command, ``python -m dlntorch study=NAME``.

**Adding a study** takes four small files, and nothing else has to be edited:

1. ``conf/study/NAME.yaml``: its settings, each with a comment. The keys ``name``, ``small`` and ``small_version`` are
   required; ``small_version`` holds the settings that ``study.small=true`` replaces (the tests run that one).
2. ``dlntorch/studies/NAME.py``: defines ``STUDY = Study(...)`` (:class:`~dlntorch.studies.base.Study`) from three
   functions: ``points(settings)`` (what to compute: a list of flat dicts of plain values; the unit of work that goes to
   a process and into the cache), ``compute(point)`` (pure; a list of rows, each a flat dict of plain values, None where
   there is none, never NaN) and ``claims(rows, settings)`` (the verdicts: :func:`~dlntorch.studies.base.within` and
   friends). No drawing.
3. ``dlntorch/report/study_figures/NAME.py``: ``charts(rows, settings)``, a list of
   :class:`~dlntorch.report.chart.Chart`; each becomes a PNG, a PDF and an interactive plot.
4. ``tests/studies/test_NAME.py``: runs the small version and checks its verdicts.

The runner does the rest: processes, progress, cache, files, page. Names are listed in the order of :func:`study_names`.
"""

from __future__ import annotations

from dlntorch.studies.base import Claim, Study, Verdict
from dlntorch.studies.catalogue import load_study, studies_of_all, study_names, study_settings
from dlntorch.studies.runner import StudyResult, run_studies, run_study

__all__ = [
    "Claim",
    "Study",
    "StudyResult",
    "Verdict",
    "load_study",
    "run_studies",
    "run_study",
    "studies_of_all",
    "study_names",
    "study_settings",
]
