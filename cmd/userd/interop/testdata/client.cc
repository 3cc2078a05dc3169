// gRPC C++: client URL CA|-. See ../doc.go.
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "user/v1/user_service.grpc.pb.h"

using namespace user::v1;
using grpc::ClientContext;
using grpc::Status;
using std::string;
using std::to_string;

const string nobody = "00000000-0000-4000-8000-000000000000";
const int stream_rows = 100'000;

std::unique_ptr<UserService::Stub> stub;
std::vector<string> ids;

std::shared_ptr<grpc::ChannelCredentials> credentials(const string& ca) {
  if (ca == "-") return grpc::InsecureChannelCredentials();
  std::stringstream text;
  text << std::ifstream(ca).rdbuf();
  return grpc::SslCredentials({.pem_root_certs = text.str()});
}

void dial(const string& url, const string& ca) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  string host = url.substr(url.find("://") + 3);
  stub = UserService::NewStub(grpc::CreateCustomChannel(host, credentials(ca), arguments));
}

// check throws for a call that was to succeed.
void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(to_string(status.error_code()) + " " + status.error_message());
}

string describe(const User& user) {
  string roles;
  for (const string& role : user.roles()) roles += (roles.empty() ? "" : ",") + role;
  return to_string(user.version()) + " " + user.display_name() + " " + roles;
}

using Prepare = std::function<void(ClientContext&)>;

GetUserResponse get(const string& id, const Prepare& prepare = [](ClientContext&) {}) {
  ClientContext context;
  prepare(context);
  GetUserRequest request;
  request.set_user_id(id);
  GetUserResponse response;
  check(stub->GetUser(&context, request, &response));
  return response;
}

string got(const GetUserResponse& response) {
  return response.has_user() ? "got " + to_string(response.user().version()) : "gone";
}

CreateUserRequest new_user(const string& email, const string& name) {
  CreateUserRequest request;
  request.set_email(email + "@interop.example");
  request.set_display_name(name);
  return request;
}

Status create(const CreateUserRequest& request, User* user, const Prepare& prepare = [](ClientContext&) {}) {
  ClientContext context;
  prepare(context);
  CreateUserResponse response;
  Status status = stub->CreateUser(&context, request, &response);
  *user = response.user();
  return status;
}

Status remove(const string& id, DeleteUserResponse* response) {
  ClientContext context;
  DeleteUserRequest request;
  request.set_user_id(id);
  return stub->DeleteUser(&context, request, response);
}

// failure says the code and the reason of a call that fails.
string failure(const Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::ErrorInfo info;
  for (const auto& detail : details.details()) detail.UnpackTo(&info);
  return to_string(status.error_code()) + " " + info.reason();
}

string unary(const string& run, int) {
  CreateUserRequest request = new_user(run + "-unary", "Ada ☕");
  request.add_roles("b");
  request.add_roles("a");
  User user;
  check(create(request, &user));
  string said = "created " + describe(user) + "; " + got(get(user.id()));
  ClientContext context;
  UpdateUserRequest change;
  change.mutable_update()->set_user_id(user.id());
  change.mutable_update()->set_display_name("Countess");
  change.mutable_update()->add_remove_roles("b");
  UpdateUserResponse updated;
  check(stub->UpdateUser(&context, change, &updated));
  DeleteUserResponse deleted;
  check(remove(user.id(), &deleted));
  return said + "; updated " + describe(updated.user()) + "; deleted " + to_string(deleted.version()) + "; " +
         got(get(user.id()));
}

string errors(const string& run, int) {
  User user;
  CreateUserRequest bad;
  bad.set_email("x");
  bad.set_display_name("X");
  CreateUserRequest twice = new_user(run + "-errors", "Ada");
  check(create(twice, &user));
  DeleteUserResponse deleted;
  ClientContext context;
  ListUsersRequest request;
  request.set_page_token("bad");
  auto list = stub->ListUsers(&context, request);
  while (list->Read(&user)) {
  }
  return failure(create(bad, &user)) + "; " + failure(create(twice, &user)) + "; " +
         failure(remove(nobody, &deleted)) + "; " + failure(list->Finish());
}

string gzip(const string& run, int) {
  Prepare compressed = [](ClientContext& context) { context.set_compression_algorithm(GRPC_COMPRESS_GZIP); };
  User user;
  check(create(new_user(run + "-gzip", string(200, 'z')), &user, compressed));
  return "created " + to_string(user.display_name().size()) + "; got " +
         to_string(get(user.id(), compressed).user().display_name().size());
}

