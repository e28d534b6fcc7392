"""The background work of this app: predictions, on queue infer.v1."""

from django.conf import settings

from mlmodels import releases
from predictions import counting, inference
from predictions.models import Prediction
from serving_site.jobs import kinds

LOAD_S = 60.0
"""What a run may take on top of its deadline: another version's load, its own, and previews to store."""

kinds.register(
    Prediction,
    "infer.v1",
    inference.run,
    deadline_s=settings.PREDICTION_DEADLINE_S + LOAD_S,
    fill_by="version_id",
    fill_rows=inference.max_batch,
    measure=counting.count,
)
releases.movers.append(inference.evacuate)
