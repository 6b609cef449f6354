package rawjson_test

import (
	stdjson "encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

func TestScanFindsEndsInAnyPieces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		n    int
		want rawjson.Status
	}{
		{`{"a":[1,{"b":"}"}]} tail`, 19, rawjson.Done},
		{` [] `, 3, rawjson.Done},
		{`"a\"b" `, 6, rawjson.Done},
		{`"a\\"`, 5, rawjson.Done},
		{`12.5,`, 4, rawjson.Done},
		{`{"a":1`, 6, rawjson.More},
		{`{"a":"x\`, 8, rawjson.More},
		{`{"a":1 "b":2}`, 7, rawjson.Broken},
		{`{"a":1,}`, 7, rawjson.Broken},
		{`[1,]`, 3, rawjson.Broken},
		{`[,]`, 1, rawjson.Broken},
		{`{"a"]`, 4, rawjson.Broken},
		{`{"a":[}`, 6, rawjson.Broken},
		{`}`, 0, rawjson.Broken},
		{`{a:1}`, 1, rawjson.Broken},
	} {
		for cut := 0; cut <= len(c.in); cut++ {
			var s rawjson.Scan
			n, status := s.Feed([]byte(c.in[:cut]))
			if status == rawjson.More {
				var m int
				m, status = s.Feed([]byte(c.in[cut:]))
				n += m
			}
			if n != c.n || status != c.want {
				t.Errorf("%s cut at %d: got %d %d, want %d %d", c.in, cut, n, status, c.n, c.want)
			}
		}
	}
}

func TestScanWatchesOuterArrays(t *testing.T) {
	t.Parallel()
	in := `{"a":{"x":[1]}, "Records" : [{"r":[1]}] , "z":[ ] }`
	s := rawjson.Scan{Watch: true}
	n, status := s.Feed([]byte(in))
	if status != rawjson.Array || !strings.HasSuffix(in[:n], `"Records" : [`) {
		t.Fatalf("got %d behind %s", status, in[:n])
	}
	n = strings.Index(in, "] ,") + 1
	s.EndArray()
	m, status := s.Feed([]byte(in[n:]))
	n += m
	if status != rawjson.Array || !strings.HasSuffix(in[:n], `"z":[`) {
		t.Fatalf("got %d behind %s", status, in[:n])
	}
	if m, status = s.Feed([]byte(in[n:])); status != rawjson.Done || n+m != len(in) {
		t.Fatalf("got %d at %d of %d", status, n+m, len(in))
	}
}

func TestScanCountsBeyondMaxDepth(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{rawjson.MaxDepth, rawjson.MaxDepth + 1, 100_000} {
		in := strings.Repeat(`[{"a":`, depth/2) + strings.Repeat("[", depth%2) + strings.Repeat("]", depth%2) + strings.Repeat("}]", depth/2)
		if depth%2 == 0 {
			in = strings.Repeat(`[{"a":`, depth/2) + "1" + strings.Repeat("}]", depth/2)
		}
		var s rawjson.Scan
		n, status := s.Feed([]byte(in + "x"))
		if n != len(in) || status != rawjson.Done || s.Deep() != (depth > rawjson.MaxDepth) {
			t.Errorf("depth %d: got %d of %d, status %d, deep %v", depth, n, len(in), status, s.Deep())
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	var doc struct {
		Name  rawjson.Value `json:"eventName"`
		Param rawjson.Value `json:"requestParameters"`
	}
	if err := rawjson.Parse([]byte(`{"EVENTNAME":"X","other":[1,2],"requestParameters":{"a":"b"}} `), &doc); err != nil {
		t.Fatal(err)
	}
	if rawjson.Text(doc.Name) != "X" || string(doc.Param) != `{"a":"b"}` {
		t.Errorf("got %s %s", doc.Name, doc.Param)
	}
	for in, want := range map[string]error{
		``: rawjson.ErrSyntax, `{`: rawjson.ErrSyntax, `{}{}`: rawjson.ErrSyntax, `{"a":tru}`: rawjson.ErrSyntax, `{"a":"\q"}`: rawjson.ErrSyntax,
		strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20): rawjson.ErrDeep,
	} {
		if err := rawjson.Parse([]byte(in), &doc); !errors.Is(err, want) {
			t.Errorf("%.20s: got %v, want %v", in, err, want)
		}
	}
}

func TestAccessors(t *testing.T) {
	t.Parallel()
	v := func(s string) rawjson.Value { return rawjson.Value(s) }
	for in, want := range map[string]string{
		`"a"`: "a", `"\u00e9\n"`: "é\n", `["a"]`: "a", `["a","b"]`: "", `[]`: "", `[["a"]]`: "", `1`: "", `null`: "", ``: "", `{}`: "",
	} {
		if got := rawjson.Text(v(in)); got != want {
			t.Errorf("Text(%s) = %q", in, got)
		}
	}
	for in, want := range map[string]string{`"a"`: "a", `-1`: "-1", `true`: "true", `null`: "", `{}`: "", ``: ""} {
		if got := rawjson.Scalar(v(in)); got != want {
			t.Errorf("Scalar(%s) = %q", in, got)
		}
	}
	for in, want := range map[string]event.Count{
		`89.0`: event.N(89), `0`: event.N(0), `"12"`: event.N(12), `9007199254740993`: event.N(9007199254740993), `1.5e3`: event.N(1500),
		`-1`: {}, `null`: {}, `"x"`: {}, `1e300`: {}, `{}`: {}, `"0x10"`: {}, `"1_0"`: {},
	} {
		if got := rawjson.Count(v(in)); got != want {
			t.Errorf("Count(%s) = %v", in, got)
		}
	}
	if n, ok := rawjson.Int(v(`1767607200000000001`)); !ok || n != 1767607200000000001 {
		t.Errorf("Int lost digits: %d", n)
	}
	if _, ok := rawjson.Int(v(`1.5`)); ok {
		t.Error("Int took a fraction")
	}
	for in, want := range map[string][]string{
		`[ 1 , {"a":[2]}, "x,]" ]`: {`1`, `{"a":[2]}`, `"x,]"`}, `{"a":1}`: {`{"a":1}`}, `""`: nil, `null`: nil, `"a"`: {`"a"`}, `[]`: nil,
	} {
		var got []string
		for e := range rawjson.Each(v(in)) {
			got = append(got, string(e))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Each(%s): %s", in, d)
		}
	}
	if got := rawjson.Get(v(`{ "A" : {"b\u0063" : [1] , "d":"}"} }`), "a", "bc"); string(got) != "[1]" {
		t.Errorf("Get = %s", got)
	}
	if got := rawjson.Get(v(`{"a":1}`), "a", "b"); got != nil {
		t.Errorf("Get = %s", got)
	}
}

// The iterators walk over whatever they get and agree with the standard
// library on what is valid.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{`{"a":[1,"b",{"c":null}],"d":"\"}"}`, `[[],{},""]`, `{"a`, `[1 2]`, `{"a":1,"a":2}`, `"\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		v := rawjson.Value(in)
		keys := 0
		for k, e := range rawjson.Object(v) {
			_ = k
			keys++
			_, _, _ = rawjson.Text(e), rawjson.Scalar(e), rawjson.Count(e)
		}
		elements := 0
		for e := range rawjson.Each(v) {
			elements++
			_ = rawjson.Get(e, "a", "b")
		}
		if keys > len(in) || elements > len(in)+1 {
			t.Fatalf("%d keys and %d elements in %d bytes", keys, elements, len(in))
		}
		var doc struct{ A rawjson.Value }
		if err := rawjson.Parse([]byte(in), &doc); err == nil && !stdjson.Valid([]byte(in)) {
			t.Fatalf("accepted %q", in)
		}
		if !stdjson.Valid(v) {
			return
		}
		in = strings.Trim(in, " \n\r\t")
		v = rawjson.Value(in)
		if rawjson.IsArray(v) {
			var want []stdjson.RawMessage
			_ = stdjson.Unmarshal(v, &want)
			i := 0
			for e := range rawjson.Each(v) {
				if string(e) != string(want[i]) {
					t.Fatalf("element %d of %s: %s, want %s", i, in, e, want[i])
				}
				i++
			}
			if i != len(want) {
				t.Fatalf("%d elements, want %d", i, len(want))
			}
		}
	})
}
