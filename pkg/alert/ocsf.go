package alert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/segmentio/encoding/json"
)

// Detection Finding, OCSF 1.8.0 (formats.md §7.2).
const (
	ocsfVersion  = "1.8.0"
	ocsfClass    = 2004
	ocsfCategory = 2
)

type ocsf struct {
	ActivityID   int              `json:"activity_id"`
	ActivityName string           `json:"activity_name"`
	CategoryUID  int              `json:"category_uid"`
	CategoryName string           `json:"category_name"`
	ClassUID     int              `json:"class_uid"`
	ClassName    string           `json:"class_name"`
	TypeUID      int              `json:"type_uid"`
	TypeName     string           `json:"type_name"`
	SeverityID   int              `json:"severity_id"`
	Severity     string           `json:"severity"`
	Time         int64            `json:"time"`
	StartTime    int64            `json:"start_time"`
	EndTime      int64            `json:"end_time"`
	StatusID     int              `json:"status_id"`
	Status       string           `json:"status"`
	IsAlert      bool             `json:"is_alert"`
	ConfidenceID int              `json:"confidence_id"`
	Confidence   string           `json:"confidence"`
	RiskScore    int              `json:"risk_score"`
	Count        int              `json:"count"`
	Message      string           `json:"message"`
	Metadata     ocsfMetadata     `json:"metadata"`
	FindingInfo  ocsfFinding      `json:"finding_info"`
	Evidences    []ocsfEvidence   `json:"evidences,omitempty"`
	Resources    []ocsfResource   `json:"resources,omitempty"`
	Observables  []ocsfObservable `json:"observables,omitempty"`
	Remediation  *ocsfRemediation `json:"remediation,omitempty"`
	Comment      string           `json:"comment,omitempty"`
	Unmapped     ocsfUnmapped     `json:"unmapped"`
}

type ocsfMetadata struct {
	Version string      `json:"version"`
	UID     string      `json:"uid"`
	Product ocsfProduct `json:"product"`
	// ModifiedTime is when this revision was made.
	ModifiedTime int64 `json:"modified_time,omitempty"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfFinding struct {
	UID       string       `json:"uid"`
	Title     string       `json:"title"`
	Desc      string       `json:"desc"`
	FirstSeen int64        `json:"first_seen_time"`
	LastSeen  int64        `json:"last_seen_time"`
	Analytic  ocsfAnalytic `json:"analytic"`
	Attacks   []ocsfAttack `json:"attacks,omitempty"`
	Related   []string     `json:"related_events_uid,omitempty"`
}

type ocsfAnalytic struct {
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Name   string `json:"name"`
	UID    string `json:"uid"`
}

type ocsfAttack struct {
	Version      string     `json:"version"`
	Tactic       ocsfNamed  `json:"tactic"`
	Technique    ocsfNamed  `json:"technique"`
	SubTechnique *ocsfNamed `json:"sub_technique,omitempty"`
}

type ocsfNamed struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
}

type ocsfEvidence struct {
	Src  *ocsfEndpoint   `json:"src_endpoint,omitempty"`
	Dst  *ocsfEndpoint   `json:"dst_endpoint,omitempty"`
	Data *ocsfCoordinate `json:"data,omitempty"`
}

type ocsfEndpoint struct {
	IP       string `json:"ip,omitempty"`
	Port     uint64 `json:"port,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Instance string `json:"instance_uid,omitempty"`
}

// ocsfCoordinate leads to the raw event; data is of type json_t in OCSF.
type ocsfCoordinate struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    int64           `json:"offset"`
	File      string          `json:"file,omitempty"`
	Line      uint64          `json:"line,omitempty"`
	Record    json.RawMessage `json:"record,omitempty"`
}

type ocsfResource struct {
	Type string `json:"type"`
	Name string `json:"name"`
	UID  string `json:"uid"`
}

type ocsfObservable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

type ocsfRemediation struct {
	Desc string `json:"desc"`
}

// ocsfUnmapped is what OCSF has no place for.
type ocsfUnmapped struct {
	Revision     uint64              `json:"revision"`
	Status       Status              `json:"status"`
	Notify       Notify              `json:"notify,omitempty"`
	Class        string              `json:"classification,omitempty"`
	SupersededBy string              `json:"superseded_by,omitempty"`
	Points       map[string]docPoint `json:"points"`
	Joined       *docJoined          `json:"joined,omitempty"`
	Trimmed      bool                `json:"evidence_trimmed,omitempty"`
}

// AppendOCSF appends the alert as an OCSF Detection Finding of at most
// MaxBytes: activity 1 (create) for a first revision, 3 (close) for a closed
// or retracted one, 2 (update) for any other.
func (a *Alert) AppendOCSF(dst []byte) ([]byte, error) {
	from := len(dst)
	for i := range levels {
		f := a.ocsf(&levels[i])
		for {
			out, err := json.Append(dst[:from], f, appendFlags)
			if err != nil {
				return dst[:from], fmt.Errorf("encode finding: %w", err)
			}
			if len(out)-from <= MaxBytes {
				return out, nil
			}
			dst = out[:from]
			if !f.dropLast() {
				break
			}
		}
	}
	return dst[:from], fmt.Errorf("encode finding: %w: longer than %d bytes", ErrFormat, MaxBytes)
}

// dropLast leaves out the last evidence record and reports whether there was
// one.
func (f *ocsf) dropLast() bool {
	for _, e := range slices.Backward(f.Evidences) {
		if d := e.Data; d != nil && len(d.Record) > 0 {
			d.Record, f.Unmapped.Trimmed = nil, true
			return true
		}
	}
	return false
}

