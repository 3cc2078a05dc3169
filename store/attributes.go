package store

import (
	"bytes"
	"encoding/json"
	"strings"
)

// noAttributes is the form of no attributes, which most users have.
const noAttributes = `{}`

// EncodeAttributes returns attributes in the form that engines keep: a JSON object of
// strings, sorted by name.
func EncodeAttributes(attributes []Attribute) (string, error) {
	if len(attributes) == 0 {
		return noAttributes, nil
	}
	object := make(map[string]string, len(attributes))
	for _, attribute := range attributes {
		object[attribute.Name] = attribute.Value
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text) // It sorts.
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(object)
	return strings.TrimSuffix(text.String(), "\n"), err
}

// DecodeAttributes returns what EncodeAttributes was given, sorted, or
// UnreadableAttributes for what others have written.
func DecodeAttributes(text string) []Attribute {
	if text == noAttributes {
		return nil
	}
	var object map[string]*string
	if err := json.Unmarshal([]byte(text), &object); err != nil || object == nil {
		return UnreadableAttributes()
	}
	attributes := make([]Attribute, 0, len(object))
	for name, value := range object {
		if value == nil {
			return UnreadableAttributes()
		}
		attributes = append(attributes, Attribute{name, *value})
	}
	return SortedAttributes(attributes)
}
