package userd

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/conformance/internal"
	conformancev1 "connectrpc.com/conformance/internal/gen/proto/go/connectrpc/conformance/v1"
	"connectrpc.com/conformance/internal/gen/proto/go/connectrpc/conformance/v1/conformancev1connect"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// service does what requests of the suite ask for: it answers with the metadata,
// messages, delays and errors that they define, and tells what it was sent.
type service struct {
	conformancev1connect.UnimplementedConformanceServiceHandler
}

func (service) Unary(ctx context.Context, req *conformancev1.UnaryRequest) (*conformancev1.UnaryResponse, error) {
	payload, err := answer(ctx, req.GetResponseDefinition(), req)
	return &conformancev1.UnaryResponse{Payload: payload}, err
}

func (service) IdempotentUnary(ctx context.Context, req *conformancev1.IdempotentUnaryRequest) (*conformancev1.IdempotentUnaryResponse, error) {
	payload, err := answer(ctx, req.GetResponseDefinition(), req)
	return &conformancev1.IdempotentUnaryResponse{Payload: payload}, err
}

func (service) ClientStream(ctx context.Context, stream conformancev1connect.ConformanceServiceClientStreamServerStream) (*conformancev1.ClientStreamResponse, error) {
	var definition *conformancev1.UnaryResponseDefinition
	var received []proto.Message
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(received) == 0 {
			definition = req.GetResponseDefinition()
		}
		received = append(received, req)
	}
	payload, err := answer(ctx, definition, received...)
	return &conformancev1.ClientStreamResponse{Payload: payload}, err
}

// answer is the one response to some requests.
func answer(ctx context.Context, definition *conformancev1.UnaryResponseDefinition, requests ...proto.Message) (*conformancev1.ConformancePayload, error) {
	info, err := requestInfo(ctx, requests)
	if err != nil {
		return nil, err
	}
	call, _ := connect.CallInfoForServerContext(ctx)
	internal.AddHeaders(definition.GetResponseHeaders(), call.ResponseHeader())
	internal.AddHeaders(definition.GetResponseTrailers(), call.ResponseTrailer())
	if definition.GetError() != nil {
		return nil, failure(definition.GetError(), info)
	}
	pause(definition.GetResponseDelayMs())
	return &conformancev1.ConformancePayload{Data: definition.GetResponseData(), RequestInfo: info}, nil
}

func (service) ServerStream(ctx context.Context, req *conformancev1.ServerStreamRequest, stream conformancev1connect.ConformanceServiceServerStreamServerStream) error {
	out := &responses{definition: req.GetResponseDefinition(), headers: stream.SendHeaders}
	out.send = func(payload *conformancev1.ConformancePayload) error {
		return stream.Send(&conformancev1.ServerStreamResponse{Payload: payload})
	}
	out.begin(ctx)
	return out.finish(ctx, req)
}

func (service) BidiStream(ctx context.Context, stream conformancev1connect.ConformanceServiceBidiStreamServerStream) error {
	out := &responses{headers: stream.SendHeaders}
	out.send = func(payload *conformancev1.ConformancePayload) error {
		return stream.Send(&conformancev1.BidiStreamResponse{Payload: payload})
	}
	var received []proto.Message
	fullDuplex, started := false, false
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		received = append(received, req)
		if !started {
			started, fullDuplex, out.definition = true, req.GetFullDuplex(), req.GetResponseDefinition()
			out.begin(ctx)
			if fullDuplex && out.more() {
				if err := stream.SendHeaders(); err != nil {
					return err
				}
			}
		}
		if !fullDuplex {
			continue
		}
		if !out.more() {
			break
		}
		if err := out.next(ctx, received...); err != nil {
			return err
		}
		received = nil
	}
	return out.finish(ctx, received...)
}

// responses are those of a stream.
type responses struct {
	definition *conformancev1.StreamResponseDefinition
	headers    func() error
	send       func(*conformancev1.ConformancePayload) error
	sent       int
}

// begin sets the metadata.
func (r *responses) begin(ctx context.Context) {
	call, _ := connect.CallInfoForServerContext(ctx)
	internal.AddHeaders(r.definition.GetResponseHeaders(), call.ResponseHeader())
	internal.AddHeaders(r.definition.GetResponseTrailers(), call.ResponseTrailer())
}

func (r *responses) more() bool { return r.sent < len(r.definition.GetResponseData()) }

// next sends one response, which tells of the requests since the one before.
func (r *responses) next(ctx context.Context, requests ...proto.Message) error {
	payload := &conformancev1.ConformancePayload{Data: r.definition.GetResponseData()[r.sent]}
	info, err := requestInfo(ctx, requests)
	if err != nil {
		return err
	}
	if r.sent == 0 {
		payload.RequestInfo = info
	} else if len(requests) > 0 {
		payload.RequestInfo = &conformancev1.ConformancePayload_RequestInfo{Requests: info.GetRequests()}
	}
	pause(r.definition.GetResponseDelayMs())
	r.sent++
	return r.send(payload)
}

// finish sends what is left, and returns the error that ends the stream.
func (r *responses) finish(ctx context.Context, requests ...proto.Message) error {
	if r.sent == 0 && r.more() {
		if err := r.headers(); err != nil {
			return err
		}
	}
	for r.more() {
		if err := r.next(ctx, requests...); err != nil {
			return err
		}
		requests = nil
	}
	if r.definition.GetError() == nil {
		return nil
	}
	if r.sent > 0 {
		return internal.ConvertProtoToConnectError(r.definition.GetError())
	}
	info, err := requestInfo(ctx, requests)
	if err != nil {
		return err
	}
	return failure(r.definition.GetError(), info)
}

// failure is the error that is asked for, with what was sent as a detail.
func failure(definition *conformancev1.Error, info *conformancev1.ConformancePayload_RequestInfo) error {
	detail, err := anypb.New(info)
	if err != nil {
		return err
	}
	definition.Details = append(definition.Details, detail)
	return internal.ConvertProtoToConnectError(definition)
}

// requestInfo tells what the server was sent.
func requestInfo(ctx context.Context, requests []proto.Message) (*conformancev1.ConformancePayload_RequestInfo, error) {
	call, _ := connect.CallInfoForServerContext(ctx)
	info := &conformancev1.ConformancePayload_RequestInfo{RequestHeaders: internal.ConvertConnectHeaderToProto(call.RequestHeader())}
	for _, request := range requests {
		packed, err := anypb.New(request)
		if err != nil {
			return nil, err
		}
		info.Requests = append(info.Requests, packed)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline).Milliseconds()
		info.TimeoutMs = &left
	}
	if httpInfo, _ := connecthttp.ServerInfoForContext(ctx); len(httpInfo.HTTPGetQueryParams()) > 0 {
		info.ConnectGetInfo = &conformancev1.ConformancePayload_ConnectGetInfo{
			QueryParams: internal.ConvertToProtoHeader(httpInfo.HTTPGetQueryParams()),
		}
	}
	return info, nil
}

// pause delays a response, which the suite asks for to see its own limits work.
func pause(milliseconds uint32) { time.Sleep(time.Duration(milliseconds) * time.Millisecond) }
