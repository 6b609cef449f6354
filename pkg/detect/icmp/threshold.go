package icmp

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// ID is the id of the detector.
const ID = "icmp-tunnel"

// thresholds are the defaults of detections.md §4, in the order of limits.
var thresholds = []detect.Threshold{
	{Name: "replies", Default: 3, Unit: "messages", Doc: "replies that do not mirror a request, or that nobody asked for, for 4 points"},
	{Name: "contents_1", Default: 12, Unit: "contents", Doc: "distinct contents for 2 points"},
	{Name: "contents_2", Default: 60, Unit: "contents", Doc: "distinct contents for 3 points"},
	{Name: "contents_share", Default: 0.4, Unit: "share", Doc: "distinct contents of all messages"},
	{Name: "bytes_1", Default: 512, Unit: "bytes", Doc: "changing content for 1 point"},
	{Name: "bytes_2", Default: 8 << 10, Unit: "bytes", Doc: "changing content for 2 points"},
	{Name: "bytes_3", Default: 32 << 10, Unit: "bytes", Doc: "changing content for 3 points"},
	{Name: "reused", Default: 10, Unit: "messages", Doc: "requests under an id and sequence number just used, for 2 points"},
	{Name: "new_ids", Default: 20, Unit: "messages", Doc: "requests that nearly all have an id of their own, for 1 point"},
	{Name: "unused_types", Default: 3, Unit: "messages", Doc: "messages with data of a type that no host sends, for 4 points"},
	{Name: "mean_bytes", Default: 256, Unit: "bytes", Doc: "payload of a packet on average, for 1 point, from flow records alone"},
	{Name: "large", Default: 3, Unit: "contents", Doc: "distinct contents of mean_bytes each, with large_bytes together, for 4 points"},
	{Name: "large_bytes", Default: 2048, Unit: "bytes", Doc: "see large"},
	{Name: "rule_bytes", Default: 65000, Unit: "bytes", Doc: "bytes of a pair over rule_seconds, for 1 point from flow records alone"},
	{Name: "rule_seconds", Default: 60, Unit: "seconds", Doc: "length of the stitched flows"},
}

type limits struct {
	replies                float64
	contents               [2]float64
	contentsShare          float64
	bytes                  [3]float64
	reused, newIDs, types  float64
	meanBytes              float64
	large, largeBytes      float64
	ruleBytes, ruleSeconds float64
}

func limitsOf(get func(name string, def float64) float64) limits {
	at := make([]float64, len(thresholds))
	for i, t := range thresholds {
		at[i] = get(t.Name, t.Default)
	}
	return limits{
		at[0], [2]float64{at[1], at[2]}, at[3], [3]float64{at[4], at[5], at[6]}, at[7], at[8], at[9], at[10], at[11], at[12], at[13], at[14],
	}
}

// limitsFor are the limits for one subject at an event time.
func (d *Tunnel) limitsFor(s *site.Site, on site.Subject, at int64) *limits {
	if !d.overrides {
		return &d.limits
	}
	l := limitsOf(func(name string, def float64) float64 { return s.ThresholdFor(ID, name, def, on, at) })
	return &l
}
