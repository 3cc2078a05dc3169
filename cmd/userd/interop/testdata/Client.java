// grpc-java: java Client URL CA|-. See ../doc.go.

import com.google.common.util.concurrent.ListenableFuture;
import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.IntFunction;
import java.util.function.Predicate;
import user.v1.UserServiceGrpc;
import user.v1.UserServiceOuterClass.*;

public final class Client {
  static final String NOBODY = "00000000-0000-4000-8000-000000000000";
  static final int STREAM_ROWS = 100_000;

  interface Scenario {
    String play(String run, int count) throws Exception;
  }

  final UserServiceGrpc.UserServiceBlockingStub users;
  final ManagedChannel channel;
  final List<String> ids = new ArrayList<>();

  Client(String url, String ca) throws Exception {
    URI uri = URI.create(url);
    NettyChannelBuilder builder =
        NettyChannelBuilder.forAddress(uri.getHost(), uri.getPort())
            .keepAliveTime(10, TimeUnit.SECONDS)
            .keepAliveWithoutCalls(true);
    if (ca.equals("-")) {
      builder.usePlaintext();
    } else {
      builder.sslContext(GrpcSslContexts.forClient().trustManager(new File(ca)).build());
    }
    channel = builder.build();
    users = UserServiceGrpc.newBlockingStub(channel);
  }

  static String describe(User user) {
    return user.getVersion() + " " + user.getDisplayName() + " " + String.join(",", user.getRolesList());
  }

  static GetUserRequest of(String id) {
    return GetUserRequest.newBuilder().setUserId(id).build();
  }

  static String got(GetUserResponse response) {
    return response.hasUser() ? "got " + response.getUser().getVersion() : "gone";
  }

  static CreateUserRequest.Builder newUser(String email, String name) {
    return CreateUserRequest.newBuilder().setEmail(email + "@interop.example").setDisplayName(name);
  }

