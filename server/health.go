package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/example/userd/gen/user/v1/userv1connect"
	"github.com/example/userd/server/failure"
	"github.com/example/userd/server/gather"
)

// healthService is the service by which gRPC asks for health, see
// https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
const healthService = "grpc.health.v1.Health"

// healthInterval is how often the health that Watch tells is looked at.
const healthInterval = time.Second

// servingStatus is grpc.health.v1.HealthCheckResponse.ServingStatus.
type servingStatus int32

const (
	serving        servingStatus = 1
	notServing     servingStatus = 2
	serviceUnknown servingStatus = 3
)

// healthSchema describes the service. It is not registered with package protoregistry:
// programs that import this package may have the generated one, and each name is there
// once.
var healthSchema = sync.OnceValues(func() (protoreflect.ServiceDescriptor, error) {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, message string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: &name, JsonName: &name, Number: &number, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if message != "" {
			f.TypeName = proto.String(".grpc.health.v1." + message)
		}
		return f
	}
	const text, enum, message = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_ENUM, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	values := &descriptorpb.EnumDescriptorProto{Name: proto.String("ServingStatus")}
	for number, name := range []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"} {
		values.Value = append(values.Value, &descriptorpb.EnumValueDescriptorProto{Name: &name, Number: proto.Int32(int32(number))})
	}
	statuses := field("statuses", 1, message, "HealthListResponse.StatusesEntry")
	statuses.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	entry := &descriptorpb.DescriptorProto{
		Name: proto.String("StatusesEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, text, ""), field("value", 2, message, "HealthCheckResponse")},
	}
	method := func(name, messages string, streams bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: proto.String(".grpc.health.v1." + messages + "Request"),
			OutputType: proto.String(".grpc.health.v1." + messages + "Response"), ServerStreaming: &streams,
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("grpc/health/v1/health.proto"), Package: proto.String("grpc.health.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("HealthCheckRequest"), Field: []*descriptorpb.FieldDescriptorProto{field("service", 1, text, "")}},
			{
				Name:     proto.String("HealthCheckResponse"),
				Field:    []*descriptorpb.FieldDescriptorProto{field("status", 1, enum, "HealthCheckResponse.ServingStatus")},
				EnumType: []*descriptorpb.EnumDescriptorProto{values},
			},
			{Name: proto.String("HealthListRequest")},
			{
				Name: proto.String("HealthListResponse"), Field: []*descriptorpb.FieldDescriptorProto{statuses},
				NestedType: []*descriptorpb.DescriptorProto{entry},
			},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Health"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Check", "HealthCheck", false), method("List", "HealthList", false), method("Watch", "HealthCheck", true),
			},
		}},
	}, nil)
	if err != nil {
		return nil, err
	}
	return file.Services().ByName("Health"), nil
})

// health serves grpc.health.v1.Health for the server and its service.
type health struct {
	isReady func(context.Context) error
	ready   context.Context // Ends when the server is about to stop.
	running func(context.Context) context.Context
	check   protoreflect.MethodDescriptor
	list    protoreflect.MethodDescriptor

	mu     sync.Mutex
	status servingStatus // As Watch tells it, at the time looked.
	looked time.Time
}

// registerHealth adds the service to those of the server.
func (s *Server) registerHealth(rpc *connect.Server) error {
	schema, err := healthSchema()
	if err != nil {
		return err
	}
	h := &health{isReady: s.isReady, ready: s.ready, running: s.runningFor, check: schema.Methods().ByName("Check"), list: schema.Methods().ByName("List")}
	for name, method := range map[protoreflect.Name]struct {
		kind    connect.StreamType
		handler connect.ServerFunc
	}{
		"Check": {connect.StreamTypeUnary, h.serveCheck},
		"List":  {connect.StreamTypeUnary, h.serveList},
		"Watch": {connect.StreamTypeServer, h.serveWatch},
	} {
		rpc.Register(connect.Method{
			Spec: connect.Spec{
				StreamType: method.kind, Procedure: "/" + healthService + "/" + string(name), Schema: schema.Methods().ByName(name),
			},
			Handler: method.handler,
		})
	}
	return nil
}

// receive returns the name of the service that a caller asks for.
func (h *health) receive(stream connect.ServerStream) (string, error) {
	request := dynamicpb.NewMessage(h.check.Input())
	if err := stream.Receive(request); err != nil {
		return "", err
	}
	return request.Get(h.check.Input().Fields().ByNumber(1)).String(), nil
}

func (h *health) send(stream connect.ServerStream, status servingStatus) error {
	return stream.Send(h.response(status))
}

// response is a message that tells a status.
func (h *health) response(status servingStatus) *dynamicpb.Message {
	response := dynamicpb.NewMessage(h.check.Output())
	response.Set(h.check.Output().Fields().ByNumber(1), protoreflect.ValueOfEnum(protoreflect.EnumNumber(status)))
	return response
}

// healthServices are those of which there is health to tell; "" is all of the server.
var healthServices = []string{"", userv1connect.UserServiceName}

func knownService(name string) bool { return slices.Contains(healthServices, name) }

func (h *health) serveCheck(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	service, err := h.receive(stream)
	if err != nil {
		return err
	}
	if !knownService(service) {
		return connect.NewError(connect.CodeNotFound, "there is no such service here")
	}
	return h.send(stream, h.now(ctx))
}

// serveList tells the health of all services.
func (h *health) serveList(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	if err := stream.Receive(dynamicpb.NewMessage(h.list.Input())); err != nil {
		return err
	}
	response := dynamicpb.NewMessage(h.list.Output())
	statuses := response.Mutable(h.list.Output().Fields().ByNumber(1)).Map()
	status := protoreflect.ValueOfMessage(h.response(h.now(ctx)))
	for _, service := range healthServices {
		statuses.Set(protoreflect.ValueOfString(service).MapKey(), status)
	}
	return stream.Send(response)
}

// now looks whether the server can answer calls.
func (h *health) now(ctx context.Context) servingStatus {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if h.isReady(ctx) != nil {
		return notServing
	}
	return serving
}

// recent is now for all watchers, which share one look. It does not end with the one who takes
// it: the others would be told that the server is not serving.
func (h *health) recent(ctx context.Context) servingStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.looked) >= healthInterval {
		h.status, h.looked = h.now(context.WithoutCancel(ctx)), time.Now()
	}
	return h.status
}

// serveWatch tells the health of a service, at once and whenever it changes. Of a service
// that is not there it tells that, and waits for it, as the specification has it. The
// stream ends with the server, after it has told that.
func (h *health) serveWatch(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	service, err := h.receive(stream)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	running := h.running(ctx)
	for told := servingStatus(0); ; {
		stopping := h.ready.Err() != nil // Looked at once: what ends the stream is told first.
		status := serviceUnknown
		switch {
		case stopping:
			status = notServing
		case knownService(service):
			status = h.recent(ctx)
		}
		if status != told {
			if err := h.send(stream, status); err != nil {
				return err
			}
			told = status
		}
		if err := gather.Flush(ctx); err != nil {
			return err
		}
		if stopping {
			return failure.ErrDraining
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.ready.Done():
		case <-running.Done():
			if h.ready.Err() == nil {
				return context.Cause(running)
			}
		case <-ticker.C:
		}
	}
}
