package bench

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// Phases of a run.
const (
	phaseRaw       = "raw"
	phaseDecode    = "decode"
	phaseVolatile  = "detect_volatile"
	phaseDetect    = "detect"
	phaseRecover   = "recover"
	phaseDetector  = "detector"   // a service of the chain, until it is killed
	phaseCorrelate = "correlator" // the same
)

// spec is what a child is told to do.
type spec struct {
	Phase    string        `json:"phase"`
	Brokers  []string      `json:"brokers"`
	Embedded bool          `json:"embedded"`
	Prefix   string        `json:"prefix"` // of all topics and groups
	Slot     string        `json:"slot"`
	Commit   time.Duration `json:"commit"`
	Snapshot time.Duration `json:"snapshot"`
	MaxKeys  int           `json:"max_keys"`
	// Begin and End are the records after which measuring begins and ends,
	// From and To the offsets of each partition at which these lie.
	Begin int64           `json:"begin"`
	End   int64           `json:"end"`
	From  map[int32]int64 `json:"from"`
	To    map[int32]int64 `json:"to"`
	// Profile is a file for a CPU profile, "" for none.
	Profile string `json:"profile"`
}

func (s *spec) topic(name string) string { return s.Prefix + "." + name }

// topics of one load; state is of the service that reads the events.
func (s *spec) topics(partitions int32) []topic.Topic {
	return []topic.Topic{
		{Name: s.topic("events"), Partitions: partitions, Embedded: partitions, Cleanup: topic.Delete, Retention: 24 * time.Hour},
		{Name: s.topic("signals"), Partitions: 1, Embedded: 1, Cleanup: topic.Delete, Retention: 24 * time.Hour},
		{Name: s.topic("alerts"), Partitions: 1, Embedded: 1, Cleanup: topic.Delete, Retention: 24 * time.Hour},
		{Name: s.topic("dead"), Partitions: 1, Embedded: 1, Cleanup: topic.Delete, Retention: 24 * time.Hour},
		{Name: s.topic("state"), Partitions: partitions, Embedded: partitions, Cleanup: topic.Compact},
		{Name: s.topic("correlated"), Partitions: 1, Embedded: 1, Cleanup: topic.Compact},
	}
}

// news is a line that a child says.
type news struct {
	Progress float64   `json:"progress,omitempty"`
	Ready    bool      `json:"ready,omitempty"`
	Result   *Measure  `json:"result,omitempty"`
	Recovery *Recovery `json:"recovery,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// Recovery is how long a service took to be ready after it was killed.
type Recovery struct {
	Seconds float64 `json:"seconds"` // from the start of the engine to ready
	Keys    int     `json:"keys"`
	// Replayed records were applied again, behind the snapshots that were
	// loaded.
	Replayed int64   `json:"replayed_records"`
	CPU      float64 `json:"cpu_s"`
	RSSMiB   float64 `json:"rss_mib"`
}

func (n news) line() []byte {
	data, err := json.Marshal(n)
	if err != nil {
		data = fmt.Appendf(nil, `{"error":%q}`, err.Error())
	}
	return append(data, '\n')
}
