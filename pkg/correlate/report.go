package correlate

import (
	"maps"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// claimBytes is about what a claim takes.
const claimBytes = 200

// Report implements operator.Reporter: signals stand for keys.
func (c *Correlator) Report() operator.Report {
	claims := operator.PartReport{Name: "claims", Keys: c.Claims(), Bytes: int64(c.Claims()) * claimBytes}
	rep := operator.Report{
		Keys: c.n, Bytes: int64(c.bytes) + claims.Bytes,
		Parts: []operator.PartReport{{Name: "signals", Keys: c.n, Bytes: int64(c.bytes)}, {Name: "incidents", Keys: c.incidentN}, claims},
	}
	for b := range buckets {
		for _, h := range c.signals[b] {
			if rep.Oldest == 0 || h.heard < rep.Oldest {
				rep.Oldest = h.heard
			}
			rep.Newest = max(rep.Newest, h.heard)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.instances)) {
		for _, s := range c.instances[name].sources {
			src := operator.SourceReport{Name: name + " " + s.typ, Low: s.low}
			if s.low == ended {
				src.Low, src.Ended = 0, true
			}
			rep.Sources = append(rep.Sources, src)
		}
	}
	return rep
}
