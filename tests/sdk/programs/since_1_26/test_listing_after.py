"""Lists of objects that begin behind a name."""


def test_start_after(bucket):
    names = [f"{number:02}" for number in range(9)]
    for name in names:
        bucket.object(name).get_writer().put_content(b"")
    assert [entry.name for entry in bucket.list_all_objects(start_after="04", page_size=2)] == names[5:]
    assert [entry.name for entry in bucket.list_objects_iter(start_after="045")] == names[5:]
