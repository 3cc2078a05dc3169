package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	var flags flag.FlagSet
	examples := flags.String("examples", "", "file of the calls to show")
	protogen.Options{ParamFunc: flags.Set}.Run(func(plugin *protogen.Plugin) error {
		plugin.SupportedFeatures = uint64(pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL)
		shown, err := readExamples(*examples)
		if err != nil {
			return err
		}
		return write(plugin, describe(plugin.Files, shown))
	})
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			text.WriteByte(',')
		}
		value, err := marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(&text, "%q:%s", m.name, value)
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// marshal leaves < and > as they are: nobody puts the text into HTML.
func marshal(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSpace(text.Bytes()), err
}

// write writes the document as JSON and as YAML.
func write(plugin *protogen.Plugin, document object) error {
	plain, err := marshal(document)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, append(plain, '\n'), "", "  "); err != nil {
		return err
	}
	var node yaml.Node // JSON is YAML; the node keeps the order.
	if err := yaml.Unmarshal(plain, &node); err != nil {
		return err
	}
	plainStyle(&node)
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"openapi.json": indented.Bytes(), "openapi.yaml": text.Bytes()} {
		if _, err := plugin.NewGeneratedFile(name, "").Write(content); err != nil {
			return err
		}
	}
	return nil
}

// plainStyle has a node be written without braces and without quotes that it does not need.
func plainStyle(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		plainStyle(child)
	}
}
