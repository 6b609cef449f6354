package pipeline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// An override of a threshold either works or is refused.
func TestOverridesThatWouldDoNothingAreRefused(t *testing.T) {
	t.Parallel()
	const site = "detectors: {%s: {overrides: [{match: 10.0.0.0/8, thresholds: {%s: 1}}]}}\n"
	for _, tc := range []struct {
		detector, threshold string
		refused             bool
	}{
		{"staging-then-exfil", "window", true},
		{"staging-then-exfil-24h", "window", true},
		{"distributed-upload", "share_bytes", true},
		{"bulk-object-read", "keys", false},
	} {
		_, err := pipeline.CheckSite(fmt.Appendf(nil, site, tc.detector, tc.threshold))
		if (err != nil) != tc.refused || err != nil && !strings.Contains(err.Error(), "detectors."+tc.detector+".overrides") {
			t.Errorf("%s: %v", tc.detector, err)
		}
	}
	for _, id := range []string{"encrypted-dns", "staging-then-exfil"} {
		if _, err := pipeline.CheckSite(fmt.Appendf(nil, "detectors: {%s: {overrides: [{match: 10.0.0.0/8, mode: off}]}}\n", id)); err != nil {
			t.Errorf("an override of the mode of %s: %v", id, err)
		}
	}
}
