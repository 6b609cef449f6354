package vpcflow

import (
	"errors"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxEnvelope is the longest JSON document: a CloudWatch Logs batch is at
// most 1 MB compressed.
const maxEnvelope = 16 << 20

// envelope takes the JSON of a CloudWatch Logs subscription (formats.md §8),
// {"messageType":…,"logEvents":[{"message":RECORD},…]}, or one Firehose
// document {"message":RECORD}. Each message counts as one record; all share
// the origin of the line.
func (d *Decoder) envelope(line []byte, at event.Origin, sink decode.Sink) {
	if len(line) > maxEnvelope {
		sink.Dead(decode.ReasonTooLong, line, at)
		return
	}
	var doc struct {
		Type    rawjson.Value `json:"messageType"`
		Events  rawjson.Value `json:"logEvents"`
		Message rawjson.Value `json:"message"`
	}
	if err := rawjson.Parse(line, &doc); err != nil {
		reason := decode.ReasonJSON
		if errors.Is(err, rawjson.ErrDeep) {
			reason = decode.ReasonTooDeep
		}
		sink.Dead(reason, line, at)
		return
	}
	switch {
	case rawjson.Text(doc.Type) == "CONTROL_MESSAGE":
		sink.Ignored(ignoredControl)
	case rawjson.Text(doc.Message) != "":
		d.message(rawjson.Text(doc.Message), line, at, sink)
	case rawjson.IsArray(doc.Events):
		n := 0
		for entry := range rawjson.Each(doc.Events) {
			d.message(rawjson.Text(rawjson.Get(entry, "message")), entry, at, sink)
			n++
		}
		if n == 0 {
			sink.Ignored(ignoredBlank)
		}
	default:
		sink.Dead(decode.ReasonUnknownFormat, line, at)
	}
}

// message takes the text of one wrapped record.
func (d *Decoder) message(text string, raw []byte, at event.Origin, sink decode.Sink) {
	switch line := trim([]byte(text)); {
	case len(line) > 0:
		d.text(line, at, sink)
	default:
		sink.Dead(decode.ReasonMissing, raw, at)
	}
}
