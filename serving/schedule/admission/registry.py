"""Admission controls by name."""

from collections.abc import Mapping

from serving.schedule.admission.base import AdmissionControl
from serving.schedule.admission.kv_watermark import KvWatermark
from serving.schedule.admission.predicted_ttft import PredictedTtft
from serving.schedule.admission.queue_cap import QueueCap
from serving.schedule.admission.token_bucket import TokenBucket

ADMISSIONS: Mapping[str, type[AdmissionControl]] = {
    "queue-cap": QueueCap,
    "kv-watermark": KvWatermark,
    "predicted-ttft": PredictedTtft,
    "token-bucket": TokenBucket,
}
