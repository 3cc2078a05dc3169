package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// statuses are the HTTP statuses of codes, as the Connect protocol has them.
var statuses = map[string]int{
	"CANCELED":            499,
	"INVALID_ARGUMENT":    http.StatusBadRequest,
	"FAILED_PRECONDITION": http.StatusBadRequest,
	"OUT_OF_RANGE":        http.StatusBadRequest,
	"UNAUTHENTICATED":     http.StatusUnauthorized,
	"PERMISSION_DENIED":   http.StatusForbidden,
	"NOT_FOUND":           http.StatusNotFound,
	"ALREADY_EXISTS":      http.StatusConflict,
	"ABORTED":             http.StatusConflict,
	"RESOURCE_EXHAUSTED":  http.StatusTooManyRequests,
	"INTERNAL":            http.StatusInternalServerError,
	"UNIMPLEMENTED":       http.StatusNotImplemented,
	"UNAVAILABLE":         http.StatusServiceUnavailable,
	"DEADLINE_EXCEEDED":   http.StatusGatewayTimeout,
}

// Reasons that not every unary RPC can have, and that no comment of one names.
var (
	ofStreams = []string{"INVALID_CURSOR", "CURSOR_EXPIRED", "TOO_MANY_ROWS", "SLOW_CONSUMER", "CANCELED", "UNIMPLEMENTED"}
	ofPages   = "INVALID_PAGE_TOKEN"
	ofWrites  = "CONFLICT"
)

// document is what is described.
type document struct {
	schemas  schemas
	examples []example
	codes    map[string]string // Of reasons.
	reasons  []string          // In the order of the schema.
	general  []string          // Those that no RPC names.
}

const about = `Users over plain HTTP with JSON: every call is a POST of one JSON object; those that only read also take a GET.

Names of fields are in camel case. Those of the schema (` + "`user_id`" + `) are taken as well. 64-bit numbers are strings, times are RFC 3339. Fields that a request does not know are refused.`

// describe returns the document.
func describe(files []*protogen.File, examples []example) object {
	d := &document{schemas: schemas{described: map[protoreflect.FullName]bool{}}, examples: examples, codes: map[string]string{}}
	var methods []*protogen.Method
	for _, file := range files {
		if !file.Generate {
			continue
		}
		d.readReasons(file.Enums)
		for _, service := range file.Services {
			methods = append(methods, unary(service)...)
		}
	}
	d.findGeneral(methods)
	var paths object
	for _, method := range methods {
		path := fmt.Sprintf("/%s/%s", method.Parent.Desc.FullName(), method.Desc.Name())
		paths = append(paths, member{path, d.item(method)})
	}
	return object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "userd"},
			{"version", "v1"},
			{"description", about},
			{"license", object{{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}},
		}},
		{"servers", []object{{{"url", "/"}}}},
		{"security", []object{{{"token", []string{}}}, {}}},
		{"paths", paths},
		{"components", object{
			{"schemas", append(d.schemas.all, d.errorSchema())},
			{"parameters", parameters},
			{"securitySchemes", object{{"token", object{
				{"type", "http"},
				{"scheme", "bearer"},
				{"description", "A token that userd token new has made, or a JWT of the issuer that the server trusts. A server without callers needs none."},
			}}}},
		}},
	}
}

func unary(service *protogen.Service) []*protogen.Method {
	return slices.DeleteFunc(slices.Clone(service.Methods), func(method *protogen.Method) bool {
		return method.Desc.IsStreamingClient() || method.Desc.IsStreamingServer()
	})
}

func (d *document) readReasons(enums []*protogen.Enum) {
	for _, enum := range enums {
		if enum.Desc.Name() != "Reason" {
			continue
		}
		for _, value := range enum.Values[1:] {
			name := strings.TrimPrefix(string(value.Desc.Name()), "REASON_")
			d.codes[name] = codeOf(value.Comments)
			d.reasons = append(d.reasons, name)
		}
	}
}

func (d *document) findGeneral(methods []*protogen.Method) {
	d.general = slices.DeleteFunc(slices.Clone(d.reasons), func(reason string) bool {
		return reason == ofPages || reason == ofWrites || slices.Contains(ofStreams, reason) ||
			slices.ContainsFunc(methods, func(method *protogen.Method) bool {
				return slices.Contains(reasonsNamed(method.Comments), reason)
			})
	})
}

