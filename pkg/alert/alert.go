package alert

import (
	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Kind is the kind of the records of ebb.alerts.v1, Version their "v" header.
const (
	Kind    = "alert"
	Version = 1
)

// Topic is where alerts go.
const Topic = "ebb.alerts.v1"

// Bounds of a document.
const (
	MaxBytes    = 8 << 10
	MaxEvidence = 10
)

// Status of an alert.
type Status string

// The statuses.
const (
	Open       Status = "open"       // first revision
	Updated    Status = "updated"    // a later one
	Suppressed Status = "suppressed" // expected: a deployment runs there
	Retracted  Status = "retracted"  // wrong, or part of another alert (SupersededBy)
	Closed     Status = "closed"     // nothing new for a day, or an analyst says benign
)

// Notify says whether a revision should page.
type Notify string

// The notifications; absent (empty) pages nobody.
const (
	NotifyFirst     Notify = "first"
	NotifyRaised    Notify = "raised"
	NotifyRetracted Notify = "retracted"
)

// Alert is one revision of an alert. Times are microseconds of event time but
// Created, which is append time.
type Alert struct {
	// ID is the hash of the founding signal's id; it stays over all revisions.
	ID       string
	Revision uint64 // from 1
	Status   Status
	Notify   Notify
	// Detector is the rule that speaks: a detector, or a correlated rule.
	Detector string

	Time    int64 // the newest event
	First   int64 // the earliest event
	Created int64 // when this revision was made
	Window  Window

	Severity   string
	Confidence string
	// Classification is PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED or
	// UNCLASSIFIED; "" where data are not the matter.
	Classification string
	Risk           int    // 0 to 100, see Risk
	Reason         string // one line

	Entity      Entity
	Source      signal.Endpoint
	Destination signal.Endpoint
	// Bytes is what left, on Layer, as the strongest single signal counted it:
	// sums over sources or layers are never made. Nil when not known.
	Bytes   *uint64
	Layer   string
	Channel string
	Subject string

	Technique []string // ATT&CK ids
	// Points are the reasons. Names are unique.
	Points []signal.Point
	// Signals are what the alert rests on, the leading ones first;
	// SignalsTotal counts also those that are not listed.
	Signals      []Signal
	SignalsTotal int
	// Evidence are at most MaxEvidence events, the most telling first.
	Evidence []signal.Evidence
	// EvidenceTrimmed says that records or pieces were left out for size.
	EvidenceTrimmed bool
	// Completeness says how far each source was when the revision was made,
	// by type.
	Completeness []Completeness
	// Action is what to do.
	Action string

	// Joined is what a correlated rule has joined.
	Joined *Joined
	// SupersededBy is the alert that this one has become part of.
	SupersededBy string
	// Verdict is the last answer of an analyst.
	Verdict *Verdict
	// Rollup lists the alerts beyond the budget that this one stands for;
	// RollupTotal counts also those that are not listed.
	Rollup      []Rolled
	RollupTotal int
}

// Window is the span that was judged.
type Window struct{ Start, End int64 }

// Entity is who did it: one machine, workload or principal with all names
// that are known of it.
type Entity struct {
	// Type and Name are the name to call it by: host before pod, instance,
	// container, address and principal.
	Type       string   `json:"type"`
	Name       string   `json:"name"`
	Realm      string   `json:"realm,omitempty"`
	Hosts      []string `json:"hosts,omitempty"`
	Instances  []string `json:"instances,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
	Pods       []string `json:"pods,omitempty"` // namespace/name
	Containers []string `json:"containers,omitempty"`
	Addresses  []string `json:"addresses,omitempty"`
	Principals []string `json:"principals,omitempty"`
}

// Signal refers to a signal.
type Signal struct {
	ID       string  `json:"id"`
	Detector string  `json:"detector"`
	Role     string  `json:"role,omitempty"`
	Score    float64 `json:"score"`
	// Alert says that it would be an alert by itself.
	Alert bool `json:"alert,omitempty"`
}

// Completeness is how far the sources of a type were.
type Completeness struct {
	Type  string
	Until int64 // event time; 0 is not known
	Ended bool  // the source has ended: all there is was seen
}

// Joined are the two halves of a correlated alert.
type Joined struct {
	Staged, Sent Half
	// Delta is the time in minutes from the end of the one to the beginning
	// of the other: 0 when they overlap, negative when the transfer came first.
	Delta float64
	// SameSize says that the sizes match.
	SameSize bool
	// Revision is the one in which the halves were joined: what counts
	// correlated alerts counts this revision of each.
	Revision uint64
}

// Half is one side of a join.
type Half struct {
	Signal      string
	Detector    string
	Channel     string
	Subject     string
	Start, End  int64
	Bytes       *uint64 // nil when the source gives none
	Layer       string
	Destination signal.Endpoint
}

// Verdict is an analyst's answer.
type Verdict struct {
	Verdict string `json:"verdict"`
	By      string `json:"by"`
	Why     string `json:"why,omitempty"`
	Time    int64  `json:"-"`
}

// Rolled is one alert inside a roll-up.
type Rolled struct {
	ID       string `json:"id"`
	Entity   string `json:"entity"`
	Severity string `json:"severity"`
	Reason   string `json:"reason,omitempty"`
}

// SeverityRank orders severities from 1; 0 is not a severity.
func SeverityRank(s string) int {
	switch s {
	case signal.Low:
		return 1
	case signal.Medium:
		return 2
	case signal.High:
		return 3
	case signal.Critical:
		return 4
	}
	return 0
}

// ConfidenceRank orders confidences from 1; 0 is not a confidence.
func ConfidenceRank(s string) int {
	switch s {
	case "low":
		return 1
	case "medium":
		return 2
	case "high":
		return 3
	}
	return 0
}

// ClassRank orders classes by how much care they ask for; 0 is no class.
func ClassRank(c string) int {
	switch c {
	case "PUBLIC":
		return 1
	case "INTERNAL":
		return 2
	case "UNCLASSIFIED":
		return 3
	case "CONFIDENTIAL":
		return 4
	case "RESTRICTED":
		return 5
	}
	return 0
}

// Risk is the risk score of the package documentation. excess is score
// divided by threshold, 1 where there is no threshold.
func Risk(severity, confidence, class string, excess float64) int {
	risk := float64(20*SeverityRank(severity)) + float64(5*max(0, ConfidenceRank(confidence)-1))
	if excess > 1 {
		risk += 5 * min(1, excess-1)
	}
	switch class {
	case "RESTRICTED":
		risk += 5
	case "CONFIDENTIAL", "UNCLASSIFIED":
		risk += 3
	case "PUBLIC":
		risk -= 10
	}
	return int(max(0, min(100, risk)))
}
