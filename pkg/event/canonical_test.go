package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"pgregory.net/rapid"
)

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// same holds the canonical decoder to the general one: what it takes, the
// general one takes, with the same result.
func same(t failer, data []byte) {
	t.Helper()
	var fast, general event.Event
	if !event.DecodeCanonical(data, &fast) {
		return // Decode leaves it to the general decoder
	}
	if err := event.DecodeGeneral(data, &general); err != nil {
		t.Fatalf("only the canonical decoder takes it: %v\n%q", err, data)
	}
	if d := cmpEvents(&fast, &general); d != "" {
		t.Fatalf("canonical and general decoder differ:\n%s\n%q", d, data)
	}
}

func TestCanonicalAgreesWithGeneralOnMutations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data, err := drawEvent(t).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		// Bytes that have a meaning, put anywhere, mostly over something.
		for range rapid.IntRange(1, 3).Draw(t, "mutations") {
			at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
			with := rapid.SampledFrom([]string{
				`"`, `\`, `\"`, `\u0041`, "0", "00", "9", "-", "-0", ".", "e5", "_", " ", "\n", "\x00", "\x7f", "\xff", "é", ",", ":", "{", "}", "[", "]",
				"null", "true", "false", "NaN", "256", "1.2.3.4", "::1", "fe80::1%eth0", "18446744073709551615", "18446744073709551616", `,"role":"mirror"`,
			}).Draw(t, "with")
			over := rapid.IntRange(0, min(4, len(data)-at)).Draw(t, "over")
			data = append(append(append([]byte{}, data[:at]...), with...), data[at+over:]...)
		}
		same(t, data)
	})
}

func TestCanonicalAgreesWithGeneralOnEveryCut(t *testing.T) {
	t.Parallel()
	data, err := flowEvent().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		same(t, append(append([]byte{}, data[:i]...), '}'))
		same(t, data[:i])
		for _, c := range []byte("\"\\,:{}0 9-") {
			changed := bytes.Clone(data)
			changed[i] = c
			same(t, changed)
		}
	}
}

// Values at the edges of what the word-wise readers do.
func TestScannedValues(t *testing.T) {
	t.Parallel()
	var values []string
	for n := 1; n <= 21; n++ {
		values = append(values, strings.Repeat("1", n), strings.Repeat("9", n), "-"+strings.Repeat("9", n), "0"+strings.Repeat("5", n), "1"+strings.Repeat("0", n))
	}
	values = append(values, "0", "-0", "9223372036854775807", "9223372036854775808", "-9223372036854775807", "18446744073709551614", "18446744073709551615",
		"18446744073709551616", "1.0", "1e3", "12345678a", "")
	for _, v := range values {
		for _, tail := range []string{"", `,"destination.port":443,"destination.domain":"a name that is longer than a word"`} {
			same(t, []byte(`{"kind":"flow","v":1,"time":`+v+`,"source.port":`+v+tail+`}`))
			same(t, []byte(`{"kind":"flow","v":1,"source.port":`+v+tail+`}`))
		}
	}
	for _, octets := range []string{
		"0.0.0.0", "255.255.255.255", "1.22.333.4", "256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.04", "1..2.3", ".1.2.3.4", "1.2.3.4.", "1.2.3.4 ",
		"::ffff:1.2.3.4", "2001:db8::1", "fe80::1%en0", "", "1.2.3.400", "1234.1.1.1", "1.2.3.x",
	} {
		for n := range 20 {
			same(t, fmt.Appendf(nil, `{"kind":"dns","v":1,"source.ip":"%s","destination.domain":"%s"}`, octets, strings.Repeat("x", n)))
		}
		same(t, []byte(`{"kind":"dns","v":1,"source.ip":"`+octets+`"}`))
		same(t, []byte(`{"kind":"dns","v":1,"dns.resolved_ip":["`+octets+`","1.2.3.4"]}`))
	}
	for _, c := range []string{"\x00", "\x1f", "\x7f", "\x80", "\xc3\xa9", "\xed\xa0\x80", `\n`, `\u0000`, `\ud800`, `\"`, `\`, `"`} {
		for n := range 18 {
			same(t, []byte(`{"kind":"dns","v":1,"dns.question.name":"`+strings.Repeat("x", n)+c+strings.Repeat("y", 18-n)+`"}`))
		}
	}
	for _, x := range []string{"0", "1.5", "-1e-300", "1e400", "NaN", "Inf", "0x1p4", "1_0", ".5", "5.", "01", "1e", "+1", "", "4.9e-324", "0.1"} {
		same(t, []byte(`{"kind":"health","v":1,"health.percent_lost":`+x+`}`))
	}
}

// The table is the order of the keys.
func TestKeysStandInTheOrderOfTheTable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := &event.Event{Kind: event.Kind(rapid.IntRange(int(event.KindFlow), int(event.KindMark)-1).Draw(t, "kind"))}
		fields := event.Fields(e.Kind)
		want := []string{"kind", "v"}
		for _, f := range fields {
			if rapid.Bool().Draw(t, f.Key) {
				f.Draw(t, e)
				want = append(want, f.Key)
			}
		}
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var raw map[string]json.RawMessage
		if err := json.Unmarshal(data, &raw); err != nil || len(raw) != len(want) {
			t.Fatalf("%v: %d keys, want %d: %s", err, len(raw), len(want), data)
		}
		rest := string(data)
		for _, key := range want {
			_, after, found := strings.Cut(rest, `"`+key+`":`)
			if !found {
				t.Fatalf("%s is missing or out of order: %s", key, data)
			}
			rest = after
		}
	})
}

// A stale field of an event that was decoded before does not shine through.
func TestDecodeForgetsTheEventBefore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first, err := drawEvent(t).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := drawEvent(t).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var reused, fresh event.Event
		for _, data := range [][]byte{first, second} {
			if err := event.Decode(data, &reused); err != nil {
				t.Fatal(err)
			}
		}
		if err := event.Decode(second, &fresh); err != nil {
			t.Fatal(err)
		}
		if d := cmpEvents(&reused, &fresh); d != "" {
			t.Fatal(d)
		}
	})
}

// The baseline decodes the same fields to the same values.
func TestPlainIsTheSameEvent(t *testing.T) {
	t.Parallel()
	e := flowEvent()
	data, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var p event.Plain
	if err := event.DecodePlain(data, &p); err != nil {
		t.Fatal(err)
	}
	if p.Kind != "flow" || p.Time != e.Time || p.SourceIP != e.Source.IP || p.DestinationIP != e.Destination.IP || p.SourceBytes != e.Source.Bytes.Or(0) ||
		p.FlowInstance != e.Flow.InstanceID || p.Direction != e.Network.Direction || p.OriginLine != e.Origin.Line.Or(0) {
		t.Errorf("%+v", p)
	}
	var keys map[string]json.RawMessage
	all, err := json.Marshal(&p)
	if err == nil {
		err = json.Unmarshal(all, &keys)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range event.Fields(event.KindFlow) {
		if _, ok := keys[f.Key]; !ok {
			t.Errorf("the baseline lacks %s", f.Key)
		}
	}
}
