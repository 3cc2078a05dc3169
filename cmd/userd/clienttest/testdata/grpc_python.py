"""grpcio: python3 grpc_python.py DESCRIPTORS URL [TOKEN]"""

import json
import queue
import sys
import threading
from urllib.parse import urlsplit

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

with open(sys.argv[1], "rb") as descriptors:
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read()).file
pool = descriptor_pool.DescriptorPool()
for file in files:
    pool.Add(file)
factory = message_factory.MessageFactory(pool)
methods = {
    method.name: method
    for file in files
    for service in file.service
    if f"{file.package}.{service.name}" == "user.v1.UserService"
    for method in service.method
}
channel = grpc.insecure_channel(urlsplit(sys.argv[2]).netloc)
metadata = [("authorization", f"Bearer {token}") for token in sys.argv[3:]]
output = threading.Lock()


def message_class(name):
    return factory.GetPrototype(pool.FindMessageTypeByName(name.split("/")[-1].lstrip(".")))


def to_json(message):
    return json_format.MessageToDict(message, descriptor_pool=pool)


def write(line):
    with output:
        print(json.dumps(line), flush=True)


class Call:
    """One RPC, in a thread of its own."""

    def __init__(self, number, name):
        method = methods[name]
        self.number = number
        self.requests = queue.Queue()  # None ends it.
        self.request_class = message_class(method.input_type)
        self.streams_requests = method.client_streaming
        self.streams_responses = method.server_streaming
        kinds = {False: "unary", True: "stream"}
        self.invoke = getattr(channel, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}")(
            f"/user.v1.UserService/{name}",
            request_serializer=self.request_class.SerializeToString,
            response_deserializer=message_class(method.output_type).FromString,
        )
        self.rpc = None
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        requests = iter(self.requests.get, None)
        argument = requests if self.streams_requests else next(requests)
        if self.streams_responses:
            self.rpc = self.invoke(argument, metadata=metadata)
            responses = self.rpc
        else:
            self.rpc = self.invoke.future(argument, metadata=metadata)
            responses = (self.rpc.result() for _ in range(1))
        try:
            for response in responses:
                write({"call": self.number, "response": to_json(response)})
        except (grpc.RpcError, grpc.FutureCancelledError):
            pass  # The end says the same.
        trailer = dict(self.rpc.trailing_metadata())
        status = trailer.pop("grpc-status-details-bin", b"")
        details = message_class("google.rpc.Status").FromString(status).details
        write(
            {
                "call": self.number,
                "end": {
                    "code": self.rpc.code().value[0],
                    "message": self.rpc.details(),
                    "details": [
                        {"@type": detail.type_url, **to_json(message_class(detail.type_url).FromString(detail.value))}
                        for detail in details
                    ],
                    "trailer": trailer,
                },
            }
        )


calls = {}
for line in sys.stdin:
    order = json.loads(line)
    if "method" in order:
        calls[order["call"]] = Call(order["call"], order["method"])
    call = calls[order["call"]]
    if "send" in order:
        call.requests.put(json_format.ParseDict(order["send"], call.request_class(), descriptor_pool=pool))
    if "close" in order:
        call.requests.put(None)
    if "cancel" in order:
        call.rpc.cancel()
