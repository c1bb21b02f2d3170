"""Microsoft's SDKs for Python against the local Azure: a disk is uploaded, made into an image and booted.

Settings come from the environment, as the test that runs this sets them. It stops at the first thing
that is not as it should be, with a traceback.
"""

import os
import sys

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.storage.blob import BlobClient

# Without it everything is where it is by default: at management.azure.com and login.microsoftonline.com.
ARM = os.environ.get("ARM")
SUBSCRIPTION = os.environ["AZURE_SUBSCRIPTION_ID"]
VHD = sys.argv[1]
DOWNLOAD = sys.argv[2]
KEY = sys.argv[3]
GROUP = sys.argv[4]
MIB = 1 << 20

login = {}
endpoint = {}
if ARM:
    # The authority is none of Microsoft's, so that nobody needs to be asked whether it is one.
    login = {"authority": ARM, "disable_instance_discovery": True}
    endpoint = {"base_url": ARM, "credential_scopes": [ARM + "/.default"]}
credential = ClientSecretCredential(
    os.environ["AZURE_TENANT_ID"],
    os.environ["AZURE_CLIENT_ID"],
    os.environ["AZURE_CLIENT_SECRET"],
    **login,
)


def client(kind):
    return kind(credential, SUBSCRIPTION, polling_interval=0, **endpoint)


compute = client(ComputeManagementClient)
network = client(NetworkManagementClient)
resources = client(ResourceManagementClient)


def refused(status, code, call):
    try:
        call()
    except HttpResponseError as error:
        assert (error.status_code, error.error.code) == (status, code), error
        return
    raise AssertionError(f"{code} was expected")


def upload():
    size = os.path.getsize(VHD)
    disk = compute.disks.begin_create_or_update(
        GROUP,
        "web",
        {
            "location": "westus2",
            "sku": {"name": "Standard_LRS"},
            "os_type": "Linux",
            "hyper_v_generation": "V2",
            "creation_data": {"create_option": "Upload", "upload_size_bytes": size},
        },
    ).result()
    assert disk.disk_state == "ReadyToUpload", disk.disk_state
    access = {"access": "Write", "duration_in_seconds": 3600}
    sas = compute.disks.begin_grant_access(GROUP, "web", access).result().access_sas
    assert compute.disks.get(GROUP, "web").disk_state == "ActiveUpload"
    blob = BlobClient.from_blob_url(sas, max_page_size=4 * MIB)
    assert blob.get_blob_properties().size == size
    with open(VHD, "rb") as file:
        for offset in range(0, size, 4 * MIB):
            page = file.read(4 * MIB)
            if any(page):
                blob.upload_page(page, offset, len(page), validate_content=True)
    compute.disks.begin_revoke_access(GROUP, "web").result()
    disk = compute.disks.get(GROUP, "web")
    assert disk.disk_state == "Unattached", disk.disk_state
    assert disk.disk_size_gb == 1, disk.disk_size_gb
    return disk


def download():
    access = {"access": "Read", "duration_in_seconds": 3600}
    sas = compute.disks.begin_grant_access(GROUP, "web", access).result().access_sas
    assert compute.disks.get(GROUP, "web").disk_state == "ActiveSAS"
    blob = BlobClient.from_blob_url(sas)
    with open(DOWNLOAD, "wb") as file:
        blob.download_blob(max_concurrency=2).readinto(file)
    refused(409, "OperationNotAllowed", lambda: compute.disks.begin_delete(GROUP, "web"))
    compute.disks.begin_revoke_access(GROUP, "web").result()


