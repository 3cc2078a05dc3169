"""grpcio: python3 client.py URL CA|- DESCRIPTORS. See ../doc.go."""

import sys
import threading
import time
from urllib.parse import urlsplit

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

url, ca, descriptors = sys.argv[1:]
pool = descriptor_pool.DescriptorPool()
with open(descriptors, "rb") as file:
    for file in descriptor_pb2.FileDescriptorSet.FromString(file.read()).file:
        pool.Add(file)
factory = message_factory.MessageFactory(pool)
NOBODY = "00000000-0000-4000-8000-000000000000"
STREAM_ROWS = 100_000

options = [
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
if ca == "-":
    channel = grpc.insecure_channel(urlsplit(url).netloc, options)
else:
    with open(ca, "rb") as file:
        channel = grpc.secure_channel(urlsplit(url).netloc, grpc.ssl_channel_credentials(file.read()), options)


def message(name, **fields):
    return factory.GetPrototype(pool.FindMessageTypeByName(name))(**fields)


def method(name, kind="unary_unary"):
    described = pool.FindServiceByName("user.v1.UserService").methods_by_name[name]
    return getattr(channel, kind)(
        f"/user.v1.UserService/{name}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=factory.GetPrototype(described.output_type).FromString,
    )


get_user = method("GetUser")
create_user = method("CreateUser")
update_user = method("UpdateUser")
delete_user = method("DeleteUser")
list_users = method("ListUsers", "unary_stream")
watch_users = method("WatchUsers", "unary_stream")
batch_create_users = method("BatchCreateUsers", "stream_unary")
stream_user_updates = method("StreamUserUpdates", "stream_stream")


def got(response):
    return f"got {response.user.version}" if response.HasField("user") else "gone"


def get(user_id=NOBODY, **options):
    return get_user(message("user.v1.GetUserRequest", user_id=user_id), **options)


def new_user(email, name, **fields):
    return message("user.v1.CreateUserRequest", email=f"{email}@interop.example", display_name=name, **fields)


def failure(call):
    """Says the code and the reason of a call that fails."""
    try:
        call()
    except grpc.RpcError as err:
        status = message("google.rpc.Status")
        status.ParseFromString(dict(err.trailing_metadata())["grpc-status-details-bin"])
        info = message("google.rpc.ErrorInfo")
        for detail in status.details:
            if detail.Unpack(info):
                return f"{err.code().value[0]} {info.reason}"
    return "no failure"


def unary(run, _):
    user = create_user(new_user(f"{run}-unary", "Ada ☕", roles=["b", "a"])).user
    said = [f"created {user.version} {user.display_name} {','.join(user.roles)}", got(get(user.id))]
    change = message("user.v1.UserUpdate", user_id=user.id, display_name="Countess", remove_roles=["b"])
    user = update_user(message("user.v1.UpdateUserRequest", update=change)).user
    said.append(f"updated {user.version} {user.display_name} {','.join(user.roles)}")
    deleted = delete_user(message("user.v1.DeleteUserRequest", user_id=user.id))
    return "; ".join([*said, f"deleted {deleted.version}", got(get(user.id))])


def errors(run, _):
    twice = new_user(f"{run}-errors", "Ada")
    create_user(twice)
    return "; ".join(
        [
            failure(lambda: create_user(message("user.v1.CreateUserRequest", email="x", display_name="X"))),
            failure(lambda: create_user(twice)),
            failure(lambda: delete_user(message("user.v1.DeleteUserRequest", user_id=NOBODY))),
            failure(lambda: list(list_users(message("user.v1.ListUsersRequest", page_token="bad")))),
        ]
    )


def code_of(call):
    try:
        call()
    except grpc.RpcError as err:
        return str(err.code().value[0])
    return "0"


def encoding(*_):
    code = code_of(lambda: get(compression=grpc.Compression.Deflate))
    return f"{code}; {got(get())}"


def gzip(run, _):
    compressed = {"compression": grpc.Compression.Gzip}
    user = create_user(new_user(f"{run}-gzip", "z" * 200), **compressed).user
    name = get(user.id, **compressed).user.display_name
    return f"created {len(user.display_name)}; got {len(name)}"


def watch(cursor="", **options):
    return watch_users(message("user.v1.WatchUsersRequest", cursor=cursor), **options)


def ended(stream):
    """Says the code of a stream that fails."""
    return code_of(lambda: list(stream))


def deadline(*_):
    return f"{ended(watch(timeout=0.3))}; {got(get())}"


def cancel(*_):
    stream = watch()
    next(stream)
    stream.cancel()
    return f"{ended(stream)}; {got(get())}"


def metadata(_, size):
    return got(get(metadata=[("x-interop", "m" * size), ("x-interop-bin", bytes(range(256)) * 4)]))


def keepalive(_, count):
    stream = watch()
    for _ in range(count):
        next(stream)
    stream.cancel()
    return f"{count} messages"


def together(_, count):
    request = message("user.v1.GetUserRequest", user_id=NOBODY)
    calls = [get_user.future(request) for _ in range(count)]
    return f"{sum(got(call.result()) == 'gone' for call in calls)} gone"


def idle(_, seconds):
    before = got(get())
    time.sleep(seconds)
    return f"{before}; {got(get())}"


def list_(run, _):
    users = list_users(message("user.v1.ListUsersRequest", all=True))
    return f"{sum(user.email.startswith(run + '-') for user in users)} users"


def watch_all(run, count):
    seen = 0
    stream = watch("earliest")
    while seen < count:
        seen += sum(event.upserted.email.startswith(run + "-") for event in next(stream).events)
    stream.cancel()
    return f"{seen} changes"


ids = []


def import_(run, count):
    for first in range(0, count, STREAM_ROWS):
        rows = range(first, min(first + STREAM_ROWS, count))
        ids.extend(batch_create_users(new_user(f"{run}-{i}", f"Row {i}") for i in rows).created_user_ids)
    return f"{len(ids)} stored"


def updates(_, count):
    requests = (
        message("user.v1.UserUpdate", user_id=ids[i % len(ids)], display_name=f"Update {i}") for i in range(count)
    )
    return f"{sum(answer.success for answer in stream_user_updates(requests))} applied"


scenarios = {
    **{f.__name__: f for f in (unary, errors, encoding, gzip, deadline, cancel, metadata, keepalive, together, idle, updates)},
    "list": list_,
    "watch": watch_all,
    "import": import_,
}
for line in sys.stdin:
    scenario, run, count = line.split()
    try:
        said = scenarios[scenario](run, int(count))
    except Exception as err:  # The test has to hear of it.
        said = f"failed: {err!r}"
    print(said.replace("\n", " "), flush=True)
