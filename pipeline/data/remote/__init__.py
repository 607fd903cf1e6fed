"""Remote: shards on S3-compatible, HTTP and other storage, read through a cache that the processes of a node share."""

from pipeline.data.remote.body import Unavailable
from pipeline.data.remote.cache import ShardCache
from pipeline.data.remote.download import fetch

__all__ = ["ShardCache", "Unavailable", "fetch"]