def build_network():
    # This SDK is of the newer generation: a dictionary is what goes over the wire.
    vnet = network.virtual_networks.begin_create_or_update(
        GROUP,
        "vnet",
        {
            "location": "westus2",
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.2.0.0/16"]},
                "subnets": [{"name": "web", "properties": {"addressPrefix": "10.2.0.0/24"}}],
            },
        },
    ).result()
    nsg = network.network_security_groups.begin_create_or_update(
        GROUP, "nsg", {"location": "westus2"}
    ).result()
    rule = network.security_rules.begin_create_or_update(
        GROUP,
        "nsg",
        "ssh",
        {
            "properties": {
                "protocol": "Tcp",
                "sourceAddressPrefix": "*",
                "sourcePortRange": "*",
                "destinationAddressPrefix": "*",
                "destinationPortRange": "22",
                "access": "Allow",
                "priority": 1000,
                "direction": "Inbound",
            }
        },
    ).result()
    assert rule.provisioning_state == "Succeeded", rule.provisioning_state
    address = network.public_ip_addresses.begin_create_or_update(
        GROUP,
        "ip",
        {
            "location": "westus2",
            "sku": {"name": "Standard"},
            "properties": {"publicIPAllocationMethod": "Static"},
        },
    ).result()
    assert address.ip_address
    return network.network_interfaces.begin_create_or_update(
        GROUP,
        "nic",
        {
            "location": "westus2",
            "properties": {
                "networkSecurityGroup": {"id": nsg.id},
                "ipConfigurations": [
                    {
                        "name": "ip",
                        "properties": {
                            "subnet": {"id": vnet.subnets[0].id},
                            "publicIPAddress": {"id": address.id},
                        },
                    }
                ],
            },
        },
    ).result()


def boot(image, nic):
    machine = compute.virtual_machines.begin_create_or_update(
        GROUP,
        "web-1",
        {
            "location": "westus2",
            "hardware_profile": {"vm_size": "Standard_D2s_v3"},
            "storage_profile": {
                "image_reference": {"id": image.id},
                "os_disk": {"create_option": "FromImage", "delete_option": "Delete"},
            },
            "os_profile": {
                "computer_name": "web-1",
                "admin_username": "nixos",
                "linux_configuration": {
                    "disable_password_authentication": True,
                    "ssh": {
                        "public_keys": [
                            {"path": "/home/nixos/.ssh/authorized_keys", "key_data": KEY}
                        ]
                    },
                },
            },
            "network_profile": {"network_interfaces": [{"id": nic.id, "primary": True}]},
        },
    ).result()
    assert machine.provisioning_state == "Succeeded", machine.provisioning_state
    view = compute.virtual_machines.instance_view(GROUP, "web-1")
    assert "PowerState/running" in [status.code for status in view.statuses]
    compute.virtual_machines.begin_deallocate(GROUP, "web-1").result()
    compute.virtual_machines.begin_start(GROUP, "web-1").result()
    assert [vm.name for vm in compute.virtual_machines.list(GROUP)] == ["web-1"]


def tear_down():
    refused(400, "NicInUse", lambda: network.network_interfaces.begin_delete(GROUP, "nic"))
    compute.virtual_machines.begin_delete(GROUP, "web-1").result()
    network.network_interfaces.begin_delete(GROUP, "nic").result()
    compute.disks.begin_delete(GROUP, "web").result()
    left = {resource.name for resource in resources.resources.list_by_resource_group(GROUP)}
    assert left == {"web", "vnet", "nsg", "ip"}, left
    images = [image.name for image in compute.images.list_by_resource_group(GROUP)]
    assert images == ["web"], images


assert not resources.resource_groups.check_existence(GROUP)
resources.resource_groups.create_or_update(GROUP, {"location": "westus2"})
try:
    compute.disks.get(GROUP, "none")
    raise AssertionError("there is no such disk")
except ResourceNotFoundError as error:
    assert error.error.code == "ResourceNotFound", error
disk = upload()
download()
image = compute.images.begin_create_or_update(
    GROUP,
    "web",
    {
        "location": "westus2",
        "hyper_v_generation": "V2",
        "storage_profile": {
            "os_disk": {
                "os_type": "Linux",
                "os_state": "Generalized",
                "managed_disk": {"id": disk.id},
            }
        },
    },
).result()
boot(image, build_network())
tear_down()
print("all of it")
