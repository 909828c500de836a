"""Admission controls by name."""

from collections.abc import Mapping

from serving.schedule.admission.base import AdmissionControl

ADMISSIONS: Mapping[str, type[AdmissionControl]] = {}
