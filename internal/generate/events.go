package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// kinds are all kinds of events but marks.
func kinds() []event.Kind {
	var out []event.Kind
	for k := event.KindFlow; k < event.KindMark; k++ {
		out = append(out, k)
	}
	return out
}

// property is the JSON Schema of a field.
func property(f *event.Field) map[string]any {
	var p map[string]any
	switch f.Type {
	case event.TypeString:
		p = map[string]any{"type": "string", "minLength": 1}
		if f.Enum != nil {
			p = map[string]any{"enum": f.Enum}
		}
	case event.TypeCount:
		p = map[string]any{"type": "integer", "minimum": 0}
	case event.TypeHash:
		p = map[string]any{"type": "string", "pattern": "^[0-9a-f]{16}$"}
	case event.TypeMicros:
		p = map[string]any{"type": "integer"}
	case event.TypeBool:
		p = map[string]any{"const": true}
	case event.TypeFloat:
		p = map[string]any{"type": "number"}
	case event.TypeIP:
		p = address()
	case event.TypeStrings:
		p = map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "string"}}
	case event.TypeIPs:
		p = map[string]any{"type": "array", "minItems": 1, "items": address()}
	}
	if f.Doc != "" {
		p["description"] = f.Doc
	}
	return p
}

func address() map[string]any {
	return map[string]any{"type": "string", "anyOf": []any{map[string]any{"format": "ipv4"}, map[string]any{"format": "ipv6"}}}
}

// eventSchemas returns the schema of each kind of event, and of marks.
func eventSchemas() map[string][]byte {
	out := map[string][]byte{}
	for _, k := range kinds() {
		props := map[string]any{"kind": map[string]any{"const": k.String()}, "v": map[string]any{"const": event.Version}}
		for _, f := range event.Fields(k) {
			props[f.Key] = property(&f)
		}
		out[k.String()] = schema(k.String(), "Ebbwatch "+k.String()+" event", props, "kind", "v", "time", "observer.type")
	}
	text, count := map[string]any{"type": "string"}, map[string]any{"type": "integer", "minimum": 0}
	source := map[string]any{
		"type": "object", "additionalProperties": false, "required": []string{"type", "name", "realm", "low", "records"},
		"properties": map[string]any{
			"type": text, "name": text, "realm": text, "stream": text,
			"low": map[string]any{"type": "integer"}, "records": count, "promise": map[string]any{"type": "boolean"},
			"closed": map[string]any{"type": "boolean"}, "expired": map[string]any{"type": "boolean"},
		},
	}
	out["mark"] = schema("mark", "Ebbwatch mark: how far the sources of an instance are", map[string]any{
		"kind": map[string]any{"const": "mark"}, "v": map[string]any{"const": event.Version}, "instance": text,
		"sources": map[string]any{"type": []string{"array", "null"}, "items": source},
		"full":    map[string]any{"type": "boolean"}, "closing": map[string]any{"type": "boolean"},
	}, "kind", "v", "instance", "sources")
	return out
}

func schema(name, title string, props map[string]any, required ...string) []byte {
	data, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://ebbwatch.dev/schemas/" + name + ".json",
		"title": title, "type": "object", "properties": props, "required": required, "additionalProperties": false,
	}, "", "  ")
	if err != nil {
		fatal(err)
	}
	return append(data, '\n')
}

// eventPage is the reference page of the events.
func eventPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# Events

Generated from ` + "`pkg/event/fields.go`" + `; do not edit. One event is one JSON object with flat, dotted keys; ` + "`kind`" + ` and ` + "`v`" + ` come first and are also
Kafka headers. Times are integer microseconds since the epoch. A field that the source did not give is absent, which is not zero.
Schemas: [schemas/](../../schemas/).
`)
	types := map[event.FieldType]string{
		event.TypeString: "string", event.TypeCount: "integer ≥ 0", event.TypeHash: "16 hex digits", event.TypeMicros: "microseconds",
		event.TypeBool: "true", event.TypeFloat: "number", event.TypeIP: "address", event.TypeStrings: "strings", event.TypeIPs: "addresses",
	}
	for _, k := range kinds() {
		fmt.Fprintf(&b, "\n## %s\n\nTopic: `%s`.\n\n| field | type | meaning |\n|---|---|---|\n", k, topicOf(k))
		for _, f := range event.Fields(k) {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Key, types[f.Type], f.Doc)
		}
	}
	return b.Bytes()
}

func topicOf(k event.Kind) string {
	switch k.Plane() {
	case event.PlaneHost:
		return "ebb.host.v1"
	case event.PlaneCloud:
		return "ebb.cloud.v1"
	case event.PlaneNetwork, event.PlaneNone:
	}
	return "ebb.network.v1"
}
