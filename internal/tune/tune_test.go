package tune_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/internal/tune"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

var update = flag.Bool("update", false, "write the golden files anew")

const lab = "../quality/testdata/lab"

// side runs over recordings of the lab with settings on top of its site file.
func side(t *testing.T, settings ...string) *tune.Side {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(lab, "site.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = site.WithSettings(data, settings); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, name := range []string{"exf_https_20m", "exf_https_slow", "iodine_a_res", "dig_hex8_a_slow_res"} {
		found, err := filepath.Glob(filepath.Join(lab, name, "*.log.gz"))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	inputs, _, err := hunt.Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	s := tune.NewSide()
	res, err := hunt.Run(t.Context(), inputs, hunt.Options{Site: data, Signals: s.Signal})
	if err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	for i := range res.Alerts {
		s.Final(&res.Alerts[i].Alert, res.Alerts[i].Opened)
	}
	return s
}

// What comes, goes and changes, as a person reads it.
func TestCompare(t *testing.T) {
	t.Parallel()
	present := side(t)
	for name, settings := range map[string][]string{
		"higher": {"dns-tunnel.alert=9", "upload-ratio.volume_bytes=50000000", "upload-ratio.required_bytes=50000000"},
		"off":    {"upload-ratio.mode=off"},
		"lower":  {"dns-tunnel.alert=2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := side(t, settings...)
			var b bytes.Buffer
			if err := tune.Compare(present, other, false).WriteText(&b); err != nil {
				t.Fatal(err)
			}
			// The other way round what came goes.
			b.WriteString("\n")
			if err := tune.Compare(other, present, false).WriteText(&b); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), b.String()); d != "" {
				t.Error(d)
			}
		})
	}
	c := tune.Compare(present, side(t), true)
	if c.Counts[tune.Stays] != len(c.Changes) || len(c.Changes) < 3 {
		t.Errorf("with itself: %+v", c.Counts)
	}
}
