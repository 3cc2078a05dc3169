# Ruby's grpc: ruby client.rb URL CA|- DESCRIPTORS. See ../doc.go.
require "grpc"
require "google/protobuf/descriptor_pb"
require "google/protobuf/timestamp_pb"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"
require "uri"

url, ca, descriptors = ARGV
pool = Google::Protobuf::DescriptorPool.generated_pool
Google::Protobuf::FileDescriptorSet.decode(File.binread(descriptors)).file.each do |file|
  pool.add_serialized_file(file.to_proto) if file.name == "user/v1/user_service.proto"
end
POOL = pool

def type(name)
  POOL.lookup("user.v1.#{name}").msgclass
end

# A class has to be there before the first message that has one inside.
%w[UserEvent DeletedUser].each { |name| type(name) }

class UserService
  include GRPC::GenericService
  self.marshal_class_method = :encode
  self.unmarshal_class_method = :decode
  self.service_name = "user.v1.UserService"
  %w[GetUser CreateUser UpdateUser DeleteUser].each do |name|
    rpc name.to_sym, type("#{name}Request"), type("#{name}Response")
  end
  rpc :ListUsers, type("ListUsersRequest"), stream(type("User"))
  rpc :WatchUsers, type("WatchUsersRequest"), stream(type("WatchUsersResponse"))
  rpc :BatchCreateUsers, stream(type("CreateUserRequest")), type("BatchCreateUsersResponse")
  rpc :StreamUserUpdates, stream(type("UserUpdate")), stream(type("UserUpdateResponse"))
end

NOBODY = "00000000-0000-4000-8000-000000000000"
STREAM_ROWS = 100_000
OPTIONS = {
  "grpc.keepalive_time_ms" => 1000,
  "grpc.keepalive_permit_without_calls" => 1,
  "grpc.http2.max_pings_without_data" => 0,
}.freeze
secrets = ca == "-" ? :this_channel_is_insecure : GRPC::Core::ChannelCredentials.new(File.read(ca))
CLIENT = UserService.rpc_stub_class.new(URI(url).then { |u| "#{u.host}:#{u.port}" }, secrets, channel_args: OPTIONS)
IDS = []

def got(response)
  response.user ? "got #{response.user.version}" : "gone"
end

def get(id = NOBODY, **options)
  CLIENT.get_user(type("GetUserRequest").new(user_id: id), **options)
end

def new_user(email, name, **fields)
  type("CreateUserRequest").new(email: "#{email}@interop.example", display_name: name, **fields)
end

# failure says the code and the reason of a call that fails.
def failure
  yield
  "no failure"
rescue GRPC::BadStatus => e
  status = Google::Rpc::Status.decode(e.metadata["grpc-status-details-bin"])
  packed = status.details.find { |detail| detail.type_url.end_with?("/google.rpc.ErrorInfo") }
  "#{e.code} #{Google::Rpc::ErrorInfo.decode(packed.value).reason}"
end

# ended says the code of a stream that fails.
def ended(stream)
  stream.each { nil }
  "0"
rescue GRPC::BadStatus => e
  e.code.to_s
end

def watch(cursor: "", **options)
  CLIENT.watch_users(type("WatchUsersRequest").new(cursor: cursor), return_op: true, **options)
end

# messages yields those of a call until the block says that it has enough.
def messages(call)
  call.execute.each { |message| break if yield message }
  call.cancel
end

def unary(run, _)
  user = CLIENT.create_user(new_user("#{run}-unary", "Ada ☕", roles: %w[b a])).user
  said = ["created #{user.version} #{user.display_name} #{user.roles.to_a.join(",")}", got(get(user.id))]
  change = type("UserUpdate").new(user_id: user.id, display_name: "Countess", remove_roles: ["b"])
  user = CLIENT.update_user(type("UpdateUserRequest").new(update: change)).user
  said << "updated #{user.version} #{user.display_name} #{user.roles.to_a.join(",")}"
  deleted = CLIENT.delete_user(type("DeleteUserRequest").new(user_id: user.id))
  [*said, "deleted #{deleted.version}", got(get(user.id))].join("; ")
end

def errors(run, _)
  twice = new_user("#{run}-errors", "Ada")
  CLIENT.create_user(twice)
  [
    failure { CLIENT.create_user(type("CreateUserRequest").new(email: "x", display_name: "X")) },
    failure { CLIENT.create_user(twice) },
    failure { CLIENT.delete_user(type("DeleteUserRequest").new(user_id: NOBODY)) },
    failure { CLIENT.list_users(type("ListUsersRequest").new(page_token: "bad")).to_a },
  ].join("; ")
end

def gzip(run, _)
  compressed = { metadata: { "grpc-internal-encoding-request" => "gzip" } }
  user = CLIENT.create_user(new_user("#{run}-gzip", "z" * 200), **compressed).user
  "created #{user.display_name.size}; got #{get(user.id, **compressed).user.display_name.size}"
end

# Ruby's gRPC raises a CallError where the deadline passes before the answer has begun.
def deadline(*)
  "#{ended(watch(deadline: Time.now + 3).execute)}; #{got(get)}"
end

def cancel(*)
  call = watch
  stream = call.execute
  stream.next
  call.cancel
  "#{ended(stream)}; #{got(get)}"
end

def metadata(_, size)
  bytes = (0..255).to_a.pack("C*") * 4
  got(get(metadata: { "x-interop" => "m" * size, "x-interop-bin" => bytes }))
end

def keepalive(_, count)
  seen = 0
  messages(watch) { (seen += 1) == count }
  "#{seen} messages"
end

def together(_, count)
  answers = Array.new(count) { Thread.new { got(get) } }.map(&:value)
  "#{answers.count("gone")} gone"
end

def idle(_, seconds)
  before = got(get)
  sleep seconds
  "#{before}; #{got(get)}"
end

def list(run, _)
  users = CLIENT.list_users(type("ListUsersRequest").new(all: true))
  "#{users.count { |user| user.email.start_with?("#{run}-") }} users"
end

def watch_all(run, count)
  seen = 0
  messages(watch(cursor: "earliest")) do |message|
    seen += message.events.count { |event| event.upserted&.email.to_s.start_with?("#{run}-") }
    seen >= count
  end
  "#{seen} changes"
end

def import(run, count)
  (0...count).each_slice(STREAM_ROWS) do |rows|
    requests = rows.lazy.map { |i| new_user("#{run}-#{i}", "Row #{i}") }
    IDS.concat(CLIENT.batch_create_users(requests).created_user_ids.to_a)
  end
  "#{IDS.size} stored"
end

def updates(_, count)
  requests = (0...count).lazy.map do |i|
    type("UserUpdate").new(user_id: IDS[i % IDS.size], display_name: "Update #{i}")
  end
  "#{CLIENT.stream_user_updates(requests).count(&:success)} applied"
end

$stdout.sync = true
$stdin.each_line do |line|
  scenario, run, count = line.split
  scenario = "watch_all" if scenario == "watch"
  said = begin
    send(scenario, run, count.to_i)
  rescue StandardError => e # The test has to hear of it.
    "failed: #{e.inspect}"
  end
  puts said.tr("\n", " ")
end
