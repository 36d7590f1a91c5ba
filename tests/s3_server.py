"""A server that speaks S3: moto's."""

import sys

from store_server import StoreServer


class S3Server(StoreServer):
    """One server, with credentials that everybody knows."""

    scheme = "s3"
    modules = ("moto.server", "s3fs")
    answers_at = "/moto-api/data.json"
    empties_with = ("/moto-api/reset", "POST")

    def _command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        self._request(f"/{name}", method="PUT")

    def _forget_connections(self) -> None:
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
