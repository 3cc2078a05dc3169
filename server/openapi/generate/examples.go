package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// example is a call that is shown. A test makes all of them, in their order.
type example struct {
	RPC      string          `json:"rpc"`
	Request  json.RawMessage `json:"request"`
	Status   int             `json:"status"`
	Response json.RawMessage `json:"response"`
}

func readExamples(path string) ([]example, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var examples []example
	if err := json.Unmarshal(text, &examples); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return examples, nil
}

// exampleOf is the first call of an RPC that is answered with a status.
func (d *document) exampleOf(rpc string, status int) (example, bool) {
	for _, e := range d.examples {
		if e.RPC == rpc && e.Status == status {
			return e, true
		}
	}
	return example{}, false
}