// item is what a path takes.
func (d *document) item(method *protogen.Method) object {
	d.schemas.add(method.Input, true)
	d.schemas.add(method.Output, false)
	name := string(method.Desc.Name())
	body := object{{"schema", ref(string(method.Input.Desc.Name()))}}
	if shown, ok := d.exampleOf(name, http.StatusOK); ok {
		body = append(body, member{"example", shown.Request})
	}
	item := object{{"post", d.operation(method, name, object{
		{"parameters", []object{parameterRef("Timeout"), parameterRef("CacheControl")}},
		{"requestBody", object{{"required", true}, {"content", object{{"application/json", body}}}}},
		{"responses", d.responses(method)},
	})}}
	if method.Desc.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		item = append(item, member{"get", d.operation(method, name+"ByGet", object{
			{"parameters", []object{
				{{"name", "message"}, {"in", "query"}, {"required", true}, {"description", "The request."}, {"content", object{{"application/json", body}}}},
				parameterRef("Connect"), parameterRef("Encoding"), parameterRef("IfNoneMatch"), parameterRef("Timeout"), parameterRef("CacheControl"),
			}},
			{"responses", append(d.responses(method), member{"304", object{{"description", "What the ETag of If-None-Match names is still so."}}})},
		})})
	}
	return item
}

func (d *document) operation(method *protogen.Method, id string, rest object) object {
	return append(object{
		{"operationId", id},
		{"summary", summary(string(method.Desc.Name()), method.Comments)},
		{"description", withoutReasons(method.Comments)},
		{"tags", []string{string(method.Parent.Desc.Name())}},
	}, rest...)
}

// responses are what an RPC answers.
func (d *document) responses(method *protogen.Method) object {
	content := object{{"schema", ref(string(method.Output.Desc.Name()))}}
	if shown, ok := d.exampleOf(string(method.Desc.Name()), http.StatusOK); ok {
		content = append(content, member{"example", shown.Response})
	}
	responses := object{{"200", object{{"description", "It is done."}, {"content", object{{"application/json", content}}}}}}
	byStatus := map[int][]string{}
	for _, reason := range d.reasonsOf(method) {
		status := d.statusOf(reason)
		byStatus[status] = append(byStatus[status], reason)
	}
	for status := http.StatusBadRequest; status < 600; status++ {
		if reasons := byStatus[status]; reasons != nil {
			responses = append(responses, member{strconv.Itoa(status), d.failure(method, status, reasons)})
		}
	}
	return append(responses, member{"default", failureResponse("Another error, such as one of a proxy.", nil)})
}

// statusOf is the HTTP status of a reason.
func (d *document) statusOf(reason string) int {
	if reason == "MESSAGE_TOO_LARGE" { // Clients send again what gets the status of its code.
		return http.StatusRequestEntityTooLarge
	}
	return statuses[d.codes[reason]]
}

// reasonsOf are the reasons that an RPC can have, in the order of the schema.
func (d *document) reasonsOf(method *protogen.Method) []string {
	own := reasonsNamed(method.Comments)
	if own != nil { // Only writes name any.
		own = append(own, ofWrites)
	}
	if method.Input.Desc.Fields().ByName("page_token") != nil {
		own = append(own, ofPages)
	}
	return slices.DeleteFunc(slices.Clone(d.reasons), func(reason string) bool {
		return !slices.Contains(own, reason) && !slices.Contains(d.general, reason)
	})
}

// failure is an answer with an error. An example of any RPC will do: errors look the same.
func (d *document) failure(method *protogen.Method, status int, reasons []string) object {
	texts := make([]string, len(reasons))
	for i, reason := range reasons {
		texts[i] = fmt.Sprintf("`%s` (%s)", reason, strings.ToLower(d.codes[reason]))
	}
	shown, ok := d.exampleOf(string(method.Desc.Name()), status)
	if !ok {
		return failureResponse(strings.Join(texts, ", "), nil)
	}
	return failureResponse(strings.Join(texts, ", "), shown.Response)
}

func failureResponse(description string, example []byte) object {
	content := object{{"schema", ref("Error")}}
	if example != nil {
		content = append(content, member{"example", json.RawMessage(example)})
	}
	return object{{"description", description}, {"content", object{{"application/json", content}}}}
}
