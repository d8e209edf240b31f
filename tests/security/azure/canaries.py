"""Canaries for Azure: a deliberately bad resource of each type that Checkov checks, and the rules that must fail on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.security.canary import Canary

_OPEN: Mapping[str, Any] = {
    "access": "Allow",
    "direction": "Inbound",
    "priority": 100,
    "protocol": "*",
    "destinationPortRange": "*",
    "sourceAddressPrefix": "*",
}
_OF = {"resourceGroupName": "rg"}
_SSH_BY_PASSWORD: Mapping[str, Any] = {
    "osProfile": {"linuxConfiguration": {"disablePasswordAuthentication": False}},
    "securityProfile": {"encryptionAtHost": False},
}
CANARIES = (
    Canary(
        "azure-native:containerregistry:Registry",
        ("CKV_AZURE_137", "CKV_AZURE_138", "CKV_AZURE_139"),
        {**_OF, "adminUserEnabled": True, "anonymousPullEnabled": True, "publicNetworkAccess": "Enabled", "sku": {"name": "Premium"}},
    ),
    Canary(
        "azure-native:authorization:RoleDefinition",
        ("CKV_AZURE_39",),
        {"scope": "/subscriptions/s", "assignableScopes": ["/subscriptions/s"], "permissions": [{"actions": ["*"]}]},
    ),
    Canary(
        "azure-native:compute:VirtualMachineScaleSet",
        ("CKV_AZURE_49", "CKV_AZURE_95", "CKV_AZURE_97", "CKV_AZURE_149", "CKV_AZURE_178"),
        {**_OF, "orchestrationMode": "Uniform", "virtualMachineProfile": _SSH_BY_PASSWORD},
    ),
    Canary("azure-native:keyvault:Key", ("CKV_AZURE_40", "CKV_AZURE_112"), {**_OF, "vaultName": "v", "properties": {"kty": "RSA"}}),
    Canary(
        "azure-native:keyvault:Vault",
        ("CKV_AZURE_42", "CKV_AZURE_109", "CKV_AZURE_110", "CKV_AZURE_111", "CKV_AZURE_189"),
        {**_OF, "properties": {"enableSoftDelete": False, "tenantId": "t", "sku": {"family": "A", "name": "standard"}}},
    ),
    Canary(
        "azure-native:machinelearningservices:Workspace",
        ("CKV_AZURE_243", "CKV2_AZURE_49"),
        {**_OF, "publicNetworkAccess": "Enabled"},
    ),
    Canary("azure-native:network:FlowLog", ("CKV_AZURE_12",), {**_OF, "networkWatcherName": "w", "retentionPolicy": {"enabled": False}}),
    Canary(
        "azure-native:network:NetworkSecurityGroup",
        ("CKV_AZURE_9", "CKV_AZURE_10", "CKV_AZURE_160"),
        {**_OF, "securityRules": [{"name": "open", **_OPEN}]},
    ),
    Canary(
        "azure-native:network:SecurityRule",
        ("CKV_AZURE_9", "CKV_AZURE_10", "CKV_AZURE_160"),
        {**_OF, "networkSecurityGroupName": "g", **_OPEN},
    ),
    Canary(
        "azure-native:network:VirtualNetwork",
        ("CKV_AZURE_182", "CKV_AZURE_183"),
        {**_OF, "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "dhcpOptions": {"dnsServers": ["8.8.8.8"]}},
    ),
    Canary(
        "azure-native:storage:BlobContainer", ("CKV_AZURE_34",), {**_OF, "accountName": "a", "containerName": "c", "publicAccess": "Blob"}
    ),
    Canary(
        "azure-native:storage:StorageAccount",
        ("CKV_AZURE_3", "CKV_AZURE_36", "CKV_AZURE_43", "CKV_AZURE_44", "CKV_AZURE_59", "CKV_AZURE_206"),
        {
            **_OF,
            "accountName": "Not-A-Name",
            "enableHttpsTrafficOnly": False,
            "kind": "StorageV2",
            "minimumTlsVersion": "TLS1_0",
            "networkRuleSet": {"defaultAction": "Deny", "bypass": "None"},
            "publicNetworkAccess": "Enabled",
            "sku": {"name": "Standard_LRS"},
        },
    ),
    Canary(
        "azure-native:storage:StorageAccount",
        ("CKV_AZURE_35",),
        {**_OF, "accountName": "open", "networkRuleSet": {"defaultAction": "Allow"}, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"},
    ),
)
# Types without a Checkov rule. own_rules.py checks those that matter.
BLIND = frozenset(
    {
        "azure-native:applicationinsights:Component",
        "azure-native:authorization:RoleAssignment",
        "azure-native:automation:AutomationAccount",
        "azure-native:automation:JobSchedule",
        "azure-native:automation:Runbook",
        "azure-native:automation:Schedule",
        "azure-native:compute:CapacityReservation",
        "azure-native:compute:CapacityReservationGroup",
        "azure-native:compute:DiskEncryptionSet",
        "azure-native:compute:ProximityPlacementGroup",
        "azure-native:consumption:Budget",
        "azure-native:costmanagement:Budget",
        "azure-native:logic:Workflow",
        "azure-native:machinelearningservices:Compute",
        "azure-native:machinelearningservices:Datastore",
        "azure-native:machinelearningservices:ManagedNetworkSettingsRule",
        "azure-native:managedidentity:FederatedIdentityCredential",
        "azure-native:managedidentity:UserAssignedIdentity",
        "azure-native:monitor:ActionGroup",
        "azure-native:monitor:ActivityLogAlert",
        "azure-native:monitor:AutoscaleSetting",
        "azure-native:monitor:DiagnosticSetting",
        "azure-native:network:ApplicationSecurityGroup",
        "azure-native:network:NatGateway",
        "azure-native:network:NetworkWatcher",
        "azure-native:network:PrivateDnsZoneGroup",
        "azure-native:network:PrivateEndpoint",
        "azure-native:network:PublicIPAddress",
        "azure-native:network:RouteTable",
        "azure-native:network:Subnet",
        "azure-native:operationalinsights:Workspace",
        "azure-native:privatedns:PrivateZone",
        "azure-native:privatedns:VirtualNetworkLink",
        "azure-native:resources:ResourceGroup",
        "azure-native:storage:Blob",
        "azure-native:storage:BlobServiceProperties",
        "azure-native:storage:ManagementPolicy",
    }
)
