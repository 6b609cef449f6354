package volume

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// The rules that are judged from one meter, in the order of meterInfos.
const (
	ruleAnomaly = iota
	ruleFixed
	ruleSustained
	ruleSlow
	ruleNew
	ruleNoDNS
	ruleSanctioned
	ruleTenant
	ruleMail
	ruleShare
	ruleCount // their number
	// ruleDrift marks in what was spoken that a drift was told.
	ruleDrift = 255
)

// Thresholds of volume-anomaly, in the order of its Info; so below.
const (
	anFactor = iota
	anFloor
	anDeviations
	anNear
	anDrift
)

const fxBytes = 0

const (
	suRate = iota
	suSeconds
)

const (
	slDay = iota
	slWeek
	slRatio
	slOwnBytes
	slOwnFactor
)

const (
	ndBytes = iota
	ndDays
	ndSources
	ndRatio
)

const (
	noBytes = iota
	noSources
)

const (
	saBytes = iota
	saFactor
	saFloor
)

const tnBytes = 0

const (
	shBytes = iota
	shRatio
	shDays
)

const (
	mlBytes = iota
	mlDropBytes
	mlWebBytes
	mlRatio
)

var meterKinds = []event.Kind{event.KindFlow, event.KindConn, event.KindTLS, event.KindHTTP, event.KindDNS}

// meterInfo is what the rules of a meter have in common.
func meterInfo(id string, technique []string, thresholds ...detect.Threshold) detect.Info {
	info := detect.Info{
		ID: id, Role: signal.RoleExfil, Kinds: meterKinds, Alone: true, Technique: technique, Thresholds: thresholds,
		Default: site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
	}
	if id != meterInfoID {
		info.Within = meterInfoID
	}
	return info
}

// meterInfoID is the detector of which the states judge for the others.
const meterInfoID = "volume-anomaly"

var meterInfos = [ruleCount]detect.Info{
	ruleAnomaly: meterInfo(
		meterInfoID, []string{"T1048", "T1567", "T1020"},
		detect.Threshold{Name: "factor", Default: 5, Unit: "times the p95", Doc: "an hour's bytes above this many times the 95th percentile of the source's own hours, or of its role's or subnet's while it has no history: 4 points"},
		detect.Threshold{Name: "floor", Default: 100e6, Unit: "bytes", Doc: "below which an hour is never a finding"},
		detect.Threshold{Name: "deviations", Default: 6, Unit: "scaled deviations", Doc: "above the median, of a finding: 1 point"},
		detect.Threshold{Name: "near", Default: 0.5, Unit: "share", Doc: "of the limit, above the p95: 2 points, a weak signal"},
		detect.Threshold{Name: "drift", Default: 1.25, Unit: "times", Doc: "that the p95 has outgrown what may grow without an answer: 2 points, a weak signal"},
	),
	ruleFixed: meterInfo(
		"volume-fixed", []string{"T1048", "T1567"},
		detect.Threshold{Name: "bytes", Default: 1e9, Unit: "bytes", Doc: "sent outwards within the hour by a source with less than 14 days of data: 4 points"},
	),
	ruleSustained: meterInfo(
		"sustained-upload", []string{"T1048", "T1567"},
		detect.Threshold{Name: "rate", Default: 10, Unit: "Mbit/s", Doc: "to one destination, in each full minute of the time below"},
		detect.Threshold{Name: "seconds", Default: 300, Unit: "seconds", Doc: "for which the rate holds: 4 points"},
	),
	ruleSlow: meterInfo(
		"slow-upload", []string{"T1048", "T1567", "T1030"},
		detect.Threshold{Name: "day_bytes", Default: 100e6, Unit: "bytes", Doc: "sent to one destination in 24 hours: 3 points"},
		detect.Threshold{Name: "week_bytes", Default: 500e6, Unit: "bytes", Doc: "the same in 7 days: 3 points, not in addition"},
		detect.Threshold{Name: "ratio", Default: 5, Unit: "sent:received", Doc: "of the above: 1 point"},
		detect.Threshold{Name: "own_bytes", Default: 20e6, Unit: "bytes", Doc: "sent in 24 hours, from which the pair's own history counts"},
		detect.Threshold{Name: "own_factor", Default: 5, Unit: "times the p95", Doc: "of what the pair sent on the six days before: 2 points"},
	),
	ruleNew: meterInfo(
		"new-destination-upload", []string{"T1567", "T1048"},
		detect.Threshold{Name: "bytes", Default: 25e6, Unit: "bytes", Doc: "sent in 24 hours to a destination that is new to the site: 4 points, 3 while the site itself is not known for as long"},
		detect.Threshold{Name: "new_days", Default: 7, Unit: "days", Doc: "since a destination was first seen, up to which it is new"},
		detect.Threshold{Name: "sources", Default: 2, Unit: "sources", Doc: "at most so many use it"},
		detect.Threshold{Name: "ratio", Default: 10, Unit: "sent:received", Doc: "of a finding: 1 point"},
	),
	ruleNoDNS: meterInfo(
		"no-dns-upload", []string{"T1048", "T1571"},
		detect.Threshold{Name: "bytes", Default: 10e6, Unit: "bytes", Doc: "sent within the hour to an address that nobody looked up: 4 points"},
		detect.Threshold{Name: "sources", Default: 2, Unit: "sources", Doc: "at most so many use the destination"},
	),
	ruleSanctioned: meterInfo(
		"sanctioned-abuse", []string{"T1567", "T1567.002"},
		detect.Threshold{Name: "bytes", Default: 10e6, Unit: "bytes", Doc: "sent within the hour to a sanctioned destination by a source that is not declared for it: 4 points"},
		detect.Threshold{Name: "factor", Default: 3, Unit: "times the p95", Doc: "a declared source's bytes within the hour above this many times its own p95 to sanctioned destinations: 4 points"},
		detect.Threshold{Name: "floor", Default: 100e6, Unit: "bytes", Doc: "below which that is never a finding"},
	),
	ruleTenant: meterInfo(
		"foreign-tenant", []string{"T1567.002", "T1537"},
		detect.Threshold{Name: "bytes", Default: 5e6, Unit: "bytes", Doc: "sent within the hour to a bucket, account or tenant that is not in own_tenants: 4 points"},
	),
	ruleMail: meterInfo(
		"mail-upload", []string{"T1048.003", "T1567"},
		detect.Threshold{Name: "bytes", Default: 10e6, Unit: "bytes", Doc: "sent within the hour to external mail servers by a host that is no declared relay: 4 points"},
		detect.Threshold{Name: "drop_bytes", Default: 10e6, Unit: "bytes", Doc: "the same to a service where anybody may leave files: 4 points"},
		detect.Threshold{Name: "webmail_bytes", Default: 10e6, Unit: "bytes", Doc: "the same to a webmail service: 3 points"},
		detect.Threshold{Name: "ratio", Default: 10, Unit: "sent:received", Doc: "of what went to a webmail service: 1 point"},
	),
	ruleShare: shareInfo(),
}

