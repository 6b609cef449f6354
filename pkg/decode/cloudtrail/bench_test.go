package cloudtrail_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// file makes one file on one line out of golden inputs: 3 in 4 records are
// object reads and writes, as where data events are on, or all are shares with
// policies, the costliest.
func file(b *testing.B, weights map[string]int) (data []byte, records int) {
	b.Helper()
	var all []json.RawMessage
	for name, in := range inputs(b) {
		var doc struct{ Records []json.RawMessage }
		if weights[name] == 0 {
			continue
		}
		if err := json.Unmarshal(in, &doc); err != nil {
			b.Fatal(err)
		}
		for range weights[name] {
			all = append(all, doc.Records...)
		}
	}
	list, err := json.Marshal(all)
	if err != nil {
		b.Fatal(err)
	}
	return append(append([]byte(`{"Records":`), list...), '}'), len(all)
}

func BenchmarkReader(b *testing.B) {
	for name, weights := range map[string]map[string]int{
		"typical": {"objects": 12, "identities": 1, "management": 1, "shares": 1},
		"shares":  {"shares": 1, "policies": 1},
	} {
		b.Run(name, func(b *testing.B) {
			data, records := file(b, weights)
			sink := &counter{}
			r := cloudtrail.NewReader(nil, event.Origin{})
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r.Reset(bytes.NewReader(data), event.Origin{Name: "trail.json.gz"})
				for r.Next(sink) == nil {
				}
				n++
			}
			if sink.events != n*records {
				b.Fatalf("%d events of %d", sink.events, n*records)
			}
			b.ReportMetric(float64(sink.events)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkLine(b *testing.B) {
	data, _ := file(b, map[string]int{"objects": 12, "identities": 1, "management": 1, "shares": 1})
	var doc struct{ Records []json.RawMessage }
	if err := json.Unmarshal(data, &doc); err != nil {
		b.Fatal(err)
	}
	d, sink := cloudtrail.New(), &counter{}
	b.SetBytes(int64(len(data) / len(doc.Records)))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Line(doc.Records[i], event.Origin{Name: "trail.ndjson"}, sink)
		if i++; i == len(doc.Records) {
			i = 0
		}
	}
	b.ReportMetric(float64(sink.events)/b.Elapsed().Seconds(), "records/s")
}
