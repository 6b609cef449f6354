package site_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Settings go into a site file, and nothing else of it changes.
func TestWithSettings(t *testing.T) {
	t.Parallel()
	data := []byte(`home_networks: [{value: 203.0.113.0/24, until: 2026-12-31}]
detectors:
  a: {mode: off, thresholds: {x: 1, y: 2}, overrides: [{match: 10.0.0.1, thresholds: {x: 7}, until: 2026-12-31T10:00:00Z}]}
`)
	got, err := site.WithSettings(data, []string{"a.x=1e7", "a.mode=alert", "a.floor=3", "b.alert=4.5", "b.z=0.5"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := site.Parse(got)
	if err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	before, after := int64(1_700_000_000_000_000), int64(1_900_000_000_000_000)
	host := site.Subject{Host: "10.0.0.1"}
	if x, y, z := s.Threshold("a", "x", 0), s.Threshold("a", "y", 0), s.Threshold("b", "z", 0); x != 1e7 || y != 2 || z != 0.5 {
		t.Errorf("thresholds %g %g %g", x, y, z)
	}
	if a, b := s.Setting("a", site.Setting{}, host, before), s.Setting("b", site.Setting{}, host, before); a.Mode != "alert" || a.Floor != 3 || b.Alert != 4.5 {
		t.Errorf("settings %+v %+v", a, b)
	}
	if n := len(s.ThresholdNames("a")); n != 3 {
		t.Errorf("%d thresholds of a", n)
	}
	sub := site.Subject{Address: netip.MustParseAddr("10.0.0.1")}
	if x, y := s.ThresholdFor("a", "x", 0, sub, before), s.ThresholdFor("a", "x", 0, sub, after); x != 7 || y != 1e7 {
		t.Errorf("the override gives %g and then %g", x, y)
	}
	if !s.Internal(netip.MustParseAddr("203.0.113.9")) {
		t.Error("the home network is gone")
	}

	if same, err := site.WithSettings(data, nil); err != nil || string(same) != string(data) {
		t.Errorf("nothing set: %q, %v", same, err)
	}
	for text, want := range map[string]string{
		"a.x": "DETECTOR.NAME=VALUE", "x=1": "DETECTOR.NAME=VALUE", "a.=1": "DETECTOR.NAME=VALUE", ".x=1": "DETECTOR.NAME=VALUE",
		"a.x=much": `"much" is not a number`, "a.mode=on": "off, shadow or alert", "a.mode=": "off, shadow or alert",
	} {
		if _, err := site.WithSettings(data, []string{text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