// Thresholds of distributed-upload that the correlator judges by: the shares of
// many sources meet there.
const (
	DistributedBytes   = "bytes"
	DistributedSources = "sources"
	DistributedRatio   = "ratio"
)

// Points of a share: how much, and sent to received.
const (
	SharePoint = "share_of_new_destination"
	ShareRatio = "share_sent_to_received"
)

// DistributedUpload is the id of the detector of which meters emit shares.
const DistributedUpload = "distributed-upload"

// DistributedInfo describes distributed-upload, for the correlator.
func DistributedInfo() detect.Info { return shareInfo() }

// shareInfo is that of distributed-upload: a meter knows one source, its signals
// are shares of what many send, and no share is an alert.
func shareInfo() detect.Info {
	info := meterInfo(
		DistributedUpload, []string{"T1567", "T1048", "T1030"},
		detect.Threshold{Name: "share_bytes", Default: 1e6, Unit: "bytes", Doc: "that one source sent in 24 hours to a destination that is new to the site: a share, 1 point, 2 once the site itself is known for as long"},
		detect.Threshold{Name: "share_ratio", Default: 2, Unit: "sent:received", Doc: "at least, of a share"},
		detect.Threshold{Name: "new_days", Default: 7, Unit: "days", Doc: "since a destination was first seen, up to which it is new"},
		detect.Threshold{Name: DistributedBytes, Default: 50e6, Unit: "bytes", Doc: "that the shares of one destination sum up to: 2 points of the alert"},
		detect.Threshold{Name: DistributedSources, Default: 5, Unit: "sources", Doc: "at least, that have a share: 1 point; 1 more where the destination is new to a known site"},
		detect.Threshold{Name: DistributedRatio, Default: 10, Unit: "sent:received", Doc: "of all shares together: 1 point"},
	)
	info.Alone, info.Default.Floor = false, 1
	return info
}

// metered is the detector that keeps meters: volume-anomaly, and for those that
// are judged within it.
type metered struct {
	tuned
	rules  [ruleCount]*tuned
	shared usage
	gates  gates
}

// NewMetered returns the detectors that judge what a source sends outwards from
// one state a source: volume-anomaly, volume-fixed, sustained-upload,
// slow-upload, new-destination-upload, no-dns-upload, sanctioned-abuse,
// foreign-tenant, mail-upload and the shares of distributed-upload. They belong
// into one set.
func NewMetered() []detect.Detector {
	d := &metered{}
	out := make([]detect.Detector, 0, ruleCount)
	for i := range meterInfos {
		if i == ruleAnomaly {
			d.what = &meterInfos[i]
			d.rules[i] = &d.tuned
			out = append(out, d)
			continue
		}
		w := &within{tuned{what: &meterInfos[i]}}
		d.rules[i] = &w.tuned
		out = append(out, w)
	}
	for _, x := range out {
		x.Configure(site.Default())
	}
	return out
}

// New implements detect.Detector.
func (d *metered) New() detect.State { return newMeter(d) }

// within is a detector whose judgement is a meter's.
type within struct{ tuned }

// New implements detect.Detector: it is fed nothing.
func (*within) New() detect.State { return nil }
