"""Writes docs/azure-permissions.md: which of Azure's roles a yard gives, to whom, on what and why."""

from __future__ import annotations

from components.azure.roles import ROLES

_HEAD = """# What each identity of an Azure yard may do

Written by `make docs` from the table of roles in the code; a test holds this page to it. A yard gives built-in roles alone, each on one
resource: a container, a vault, a workspace, an account. Never on a group or a subscription, and never a role that gives roles.

| identity | comes as it | roles |
|---|---|---|
| of each pool | whatever runs on the pool's machines | write runs, read data, pull images |
| submitter | tokens of the CI subjects in `gpuyard:submitters`, each word for word | write runs, submit to the workspace |
| of the workspace | Azure ML; Azure itself gives it roles on the workspace's own things | connect to accounts and the registry |
| of the closing workflow | the workflow `end`, from the yard's last day on | set the size of clusters |
| of an encryption key | the storage accounts under that key | wrap and unwrap with it |

What to know besides:

- **Who may submit may run any container on the pool's machines**, with the pool's identity. Hold the submitter's identity, and review of
  what it submits, to be as much as the pool's.
- **Where they write.** A condition on the assignment lets jobs change blobs below `gpuyard/runs/` alone, submitters below `gpuyard/code/`
  too; targets.json is beyond both. Reading is of the whole run bucket. The role itself could delete the container, which comes back
  within 30 days.
- **Secrets** are not granted from here: an identifier does not say where its vault is. Their vault's owner gives the role `Key Vault
  Secrets User` on each secret to the identities of the pools (`POOL-node-identity`).
- **Whoever runs `pulumi up`** needs to make role assignments: `Role Based Access Control Administrator` on the yard's groups does.
- **Whoever writes targets.json** (`publish_command`) needs `Storage Blob Data Contributor` on the run bucket,
  without such a condition.

| role | id | why, and on what |
|---|---|---|
"""


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(f"| {role.name} | `{role.guid}` | {role.why} |\n" for role in ROLES)
