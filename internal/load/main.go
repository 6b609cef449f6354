// Command load makes a large Zeek dns.log from a recorded one: the recorded
// questions asked by many clients, about many registered domains, over a span
// of time. It writes JSON lines to stdout, the same for the same flags.
//
//	go run ./internal/load -lines 2000000 >dns.log
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

func main() {
	from := flag.String("from", "internal/demo/data/background/dns.log.gz", "recorded dns.log (JSON, gzip)")
	lines := flag.Int("lines", 2_000_000, "lines to write")
	clients := flag.Int("clients", 100_000, "different clients")
	domains := flag.Int("domains", 52_000, "different registered domains")
	span := flag.Float64("hours", 1, "hours of event time that the lines span")
	flag.Parse()
	if err := run(os.Stdout, *from, *lines, *clients, *domains, *span); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// template is a recorded line, cut where the new values go.
type template struct {
	client, host, rest string // what stands before the client, before the name, and after it
	labels             string // the name's labels below its registered domain, with their last dot
	suffix             string
}

func run(w io.Writer, from string, lines, clients, domains int, hours float64) error {
	templates, start, err := read(from)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	var b []byte
	step := int64(hours * 3600e6 / float64(lines))
	for i := range lines {
		t := &templates[i%len(templates)]
		ts := start + int64(i)*max(step, 1)
		// Multipliers without a common factor spread clients and domains.
		client, domain := (i*7919)%clients, (i*104729)%domains
		b = fmt.Appendf(b[:0], `{"ts":%d.%06d,"uid":"C%s`, ts/1e6, ts%1e6, strconv.FormatInt(int64(i)+1e9, 36))
		b = append(append(b, t.client...), "10."...)
		b = strconv.AppendInt(b, int64(client>>16), 10)
		b = strconv.AppendInt(append(b, '.'), int64(client>>8&255), 10)
		b = strconv.AppendInt(append(b, '.'), int64(client&255), 10)
		b = append(append(b, t.host...), t.labels...)
		b = strconv.AppendInt(append(b, 'd'), int64(domain), 36)
		b = append(append(append(b, '.'), templates[domain%len(templates)].suffix...), t.rest...)
		if _, err := out.Write(append(b, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// read cuts the recorded lines into templates.
func read(path string) ([]template, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, 0, err
	}
	var out []template
	var start float64
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := bytes.Clone(sc.Bytes())
		var r struct {
			TS     float64 `json:"ts"`
			UID    string  `json:"uid"`
			Client string  `json:"id.orig_h"`
			Query  string  `json:"query"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, 0, err
		}
		registered, err := publicsuffix.EffectiveTLDPlusOne(r.Query)
		if err != nil {
			continue // names without a registered domain stay out
		}
		if start == 0 {
			start = r.TS
		}
		_, afterUID, ok1 := strings.Cut(string(line), `"uid":"`+r.UID)
		client, afterClient, ok2 := strings.Cut(afterUID, r.Client)
		host, rest, ok3 := strings.Cut(afterClient, r.Query)
		if !ok1 || !ok2 || !ok3 {
			continue
		}
		suffix, _ := publicsuffix.PublicSuffix(registered)
		out = append(out, template{client: client, host: host, rest: rest, labels: strings.TrimSuffix(r.Query, registered), suffix: suffix})
	}
	if len(out) == 0 && sc.Err() == nil {
		return nil, 0, fmt.Errorf("%s holds no usable question", path)
	}
	return out, int64(start * 1e6), sc.Err()
}
