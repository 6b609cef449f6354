package main

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// detectorPage is the reference page of the detectors' defaults and
// thresholds.
func detectorPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# Detectors and thresholds

Generated from the detectors; do not edit. Each is tuned in the site file under ` + "`detectors.ID`" + `: ` + "`mode`" + ` (off, shadow, alert), ` + "`floor`" + `, ` + "`alert`" + `, ` + "`thresholds`" + `, ` + "`overrides`" + `.
What each sees and misses: [docs/detections](../detections/).
`)
	list := pipeline.Detectors()
	slices.SortFunc(list, func(a, b detect.Detector) int { return cmp.Compare(a.Info().ID, b.Info().ID) })
	for _, d := range list {
		info := d.Info()
		if info.Role == "" {
			continue // it only binds identifiers
		}
		alone := "only joined with others"
		if info.Alone {
			alone = fmt.Sprintf("alerts alone from %g points", info.Default.Alert)
		}
		var kinds []string
		for _, k := range info.Kinds {
			kinds = append(kinds, k.String())
		}
		fmt.Fprintf(&b, "\n## %s\n\nMode `%s`, signals from %g points, %s. ATT&CK: %s. Reads: %s. [Page](../detections/%s.md).\n", info.ID, info.Default.Mode, info.Default.Floor, alone,
			strings.Join(info.Technique, ", "), strings.Join(kinds, ", "), info.ID)
		if len(info.Thresholds) == 0 {
			continue
		}
		b.WriteString("\n| threshold | default | unit | meaning |\n|---|---|---|---|\n")
		for _, t := range info.Thresholds {
			fmt.Fprintf(&b, "| `%s` | %g | %s | %s |\n", t.Name, t.Default, t.Unit, t.Doc)
		}
	}
	return b.Bytes()
}
