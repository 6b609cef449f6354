package zeek_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// FuzzLine holds that any file gives one outcome a line, that every event is
// encodable, that the header stays small, and that nothing of a line but its
// header bears on the next.
func FuzzLine(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/in.log")
	if err != nil || len(inputs) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range inputs {
		in, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		lines := bytes.SplitAfter(in, []byte{'\n'})
		// Small seeds: every step of minimising an input costs its length.
		few := 3
		if strings.HasSuffix(filepath.Dir(path), "_tsv") {
			few = 10 // a header and rows
		}
		for part := range slices.Chunk(lines, few) {
			f.Add(filepath.Base(filepath.Dir(path)), bytes.Join(part, nil))
		}
	}
	for _, line := range []string{
		`{"ts":1,"id.orig_h":"10.0.0.5","id.resp_h":"203.0.113.9","command":"STOR","arg":"ftp://h/a","file_size":9,"reply_code":226,"fuid":"F"}`,
		`{"ts":1,"id.orig_h":"10.0.0.5","id.resp_h":"10.0.0.8","action":"SMB::FILE_WRITE","path":"\\\\s\\d","name":"n","size":7}`,
		`{"ts":1,"client_addr":"10.0.0.7","server_addr":"10.0.0.1","host_name":"L:7","assigned_addr":"10.0.0.7","msg_types":["ACK"]}`,
		`{"ts":1,"id.orig_h":"10.0.0.7","id.resp_h":"10.0.0.8","hostname":"L","domainname":"D","success":true}`,
		"#fields\tts\tuid\tauth_success\ttunnel_type\n1\tC\tT\t-",
	} {
		f.Add("", []byte(line))
	}
	f.Add("open_conn.log", []byte("#fields\tts\n1\n"))
	f.Fuzz(func(t *testing.T, path string, in []byte) {
		o := zeek.Options{Path: path, MaxLine: 1 << 16}
		d := zeek.New(o)
		r := decodetest.New(t)
		n := 0
		for line := range bytes.SplitSeq(in, []byte{'\n'}) {
			if n++; n > 40 {
				break
			}
			header, before := d.Header(), len(r.Out)
			d.Line(line, event.Origin{Line: event.N(n)}, r)
			if r.Total() != n {
				t.Fatalf("%d outcomes after %d lines, the last %q", r.Total(), n, line)
			}
			if len(header) > 64<<10 {
				t.Fatalf("a header of %d bytes", len(header))
			}
			fresh, again := zeek.New(o), decodetest.New(t)
			fresh.SetHeader(header)
			fresh.Line(line, event.Origin{Line: event.N(n)}, again)
			if got, want := string(again.Out), string(r.Out[before:]); got != want {
				t.Fatalf("%q after %q:\nfresh decoder %s\nused decoder  %s", line, header, got, want)
			}
			if got, want := fresh.Header(), d.Header(); !bytes.Equal(got, want) {
				t.Fatalf("headers after %q:\nfresh decoder %q\nused decoder  %q", line, got, want)
			}
		}
	})
}
