"""Lists of the buckets of all providers, which SDK 1 has no call for."""


def test_buckets_of_all_providers(client, bucket, remote):
    remote.list_objects(page_size=1)  # now the cluster knows it
    found = {(each.provider, each.name) for each in client.cluster().list_buckets(provider="")}
    assert {("ais", bucket.name), ("aws", remote.name)} <= found
