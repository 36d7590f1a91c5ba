"""A server that speaks Google Cloud Storage: an emulator."""

import json
import sysconfig
from pathlib import Path

from store_server import StoreServer

EMULATOR = Path(sysconfig.get_path("scripts")) / "gcp-storage-emulator"


class GcsServer(StoreServer):
    """One server, which asks nobody who they are."""

    scheme = "gs"
    modules = ("gcp_storage_emulator", "gcsfs")
    answers_at = "/"
    empties_with = ("/wipe", "GET")

    def _command(self, port: int) -> list[str]:
        return [str(EMULATOR), "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {"STORAGE_EMULATOR_HOST": self.url, "NO_GCE_CHECK": "true"}

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        self._request("/storage/v1/b?project=test", method="POST", content=json.dumps({"name": name}).encode())

    def _forget_connections(self) -> None:
        import gcsfs

        gcsfs.GCSFileSystem.clear_instance_cache()
