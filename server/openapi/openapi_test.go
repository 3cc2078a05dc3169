package openapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/example/userd/server/servertest"
)

// example is a call of examples.json.
type example struct {
	RPC      string
	Request  json.RawMessage
	Status   int
	Response json.RawMessage
}

// TestExamples makes the calls that are shown, in their order. They and their answers are as
// the description says.
func TestExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var examples []example
	if err := json.Unmarshal(text, &examples); err != nil {
		t.Fatal(err)
	}
	schemas := newSchemas(t)
	url := servertest.Start(t, nil).URL
	for _, e := range examples {
		status, response := call(t, url, e)
		if diff := cmp.Diff(parse(t, e.Response), parse(t, response)); status != e.Status || diff != "" {
			t.Errorf("%s %s: %d, not %d (-shown +got):\n%s", e.RPC, e.Request, status, e.Status, diff)
		}
		answer := "Error"
		if status == http.StatusOK {
			answer = e.RPC + "Response"
			schemas.check(t, e.RPC+"Request", e.Request)
		}
		schemas.check(t, answer, response)
	}
}

var times = regexp.MustCompile(`"[0-9-]+T[0-9:.]+Z"`)

// call returns the answer with the time of the examples.
func call(t *testing.T, url string, e example) (status int, response []byte) {
	t.Helper()
	resp, err := http.Post(url+"/user.v1.UserService/"+e.RPC, "application/json", bytes.NewReader(e.Request))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, times.ReplaceAll(body.Bytes(), []byte(`"2026-01-31T09:30:00.123456Z"`))
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// schemas are those of the description; OpenAPI 3.1 has those of JSON Schema.
type schemas struct{ compiler *jsonschema.Compiler }

func newSchemas(t *testing.T) schemas {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", parse(t, text)); err != nil {
		t.Fatal(err)
	}
	return schemas{compiler}
}

func (s schemas) valid(t *testing.T, name string, text []byte) error {
	t.Helper()
	schema, err := s.compiler.Compile("openapi.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(parse(t, text))
}

func (s schemas) check(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := s.valid(t, name, text); err != nil {
		t.Errorf("%s: %v", text, err)
	}
}

// TestRules has requests that break rules be refused by the description and by the server.
func TestRules(t *testing.T) {
	t.Parallel()
	schemas := newSchemas(t)
	url := servertest.Start(t, nil).URL
	for _, e := range []example{
		{RPC: "GetUser", Request: []byte(`{}`)},
		{RPC: "GetUser", Request: []byte(`{"userId": "ada"}`)},
		{RPC: "GetUser", Request: []byte(`{"user": "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"}`)},
		{RPC: "CreateUser", Request: []byte(`{"email": "ada@example.com"}`)},
		{RPC: "CreateUser", Request: []byte(`{"email": "ada", "displayName": "Ada"}`)},
		{RPC: "CreateUser", Request: []byte(`{"email": "ada@example.com", "displayName": "Ada", "roles": ["Admin"]}`)},
		{RPC: "CreateUser", Request: []byte(`{"email": "ada@example.com", "displayName": "Ada", "roles": ["a", "a"]}`)},
		{RPC: "CreateUser", Request: []byte(`{"email": "ada@example.com", "displayName": "Ada", "attributes": {"Locale": "en"}}`)},
		{RPC: "SearchUsers", Request: []byte(`{"pageSize": 101}`)},
		{RPC: "SearchUsers", Request: []byte(`{"role": "Admin"}`)},
		{RPC: "UpdateUser", Request: []byte(`{}`)},
		{RPC: "DeleteUser", Request: []byte(`{"userId": "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d", "expectedVersion": 0}`)},
	} {
		if schemas.valid(t, e.RPC+"Request", e.Request) == nil {
			t.Errorf("the description takes a %s of %s", e.RPC, e.Request)
		}
		if status, _ := call(t, url, e); status != http.StatusBadRequest {
			t.Errorf("the server answers %d to a %s of %s", status, e.RPC, e.Request)
		}
	}
	for _, request := range []string{`{}`, `{"role": "", "pageSize": 100}`} {
		schemas.check(t, "SearchUsersRequest", []byte(request))
	}
}

// TestStatuses has errors with the statuses that the description gives their reasons.
func TestStatuses(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		Paths map[string]map[string]struct{ Responses map[string]json.RawMessage }
	}
	if err := json.Unmarshal(text, &description); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte(" "), 16<<20)
	url := servertest.Start(t, nil).URL
	for reason, e := range map[string]example{
		"INVALID_FIELD":     {RPC: "CreateUser", Request: []byte(`{}`)},
		"UNKNOWN_FIELD":     {RPC: "CreateUser", Request: []byte(`{"name": "Ada"}`)},
		"MALFORMED_REQUEST": {RPC: "CreateUser", Request: []byte(`{`)},
		"MESSAGE_TOO_LARGE": {RPC: "CreateUser", Request: append(large, "{}"...)},
		"USER_NOT_FOUND":    {RPC: "UpdateUser", Request: []byte(`{"update": {"userId": "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d"}}`)},
	} {
		status, answer := call(t, url, e)
		if !bytes.Contains(answer, []byte(`"`+reason+`"`)) {
			t.Errorf("the answer to a bad %s is %s, not %s", e.RPC, answer, reason)
		}
		responses := description.Paths["/user.v1.UserService/"+e.RPC]["post"].Responses
		if described := responses[strconv.Itoa(status)]; !bytes.Contains(described, []byte(reason)) {
			t.Errorf("%s has the status %d, of which the description says %s", reason, status, described)
		}
	}
}

func TestDescriptionIsServed(t *testing.T) {
	t.Parallel()
	url := servertest.Start(t, nil).URL
	for path, contentType := range map[string]string{"/openapi.json": "application/json", "/openapi.yaml": "application/yaml"} {
		first := get(t, url+path, "")
		if first.StatusCode != http.StatusOK || first.Header.Get("Content-Type") != contentType {
			t.Errorf("%s: %s of %q", path, first.Status, first.Header.Get("Content-Type"))
		}
		if again := get(t, url+path, first.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s", path, again.Status)
		}
		resp, err := http.Post(url+path, "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("a POST of %s: %s", path, resp.Status)
		}
	}
}

func get(t *testing.T, url, etag string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("If-None-Match", etag)
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}