func (a *Alert) ocsf(l *limits) *ocsf {
	d := a.document(l)
	activity, activityName := 2, "Update"
	switch {
	case a.Status == Closed || a.Status == Retracted:
		activity, activityName = 3, "Close"
	case a.Revision <= 1:
		activity, activityName = 1, "Create"
	}
	status, statusName := ocsfStatus(a.Status)
	severity := SeverityRank(a.Severity)
	if severity > 0 {
		severity++ // 1 is informational
	}
	f := &ocsf{
		ActivityID: activity, ActivityName: activityName, CategoryUID: ocsfCategory, CategoryName: "Findings",
		ClassUID: ocsfClass, ClassName: "Detection Finding", TypeUID: ocsfClass*100 + activity, TypeName: "Detection Finding: " + activityName,
		SeverityID: severity, Severity: title(a.Severity), Time: a.Time / 1000, StartTime: a.First / 1000, EndTime: a.Time / 1000,
		StatusID: status, Status: statusName, IsAlert: true, ConfidenceID: ConfidenceRank(a.Confidence), Confidence: title(a.Confidence),
		RiskScore: d.Event.RiskScore, Count: d.Ebbwatch.SignalsTotal, Message: d.Message,
		Metadata: ocsfMetadata{ocsfVersion, d.Ebbwatch.ID, ocsfProduct{"Ebbwatch", "Ebbwatch"}, a.Created / 1000},
		FindingInfo: ocsfFinding{
			UID: d.Ebbwatch.ID, Title: d.Rule.Name, Desc: d.Ebbwatch.Reason, FirstSeen: a.First / 1000, LastSeen: a.Time / 1000,
			Analytic: ocsfAnalytic{1, "Rule", d.Rule.Name, d.Rule.ID},
		},
		Unmapped: ocsfUnmapped{
			a.Revision, a.Status, a.Notify, d.Ebbwatch.Classification, d.Ebbwatch.SupersededBy, d.Ebbwatch.Points, d.Ebbwatch.Joined, d.Ebbwatch.Trimmed,
		},
	}
	if d.Ebbwatch.Action != "" {
		f.Remediation = &ocsfRemediation{d.Ebbwatch.Action}
	}
	if v := d.Ebbwatch.Verdict; v != nil {
		f.Comment = v.Verdict + " by " + v.By + ": " + v.Why
	}
	for _, s := range d.Ebbwatch.Signals {
		f.FindingInfo.Related = append(f.FindingInfo.Related, s.ID)
	}
	f.attacks(d.Ebbwatch.Technique)
	f.evidence(a, d)
	f.who(&d.Ebbwatch.Entity, d)
	return f
}

func ocsfStatus(s Status) (int, string) {
	switch s {
	case Updated:
		return 2, "In Progress"
	case Suppressed:
		return 3, "Suppressed"
	case Closed, Retracted:
		return 4, "Resolved"
	case Open:
	}
	return 1, "New"
}

func (f *ocsf) attacks(ids []string) {
	for _, id := range ids {
		k, ok := techniques[id]
		if !ok {
			continue
		}
		p, sub := parent(id)
		at := ocsfAttack{Version: "16", Tactic: ocsfNamed{k.tactic, tactics[k.tactic]}, Technique: ocsfNamed{p, techniques[p].name}}
		if sub {
			at.SubTechnique = &ocsfNamed{id, k.name}
		}
		f.FindingInfo.Attacks = append(f.FindingInfo.Attacks, at)
	}
}

// evidence puts the endpoints first, then one entry for each raw event.
func (f *ocsf) evidence(a *Alert, d *document) {
	if a.Source != (signal.Endpoint{}) || a.Destination != (signal.Endpoint{}) {
		var e ocsfEvidence
		if s := d.Source; s != nil && s.IP+s.Domain != "" {
			e.Src = &ocsfEndpoint{IP: s.IP, Port: s.Port, Hostname: s.Domain}
			if d.Host != nil {
				e.Src.Instance = d.Host.ID
			}
		}
		if t := d.Destination; t != nil && t.IP+t.Domain != "" {
			e.Dst = &ocsfEndpoint{IP: t.IP, Port: t.Port, Hostname: t.Domain}
		}
		if e != (ocsfEvidence{}) {
			f.Evidences = append(f.Evidences, e)
		}
	}
	for _, e := range d.Ebbwatch.Evidence {
		f.Evidences = append(f.Evidences, ocsfEvidence{Data: &ocsfCoordinate{e.Topic, e.Partition, e.Offset, e.File, e.Line, e.Record}})
	}
}

// who lists resources and observables; type ids are those of OCSF's
// observable object.
func (f *ocsf) who(e *Entity, d *document) {
	const hostname, ip, user, resource = 1, 2, 4, 10
	add := func(kind string, typeID int, typeName string, values []string) {
		for _, v := range values {
			f.Resources = append(f.Resources, ocsfResource{kind, v, v})
			f.Observables = append(f.Observables, ocsfObservable{"resources[].uid", typeID, typeName, v})
		}
	}
	add("Host", hostname, "Hostname", e.Hosts)
	add("Instance", resource, "Resource UID", e.Instances)
	add("Pod", resource, "Resource UID", e.Pods)
	add("Container", resource, "Resource UID", e.Containers)
	add("Principal", user, "User Name", e.Principals)
	if t := d.Destination; t != nil && t.IP != "" {
		f.Observables = append(f.Observables, ocsfObservable{"evidences[].dst_endpoint.ip", ip, "IP Address", t.IP})
	}
	if s := d.Source; s != nil && s.IP != "" {
		f.Observables = append(f.Observables, ocsfObservable{"evidences[].src_endpoint.ip", ip, "IP Address", s.IP})
	}
}

func title(s string) string {
	switch {
	case s == "":
		return "Unknown"
	case !plain(s) || len(s) > 16:
		return "Other"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