// watch reads from a cursor on until enough says so, and returns the code.
string watch(const string& cursor, const Prepare& prepare, const std::function<bool(const WatchUsersResponse&)>& enough) {
  ClientContext context;
  prepare(context);
  WatchUsersRequest request;
  request.set_cursor(cursor);
  auto stream = stub->WatchUsers(&context, request);
  WatchUsersResponse response;
  while (stream->Read(&response)) {
    if (enough(response)) context.TryCancel();
  }
  return to_string(stream->Finish().error_code());
}

string deadline(const string&, int) {
  auto soon = std::chrono::system_clock::now() + std::chrono::milliseconds(300);
  Prepare prepare = [soon](ClientContext& context) { context.set_deadline(soon); };
  string code = watch("", prepare, [](auto&) { return false; });
  return code + "; " + got(get(nobody));
}

string cancel(const string&, int) {
  string code = watch("", [](auto&) {}, [](auto&) { return true; });
  return code + "; " + got(get(nobody));
}

string metadata(const string&, int size) {
  string bytes;
  for (int i = 0; i < 1024; i++) bytes += char(i);
  return got(get(nobody, [&](ClientContext& context) {
    context.AddMetadata("x-interop", string(size, 'm'));
    context.AddMetadata("x-interop-bin", bytes);
  }));
}

string keepalive(const string&, int count) {
  int seen = 0;
  watch("", [](auto&) {}, [&](auto&) { return ++seen == count; });
  return to_string(std::min(seen, count)) + " messages";  // More may have been on their way.
}

string together(const string&, int count) {
  struct Call {
    ClientContext context;
    GetUserRequest request;
    GetUserResponse response;
    std::promise<Status> status;
  };
  std::vector<Call> calls(count);
  for (Call& call : calls) {
    call.request.set_user_id(nobody);
    stub->async()->GetUser(&call.context, &call.request, &call.response,
                           [&call](Status status) { call.status.set_value(status); });
  }
  int gone = 0;
  for (Call& call : calls) gone += call.status.get_future().get().ok() && !call.response.has_user();
  return to_string(gone) + " gone";
}

string idle(const string&, int seconds) {
  string before = got(get(nobody));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  return before + "; " + got(get(nobody));
}

bool is_of(const string& run, const User& user) { return user.email().rfind(run + "-", 0) == 0; }

string list(const string& run, int) {
  ClientContext context;
  ListUsersRequest request;
  request.set_all(true);
  auto stream = stub->ListUsers(&context, request);
  User user;
  int seen = 0;
  while (stream->Read(&user)) seen += is_of(run, user);
  check(stream->Finish());
  return to_string(seen) + " users";
}

string watch_all(const string& run, int count) {
  int seen = 0;
  watch("earliest", [](auto&) {}, [&](const WatchUsersResponse& response) {
    for (const UserEvent& event : response.events()) seen += is_of(run, event.upserted());
    return seen >= count;
  });
  return to_string(seen) + " changes";
}

string import(const string& run, int count) {
  for (int first = 0; first < count; first += stream_rows) {
    ClientContext context;
    BatchCreateUsersResponse response;
    auto stream = stub->BatchCreateUsers(&context, &response);
    for (int i = first; i < std::min(first + stream_rows, count); i++) {
      if (!stream->Write(new_user(run + "-" + to_string(i), "Row " + to_string(i)))) break;
    }
    stream->WritesDone();
    check(stream->Finish());
    ids.insert(ids.end(), response.created_user_ids().begin(), response.created_user_ids().end());
  }
  return to_string(ids.size()) + " stored";
}

string updates(const string&, int count) {
  ClientContext context;
  auto stream = stub->StreamUserUpdates(&context);
  std::thread writer([&] {
    for (int i = 0; i < count; i++) {
      UserUpdate update;
      update.set_user_id(ids[i % ids.size()]);
      update.set_display_name("Update " + to_string(i));
      if (!stream->Write(update)) break;
    }
    stream->WritesDone();
  });
  UserUpdateResponse answer;
  int applied = 0;
  while (stream->Read(&answer)) applied += answer.success();
  writer.join();
  check(stream->Finish());
  return to_string(applied) + " applied";
}

int main(int, char** argv) {
  dial(argv[1], argv[2]);
  const std::map<string, string (*)(const string&, int)> scenarios = {
      {"unary", unary},         {"errors", errors},     {"gzip", gzip}, {"deadline", deadline}, {"cancel", cancel},
      {"metadata", metadata},   {"keepalive", keepalive}, {"together", together}, {"idle", idle}, {"list", list},
      {"watch", watch_all},     {"import", import},     {"updates", updates},
  };
  string scenario, run;
  int count;
  while (std::cin >> scenario >> run >> count) {
    string said;
    try {
      said = scenarios.at(scenario)(run, count);
    } catch (const std::exception& failed) {  // The test has to hear of it.
      said = string("failed: ") + failed.what();
    }
    std::cout << said << std::endl;
  }
}
