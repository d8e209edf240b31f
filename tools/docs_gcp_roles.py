"""Writes docs/gcp-permissions.md: what each identity of a GCP yard may do, where, and why the project must grant some of it."""

from __future__ import annotations

from gpuyard.components.gcp import roles
from gpuyard.components.gcp.roles import PROJECT_ROLES
from gpuyard.components.validation.submitters import ISSUER

_HEAD = f"""# What each identity of a GCP yard may do

Written by `make docs` from the tables in the code; a test holds this page to it. Service accounts without a key: machines and jobs have
theirs, pipelines become theirs by a token. What can be granted on a single resource is granted there; the last table is all that Google
has no narrower place for.

| identity | comes as it | on | role |
|---|---|---|---|
| job (`JobService-job`) | custom jobs of Vertex AI | the run bucket | `{roles.READ_OBJECTS}` |
| | | the run bucket, below `gpuyard/runs/` | `{roles.WRITE_OBJECTS}` |
| | | each bucket with `jobs: read` | `{roles.READ_OBJECTS}` |
| | | each secret of the yard | `{roles.READ_SECRET}` |
| machines of a `vms` pool (`POOL-node`) | whatever launcher runs there | as a job | as a job |
| | | the project | write-logs, write-metrics, pull-images |
| submitter (`JobService-submitter`) | tokens of the CI subjects in `gpuyard:submitters` | the run bucket | `{roles.READ_OBJECTS}` |
| | | the run bucket, below `gpuyard/code/` and `gpuyard/runs/` | `{roles.WRITE_OBJECTS}` |
| | | the job's account | `{roles.ACT_AS}` |
| | | the project | submit-jobs |
| end of a pool (`POOL-end`) | Cloud Scheduler, once | the project | resize-pools or delete-held |
| Vertex AI's service agent | Vertex AI | the run bucket's key | `roles/cloudkms.cryptoKeyEncrypterDecrypter` |
| | | the project | attach-network |
| Cloud Storage's service agent | Cloud Storage | each bucket's key | `roles/cloudkms.cryptoKeyEncrypterDecrypter` |
| Google's writers of access logs | Cloud Storage | the bucket with access logs | `roles/storage.objectCreator` |

What to know besides:

- **Who may submit may run any container** as the job's account. Hold the submitter, and review of what it submits, to be as much as that.
- **Pipelines**: the provider takes tokens of `{ISSUER}` whose subject is named, and no others. An exact
  subject becomes the submitter by name; of a subject that ends in `*`, those of its repository that the provider let in.
- **targets.json is out of the submitter's and the jobs' reach**: their writing ends at `gpuyard/code/` and `gpuyard/runs/`.
- **Submitters of one project share submit-jobs**: custom jobs have no policy of their own, so who submits for one stack can cancel the jobs
  of another in the same project. A project for each stack parts them.
- **Whoever runs `pulumi up`** needs rights to make all this, `roles/iam.roleAdmin` for the yard's own roles among them, and to act as the
  accounts it gives to machines and schedules.

## What only the project can grant

| word | role | why |
|---|---|---|
"""


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(
        f"| {key} | {f'`{role.role}`' if role.role else '<br>'.join(f'`{word}`' for word in role.permissions)} | {role.why} |\n"
        for key, role in PROJECT_ROLES.items()
    )
