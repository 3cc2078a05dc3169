package main

import (
	"maps"
	"slices"
	"strings"
)

func parameterRef(name string) object { return object{{"$ref", "#/components/parameters/" + name}} }

// parameters are those that calls of every RPC, or every GET, may have.
var parameters = object{
	{"Timeout", parameter("header", "Connect-Timeout-Ms", "After how many milliseconds the caller gives up.", object{{"type", "integer"}, {"minimum", 1}})},
	{"CacheControl", parameter("header", "Cache-Control", "no-cache has a read come from the store.", object{{"type", "string"}})},
	{"IfNoneMatch", parameter("header", "If-None-Match", "The ETag of an earlier answer.", object{{"type", "string"}})},
	{"Connect", parameter("query", "connect", "The version of the protocol.", object{{"type", "string"}, {"const", "v1"}})},
	{"Encoding", append(parameter("query", "encoding", "What the message is written in.", object{{"type", "string"}, {"const", "json"}}), member{"required", true})},
}

func parameter(in, name, description string, schema object) object {
	return object{{"name", name}, {"in", in}, {"description", description}, {"schema", schema}}
}

// errorSchema is an error as the Connect protocol writes it.
func (d *document) errorSchema() member {
	codes := map[string]bool{"unknown": true, "data_loss": true} // A proxy may say these.
	for code := range statuses {
		codes[strings.ToLower(code)] = true
	}
	return member{"Error", object{
		{"type", "object"},
		{"description", "An error. Programs act on its code and on the reason in its details; the text is for people, and may change."},
		{"properties", object{
			{"code", object{{"type", "string"}, {"enum", slices.Sorted(maps.Keys(codes))}}},
			{"message", object{{"type", "string"}}},
			{"details", object{{"type", "array"}, {"items", d.detailSchema()}}},
		}},
		{"required", []string{"code"}},
	}}
}

// detailSchema is a detail of an error, of which three kinds are known.
func (d *document) detailSchema() object {
	debug := func(properties object) object {
		return object{{"type", "object"}, {"properties", properties}}
	}
	words := object{{"type", "string"}}
	return object{
		{"type", "object"},
		{"properties", object{
			{"type", object{{"type", "string"}, {"description", "google.rpc.ErrorInfo is in every error of userd, google.rpc.BadRequest where fields are at fault, google.rpc.RetryInfo where a later try may do."}}},
			{"value", object{{"type", "string"}, {"description", "The detail as protobuf, in base64 without padding."}}},
			{"debug", object{
				{"description", "The detail as JSON."},
				{"anyOf", []object{
					debug(object{{"reason", object{{"type", "string"}, {"enum", d.reasons}}}, {"domain", object{{"type", "string"}, {"const", "user.v1"}}}}),
					debug(object{{"fieldViolations", object{{"type", "array"}, {"items", debug(object{{"field", words}, {"description", words}, {"reason", words}})}}}}),
					debug(object{{"retryDelay", object{{"type", "string"}, {"pattern", `^[0-9.]+s$`}}}}),
				}},
			}},
		}},
		{"required", []string{"type", "value"}},
	}
}
