package dns_test

import (
	"cmp"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// mixed is a recording with tunnels, browsing and encrypted DNS at once.
func mixed(t *testing.T) ([]byte, detecttest.Recording) {
	t.Helper()
	siteFile, st := siteOf(t, filepath.Join("testdata", "site.yaml"))
	var parts []detecttest.Recording
	base := int64(0)
	for _, d := range []string{"b_dns_cdn_hash", "iodine_null_idle_res", "dig_hex8_a_slow_res", "dig_b64_txt_res", "iodine_over_doh"} {
		shift := int64(0)
		parts = append(parts, detecttest.Zeek(t, st, filepath.Join("testdata", d), func(e *event.Event) {
			if base == 0 {
				base = e.Time
			}
			if shift == 0 {
				shift = base + 100*second - e.Time
			}
			e.Time += shift
			if e.Start != 0 {
				e.Start += shift
			}
			if e.End != 0 {
				e.End += shift
			}
		}))
	}
	return siteFile, detecttest.Merge(parts...)
}

// texts are signals in their JSON form.
func texts(t *testing.T, list []signal.Signal) (out []string) {
	t.Helper()
	for i := range list {
		data, err := list[i].Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(data))
	}
	return out
}

// TestCutAnywhere: saved, loaded and continued at any record, the detectors
// say the same.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	siteFile, rec := mixed(t)
	want := detecttest.NewPlayer(t, siteFile, detectors()...).Play(rec)
	if len(want.Context.Final()) < 4 {
		t.Fatalf("only %d signals", len(want.Context.Final()))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		every := int64(200 + rng.IntN(700))
		p := detecttest.NewPlayer(t, siteFile, detectors()...)
		p.Cut = func(p *detecttest.Player) {
			if p.Offset%every == 0 {
				p.Reload(siteFile, detectors()...)
			}
		}
		p.Play(rec)
		if d := gocmp.Diff(texts(t, want.Context.Signals), texts(t, p.Context.Signals)); d != "" {
			t.Fatalf("cut every %d records (-through +cut):\n%s", every, d)
		}
		if d := gocmp.Diff(want.Save(), p.Save()); d != "" {
			t.Fatalf("cut every %d records, state:\n%s", every, d)
		}
	}
}

// TestNothingAliasesTheRecord: a record that is overwritten after it was
// applied changes nothing.
func TestNothingAliasesTheRecord(t *testing.T) {
	t.Parallel()
	siteFile, rec := mixed(t)
	want := detecttest.NewPlayer(t, siteFile, detectors()...).Play(rec)
	p := detecttest.NewPlayer(t, siteFile, detectors()...)
	p.Scribble = true
	p.Play(rec)
	if d := gocmp.Diff(texts(t, want.Context.Signals), texts(t, p.Context.Signals)); d != "" {
		t.Fatalf("(-kept +overwritten):\n%s", d)
	}
}

// essence is what must not depend on how streams were interleaved.
func essence(list []signal.Signal) (out []signal.Signal) {
	for _, s := range list {
		if s.Detector != dns.TunnelID {
			continue
		}
		s.Revision, s.Complete, s.Evidence = 0, 0, nil
		// What fell below its floor was said because of an order of events.
		if s.Score >= s.Floor {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b signal.Signal) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// TestStreamsOutOfStep: whichever stream is ahead, by up to ten minutes, the
// last signals are the same.
func TestStreamsOutOfStep(t *testing.T) {
	t.Parallel()
	siteFile, rec := mixed(t)
	var want []signal.Signal
	for i, pick := range []func(n int) int{
		func(int) int { return 0 },
		func(n int) int { return n - 1 },
		rand.New(rand.NewPCG(3, 4)).IntN,
		rand.New(rand.NewPCG(5, 6)).IntN,
	} {
		for _, lead := range []int64{0, 60 * second, 600 * second} {
			p := detecttest.NewPlayer(t, siteFile, detectors()...)
			p.Interleave(rec, lead, pick)
			got := essence(p.Context.Final())
			if want == nil {
				if want = got; len(want) < 4 {
					t.Fatalf("only %d signals", len(want))
				}
			}
			if d := gocmp.Diff(texts(t, want), texts(t, got)); d != "" {
				t.Fatalf("pick %d, lead %d (-in step +out of step):\n%s", i, lead, d)
			}
		}
	}
	if d := gocmp.Diff(texts(t, want), texts(t, essence(detecttest.NewPlayer(t, siteFile, detectors()...).Play(rec).Context.Final()))); d != "" {
		t.Errorf("(-out of step +as recorded):\n%s", d)
	}
}

// TestTwoSensors: what two sensors see is judged for each alone, and neither
// overwrites the other.
func TestTwoSensors(t *testing.T) {
	t.Parallel()
	siteFile, st := siteOf(t, filepath.Join("testdata", "site.yaml"))
	dir := filepath.Join("testdata", "dig_b64_txt_res")
	one := detecttest.Zeek(t, st, dir, nil)
	alone := essence(detecttest.NewPlayer(t, siteFile, detectors()...).Play(one).Context.Final())
	var both detecttest.Recording
	for _, r := range one {
		var e event.Event
		if err := event.Decode(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		both = append(both, r)
		both = append(both, detecttest.Events(t, st, "second", []event.Event{e})...)
	}
	got := essence(detecttest.NewPlayer(t, siteFile, detectors()...).Play(both).Context.Final())
	if len(alone) != 1 || len(got) != 2 || got[0].ID == got[1].ID || got[0].Score != alone[0].Score || got[1].Score != alone[0].Score ||
		*got[0].Bytes != *alone[0].Bytes || *got[1].Bytes != *alone[0].Bytes {
		t.Errorf("alone %+v\nboth %+v", alone, got)
	}
}

// TestSiteEpoch: a site file that becomes valid in the middle holds from there.
func TestSiteEpoch(t *testing.T) {
	t.Parallel()
	_, st := siteOf(t, filepath.Join("testdata", "site.yaml"))
	rec := detecttest.Zeek(t, st, filepath.Join("testdata", "dig_b64_txt_res"), nil)
	for file, alerts := range map[string]bool{
		"":                             true,
		"own_domains: [dgl058.test]\n": false,
		"detectors: {dns-tunnel: {mode: shadow}}\n":                                                                    false,
		"detectors: {dns-tunnel: {alert: 20}}\n":                                                                       false,
		"detectors: {dns-tunnel: {overrides: [{match: 10.20.58.10, mode: \"off\"}]}}\n":                                false,
		"detectors: {dns-tunnel: {thresholds: {data_1: 1e6, data_2: 1e6, data_3: 1e6, data_4: 1e6}}}\n":                false,
		"detectors: {dns-tunnel: {overrides: [{match: dgl058.test, thresholds: {length_1: 500, once_names: 1e6}}]}}\n": false,
	} {
		p := detecttest.NewPlayer(t, []byte(file), detectors()...).Play(rec)
		got := slices.ContainsFunc(p.Context.Final(), func(s signal.Signal) bool { return s.Alert })
		if got != alerts {
			t.Errorf("%q: alert %v", file, got)
		}
		if _, err := site.Parse([]byte(file)); err != nil {
			t.Error(err)
		}
	}
}
