"""The S3 API of a proxy: requests of S3's clients become the cluster's, answered by the proxy itself (docs/s3.md)."""
