package correlate

import (
	"math"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
	never  = int64(math.MaxInt64)
)

// Times that decide, in microseconds.
const (
	// Settle is how long, in append time, an older founding signal may still
	// take an alert over.
	Settle = minute
	// Quiet is the least time between revisions that change nothing material.
	Quiet = 5 * minute
	// sweepEvery is how often what is old is looked for, in sweepShare of the
	// buckets at a time.
	sweepEvery = minute
	sweepShare = 8
	// heldSlack is how much longer than a day of append time a weak signal is
	// held where no watermark shows that its day is over.
	heldSlack = hour
	// maxDeployment is how long a deployment may excuse staging.
	maxDeployment = int64(signal.MaxDeployment / time.Microsecond)
	// graveTime is how long, in append time, the revision of a forgotten alert
	// is remembered.
	graveTime = 30 * day
	// markExpiry is how long an instance of detect may be silent.
	markExpiry = 2 * minute
)

// Bounds.
const (
	// DefaultBudget is the number of alerts per detector and event day.
	DefaultBudget     = 20
	DefaultMaxSignals = 20_000
	maxHeldBytes      = 64 << 20
	maxPerID          = 128
	maxComponent      = 512
	maxIncidents      = 5_000
	maxGraves         = 1_024 // of each bucket
	maxDeployments    = 1_000
	maxRollups        = 1_000
	maxRolled         = 40 // listed in a roll-up
	maxInstances      = 1_024
	maxSources        = 64 // source types of an instance
	maxRecord         = 2 << 10
	weakEvidence      = 4
	maxShares         = 512 // of one destination
	maxTold           = 8   // sources that a reason names
)

// buckets is the number of buckets of keyed state.
const buckets = 64

// Kinds of epochs, as in detect.
const (
	EpochSite     = detect.EpochSite
	EpochOperator = detect.EpochOperator
)

// Config bounds a Correlator. The zero value is the default.
type Config struct {
	// Budget is the number of alerts per detector and event day before the
	// roll-up; 0 is DefaultBudget, negative is none.
	Budget int
	// MaxSignals bounds the signals held; 0 is DefaultMaxSignals.
	MaxSignals int
	// MaxClaims bounds the identity graph; 0 is entity.DefaultMaxClaims.
	MaxClaims int
	// NoShadow takes shadow signals like any others: a hunt looks back and
	// knows no trial period.
	NoShadow bool
}

// thresholds are what a site may tune of the correlated rules.
type thresholds struct {
	window, slack  int64 // microseconds
	dayWindow      int64
	stagingBytes   float64
	transferBytes  float64
	rareBytes      float64
	dnsPoints      float64
	icmpPoints     float64
	sizeTolerance  float64
	joined, within string // modes
	together       together
}

// Rules describes the correlated rules, for the documentation and the check of
// the site file (detect.CheckSite).
func Rules() []detect.Info {
	return []detect.Info{
		{
			ID: alert.RuleJoined, Alone: true, Default: site.Setting{Mode: "alert"},
			Thresholds: []detect.Threshold{
				{Name: "window", Default: 60, Unit: "minutes", Doc: "between the end of the one half and the beginning of the other"},
				{Name: "slack", Default: 5, Unit: "minutes", Doc: "for clocks and for the windows of flow records"},
				{Name: "staging_bytes", Default: 50e6, Unit: "bytes", Doc: "staged, where the source gives bytes; elsewhere the detector's word counts"},
				{Name: "transfer_bytes", Default: 10e6, Unit: "bytes", Doc: "sent, for volume signals below their alert threshold"},
				{Name: "rare_transfer_bytes", Default: 1e6, Unit: "bytes", Doc: "the same, to a rare destination; joins by staging-then-exfil-24h only"},
				{Name: "dns_points", Default: 3, Unit: "points", Doc: "floor of the DNS channel, which never reaches 10 MB"},
				{Name: "icmp_points", Default: 2, Unit: "points", Doc: "floor of the ICMP channel"},
				{Name: "size_tolerance", Default: 0.1, Unit: "share", Doc: "how far two sizes may differ and still match"},
			},
		},
		{
			// In shadow until its false alarms have been measured (ADR 7).
			ID: alert.RuleJoinedDay, Alone: true, Default: site.Setting{Mode: "shadow"},
			Thresholds: []detect.Threshold{{Name: "window", Default: 24, Unit: "hours", Doc: "between the halves; at most 24, for signals are held that long"}},
		},
	}
}

func newThresholds(s *site.Site) thresholds {
	rules := Rules()
	of := func(rule int, name string) float64 {
		for _, t := range rules[rule].Thresholds {
			if t.Name == name {
				return s.Threshold(rules[rule].ID, name, t.Default)
			}
		}
		return 0
	}
	mode := func(rule int) string { return s.Setting(rules[rule].ID, rules[rule].Default, site.Subject{}, 0).Mode }
	clamp := func(x, unit float64) int64 { return int64(max(0, min(x*unit, float64(day)))) }
	return thresholds{
		window: clamp(of(0, "window"), float64(minute)), slack: clamp(of(0, "slack"), float64(minute)), dayWindow: clamp(of(1, "window"), float64(hour)),
		stagingBytes: of(0, "staging_bytes"), transferBytes: of(0, "transfer_bytes"), rareBytes: of(0, "rare_transfer_bytes"),
		dnsPoints: of(0, "dns_points"), icmpPoints: of(0, "icmp_points"), sizeTolerance: of(0, "size_tolerance"),
		joined: mode(0), within: mode(1), together: newTogether(s),
	}
}