  /** Says the code and the reason of a call that fails. */
  static String failure(Runnable call) throws Exception {
    try {
      call.run();
      return "no failure";
    } catch (StatusRuntimeException err) {
      Metadata.Key<byte[]> key = Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
      String reason = "";
      for (Any detail : com.google.rpc.Status.parseFrom(err.getTrailers().get(key)).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        }
      }
      return err.getStatus().getCode().value() + " " + reason;
    }
  }

  String unary(String run, int count) {
    User user = users.createUser(newUser(run + "-unary", "Ada ☕").addRoles("b").addRoles("a").build()).getUser();
    String said = "created " + describe(user) + "; " + got(users.getUser(of(user.getId())));
    UserUpdate change =
        UserUpdate.newBuilder().setUserId(user.getId()).setDisplayName("Countess").addRemoveRoles("b").build();
    User updated = users.updateUser(UpdateUserRequest.newBuilder().setUpdate(change).build()).getUser();
    long deleted = users.deleteUser(DeleteUserRequest.newBuilder().setUserId(user.getId()).build()).getVersion();
    return said + "; updated " + describe(updated) + "; deleted " + deleted + "; "
        + got(users.getUser(of(user.getId())));
  }

  String errors(String run, int count) throws Exception {
    CreateUserRequest twice = newUser(run + "-errors", "Ada").build();
    users.createUser(twice);
    return String.join(
        "; ",
        failure(() -> users.createUser(CreateUserRequest.newBuilder().setEmail("x").setDisplayName("X").build())),
        failure(() -> users.createUser(twice)),
        failure(() -> users.deleteUser(DeleteUserRequest.newBuilder().setUserId(NOBODY).build())),
        failure(() -> users.listUsers(ListUsersRequest.newBuilder().setPageToken("bad").build()).hasNext()));
  }

  String gzip(String run, int count) {
    UserServiceGrpc.UserServiceBlockingStub compressed = users.withCompression("gzip");
    User user = compressed.createUser(newUser(run + "-gzip", "z".repeat(200)).build()).getUser();
    String name = compressed.getUser(of(user.getId())).getUser().getDisplayName();
    return "created " + user.getDisplayName().length() + "; got " + name.length();
  }

  /** Reads a watch until it has enough, and returns the code. */
  static String watch(
      UserServiceGrpc.UserServiceBlockingStub users, String cursor, Predicate<WatchUsersResponse> enough) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context before = context.attach();
    try {
      Iterator<WatchUsersResponse> stream =
          users.watchUsers(WatchUsersRequest.newBuilder().setCursor(cursor).build());
      while (stream.hasNext()) {
        if (enough.test(stream.next())) {
          context.cancel(null);
        }
      }
      return "0";
    } catch (StatusRuntimeException err) {
      return String.valueOf(err.getStatus().getCode().value());
    } finally {
      context.detach(before);
      context.cancel(null);
    }
  }

  String deadline(String run, int count) {
    String code = watch(users.withDeadlineAfter(300, TimeUnit.MILLISECONDS), "", response -> false);
    return code + "; " + got(users.getUser(of(NOBODY)));
  }

  String cancel(String run, int count) {
    return watch(users, "", response -> true) + "; " + got(users.getUser(of(NOBODY)));
  }

  String metadata(String run, int size) {
    byte[] bytes = new byte[1024];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) i;
    }
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("x-interop", Metadata.ASCII_STRING_MARSHALLER), "m".repeat(size));
    headers.put(Metadata.Key.of("x-interop-bin", Metadata.BINARY_BYTE_MARSHALLER), bytes);
    return got(users.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers)).getUser(of(NOBODY)));
  }

  String keepalive(String run, int count) {
    int[] seen = {0};
    watch(users, "", response -> ++seen[0] == count);
    return Math.min(seen[0], count) + " messages"; // More may have been on their way.
  }

  String together(String run, int count) throws Exception {
    List<ListenableFuture<GetUserResponse>> calls = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      calls.add(UserServiceGrpc.newFutureStub(channel).getUser(of(NOBODY)));
    }
    int gone = 0;
    for (ListenableFuture<GetUserResponse> call : calls) {
      gone += call.get().hasUser() ? 0 : 1;
    }
    return gone + " gone";
  }

  String idle(String run, int seconds) throws Exception {
    String before = got(users.getUser(of(NOBODY)));
    TimeUnit.SECONDS.sleep(seconds);
    return before + "; " + got(users.getUser(of(NOBODY)));
  }

  String list(String run, int count) {
    Iterator<User> stream = users.listUsers(ListUsersRequest.newBuilder().setAll(true).build());
    int seen = 0;
    while (stream.hasNext()) {
      seen += stream.next().getEmail().startsWith(run + "-") ? 1 : 0;
    }
    return seen + " users";
  }

  String watchAll(String run, int count) {
    int[] seen = {0};
    watch(
        users,
        "earliest",
        response -> {
          for (UserEvent event : response.getEventsList()) {
            seen[0] += event.getUpserted().getEmail().startsWith(run + "-") ? 1 : 0;
          }
          return seen[0] >= count;
        });
    return seen[0] + " changes";
  }

  /** Sends requests as fast as they are taken, and collects the answers. */
  static final class Exchange<Q, A> implements ClientResponseObserver<Q, A> {
    final CompletableFuture<List<A>> answers = new CompletableFuture<>();
    private final List<A> received = new ArrayList<>();
    private final IntFunction<Q> request;
    private final int end;
    private int next;

    Exchange(int first, int end, IntFunction<Q> request) {
      this.next = first;
      this.end = end;
      this.request = request;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<Q> requests) {
      requests.setOnReadyHandler(
          () -> {
            while (next < end && requests.isReady()) {
              requests.onNext(request.apply(next));
              if (++next == end) {
                requests.onCompleted();
              }
            }
          });
    }

    @Override
    public void onNext(A answer) {
      received.add(answer);
    }

    @Override
    public void onError(Throwable err) {
      answers.completeExceptionally(err);
    }

    @Override
    public void onCompleted() {
      answers.complete(received);
    }
  }

  String importRows(String run, int count) throws Exception {
    for (int first = 0; first < count; first += STREAM_ROWS) {
      Exchange<CreateUserRequest, BatchCreateUsersResponse> rows =
          new Exchange<>(
              first, Math.min(first + STREAM_ROWS, count), i -> newUser(run + "-" + i, "Row " + i).build());
      UserServiceGrpc.newStub(channel).batchCreateUsers(rows);
      ids.addAll(rows.answers.get().get(0).getCreatedUserIdsList());
    }
    return ids.size() + " stored";
  }

  String updates(String run, int count) throws Exception {
    Exchange<UserUpdate, UserUpdateResponse> updates =
        new Exchange<>(
            0,
            count,
            i -> UserUpdate.newBuilder().setUserId(ids.get(i % ids.size())).setDisplayName("Update " + i).build());
    UserServiceGrpc.newStub(channel).streamUserUpdates(updates);
    return updates.answers.get().stream().filter(UserUpdateResponse::getSuccess).count() + " applied";
  }

  Map<String, Scenario> scenarios() {
    return Map.ofEntries(
        Map.entry("unary", this::unary),
        Map.entry("errors", this::errors),
        Map.entry("gzip", this::gzip),
        Map.entry("deadline", this::deadline),
        Map.entry("cancel", this::cancel),
        Map.entry("metadata", this::metadata),
        Map.entry("keepalive", this::keepalive),
        Map.entry("together", this::together),
        Map.entry("idle", this::idle),
        Map.entry("list", this::list),
        Map.entry("watch", this::watchAll),
        Map.entry("import", this::importRows),
        Map.entry("updates", this::updates));
  }

  public static void main(String[] args) throws Exception {
    Map<String, Scenario> scenarios = new Client(args[0], args[1]).scenarios();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    PrintStream output = new PrintStream(System.out, true, "UTF-8");
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      String said;
      try {
        said = scenarios.get(words[0]).play(words[1], Integer.parseInt(words[2]));
      } catch (Exception err) { // The test has to hear of it.
        said = "failed: " + err;
      }
      output.println(said.replace("\n", " "));
    }
    System.exit(0);
  }
}
