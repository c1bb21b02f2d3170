"""What a user of the Python SDK does to upload a file as a page blob: upload_blob, with its defaults
but for the number of requests at a time, which is otherwise one."""

import os
import sys

from azure.storage.blob import BlobClient, BlobType

path, url = sys.argv[1:]
with open(path, "rb") as file:
    BlobClient.from_blob_url(url).upload_blob(
        file,
        blob_type=BlobType.PAGEBLOB,
        length=os.path.getsize(path),
        max_concurrency=8,
        overwrite=True,
    )
