"""Writes docs/azure-permissions.md: which of Azure's roles a yard gives, to whom, on what and why."""

from __future__ import annotations

from gpuyard.components.azure.roles import ROLES

_HEAD = """# What each identity of an Azure yard may do

Written by `make docs` from the table of roles in the code; a test holds this page to it. A yard gives built-in roles alone, each on one
resource: a container, a vault, a workspace, an account. Never on a group or a subscription, and never a role that gives roles. Azure
itself gives one more, to the workspace: see below.

| identity | comes as it | roles |
|---|---|---|
| of each pool | whatever runs on the pool's machines | write runs, read data, pull images |
| submitter | tokens of the CI subjects in `gpuyard:submitters`, each word for word | write runs, submit to the workspace |
| of the workspace | Azure ML | connect to accounts and the registry; and what Azure gives it |
| of the closing workflow | the workflow `end`, from the yard's last day on | the clusters of the workspace |
| of an encryption key | the storage accounts under that key | wrap and unwrap with it |

What to know besides:

- **Who may submit may run any container on the pool's machines**, with the pool's identity. Hold the submitter's identity, and review of
  what it submits, to be as much as the pool's.
- **Where they write.** A condition on the assignment lets jobs change blobs below `gpuyard/runs/` alone, submitters below `gpuyard/code/`
  too; targets.json is beyond both. Reading is of the whole run bucket. The role itself could delete the container, which comes back
  within 30 days.
- **The workspace's identity** gets *Azure AI Administrator* from Azure, on the resource group that the workspace is in: all about the
  group's storage accounts, vaults and registries. In a yard's group these are the workspace's own (buckets and keys have groups of
  theirs); what else you put there it may change too. In a program of your own a job service can have another (`resource_group=`).
- **The closing workflow** sets sizes; no built-in role does that alone, so it could make and delete clusters of this one workspace.
- **Secrets** are not granted from here: an identifier does not say where its vault is. Their vault's owner gives the role `Key Vault
  Secrets User` on each secret to the identities of the pools (`POOL-node-identity`).
- **Whoever runs `pulumi up`** needs to make resource groups and role assignments: `Contributor` and `Role Based Access Control
  Administrator` on the subscription. Where your programs say `resource_group=`, on those groups; and the latter on the containers of
  existing buckets, on their accounts where these say `open_to`, and on an existing registry. Where such a bucket
  or registry is in another subscription, that role on it there; where private endpoints lead to it, `Contributor` on it too.
- **Whoever writes targets.json** (`publish_command`) needs `Storage Blob Data Contributor` on the run bucket,
  without such a condition.

| role | id | why, and on what |
|---|---|---|
"""


def text() -> str:
    """The whole page."""
    return _HEAD + "".join(f"| {role.name} | `{role.guid}` | {role.why} |\n" for role in ROLES)
