package zeek_test

import (
	"bytes"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// optionsOf are the options of the golden cases that need any.
var optionsOf = map[string]zeek.Options{
	"lab_conn_json":      {Path: "lab/conn.log.gz"},
	"lab_dns_json":       {Path: "dns.10:00:00-11:00:00.log.gz"},
	"lab_dns_exfil_json": {Path: "dns_exfil.log"},
	"lab_ssl_json":       {Path: "ssl.log"},
	"lab_x509_json":      {Path: "x509.log"},
	"no_header_columns_tsv": {
		Path:    "conn.log",
		Columns: []string{"ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "orig_bytes"},
	},
	"field_names_tsv": {FieldNames: map[string]string{
		"time": "ts", "src": "id.orig_h", "src_port": "id.orig_p", "dst": "id.resp_h", "dst_port": "id.resp_p",
	}},
}

// feed hands the lines of a file to a decoder, numbered from 1.
func feed(d *zeek.Decoder, in []byte, r decode.Sink) (n int) {
	for line := range bytes.Lines(in) {
		n++
		d.Line(bytes.TrimSuffix(line, []byte{'\n'}), event.Origin{Line: event.N(n)}, r)
	}
	return n
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, name string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		if n := feed(zeek.New(optionsOf[name]), in, r); r.Total() != n {
			t.Errorf("%d outcomes of %d lines", r.Total(), n)
		}
	})
}
