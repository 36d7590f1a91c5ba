"""The error of a cluster that cannot be used. Knows no ray."""


class ClusterError(RuntimeError):
    """The cluster cannot be reached or started. The command line exits with code 4."""
