"""Follow a run from its first submission to its end: record, attempts, status, limits, resubmission and waiting."""
