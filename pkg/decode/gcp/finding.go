package gcp

import (
	"net/netip"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// isFinding reports whether an object is a finding without its envelope.
func isFinding(raw rawjson.Value) bool {
	return len(rawjson.Get(raw, "category")) > 0 && strings.Contains(rawjson.Text(rawjson.Get(raw, "name")), "/findings/")
}

// finding maps a finding of the Security Command Center (formats.md §6.2). Its
// ID changes with each update, the name does not.
func (d *Decoder) finding(raw rawjson.Value) result {
	var f struct {
		Name       rawjson.Value `json:"name"`
		Resource   rawjson.Value `json:"resourceName"`
		State      rawjson.Value `json:"state"`
		Category   rawjson.Value `json:"category"`
		Severity   rawjson.Value `json:"severity"`
		EventTime  rawjson.Value `json:"eventTime"`
		Created    rawjson.Value `json:"createTime"`
		Properties rawjson.Value `json:"sourceProperties"`
		Exfil      rawjson.Value `json:"exfiltration"`
		Access     rawjson.Value `json:"access"`
	}
	if rawjson.ParseScanned(raw, &f) != nil {
		return result{dead: decode.ReasonJSON}
	}
	e := d.begin(TypeFinding)
	e.Kind = event.KindFinding
	e.Cloud.Service = "securitycenter.googleapis.com"
	when, ok := micros(f.EventTime)
	if !ok {
		when, ok = micros(f.Created)
	}
	e.Finding = event.Finding{
		Name: rawjson.Text(f.Name), Category: rawjson.Text(f.Category), Resource: rawjson.Text(f.Resource),
		Severity: lower(rawjson.Text(f.Severity)), State: lower(rawjson.Text(f.State)),
		Bytes: counter(rawjson.Get(f.Exfil, "totalExfiltratedBytes")),
	}
	if !ok || e.Finding.Name == "" || e.Finding.Category == "" {
		return result{dead: decode.ReasonMissing}
	}
	e.Time = when
	if e.Finding.Severity == "" || e.Finding.Severity == "severity_unspecified" {
		e.Finding.Severity = lower(rawjson.Text(rawjson.Get(f.Properties, "SeverityLevel")))
	}
	e.Cloud.Account = first(rawjson.Text(rawjson.Get(f.Properties, "ProjectId")), projectOf(e.Finding.Resource))
	e.Action = e.Finding.Category
	e.User.ID = rawjson.Text(rawjson.Get(f.Access, "principalEmail"))
	if ip, err := netip.ParseAddr(rawjson.Text(rawjson.Get(f.Access, "callerIp"))); err == nil {
		e.Source.IP = ip.Unmap().WithZone("")
	}
	d.identify("finding", e.Finding.Name, first(rawjson.Text(f.EventTime), rawjson.Text(f.Created)), e.Finding.State)
	return result{}
}

// threat maps an entry of Event Threat Detection's own log.
func (d *Decoder) threat(o *outer) result {
	e := d.begin(TypeFinding)
	e.Kind = event.KindFinding
	e.Cloud.Service = "threatdetection.googleapis.com"
	category := rawjson.Get(o.JSON, "detectionCategory")
	e.Finding.Category = first(rawjson.Text(rawjson.Get(category, "subRuleName")), rawjson.Text(rawjson.Get(category, "ruleName")))
	when, ok := micros(o.Time)
	if !ok {
		when, ok = micros(o.Received)
	}
	if !ok || e.Finding.Category == "" {
		return result{dead: decode.ReasonMissing}
	}
	e.Time = when
	e.Action = e.Finding.Category
	e.Finding.State = "active"
	e.Finding.Severity = lower(rawjson.Text(rawjson.Get(o.JSON, "detectionPriority")))
	for r := range rawjson.Each(rawjson.Get(o.JSON, "affectedResources")) {
		if e.Finding.Resource = rawjson.Text(rawjson.Get(r, "gcpResourceName")); e.Finding.Resource != "" {
			break
		}
	}
	e.Finding.Name = first(rawjson.Text(o.InsertID), e.Finding.Category)
	project, _ := logName(rawjson.Text(o.LogName))
	e.Cloud.Account = project
	d.identify("threat", rawjson.Text(o.LogName), rawjson.Text(o.Time), rawjson.Text(o.InsertID))
	return result{}
}

// profile maps a DataProfilePubSubMessage of Sensitive Data Protection.
func (d *Decoder) profile(o *outer) result {
	var p struct {
		Name      rawjson.Value `json:"name"`
		Resource  rawjson.Value `json:"fullResource"`
		Path      rawjson.Value `json:"fileStorePath"`
		Project   rawjson.Value `json:"projectId"`
		Generated rawjson.Value `json:"profileLastGenerated"`
		Score     rawjson.Value `json:"sensitivityScore"`
		Status    rawjson.Value `json:"profileStatus"`
	}
	if rawjson.ParseScanned(o.Profile, &p) != nil {
		return result{dead: decode.ReasonJSON}
	}
	e := d.begin(TypeFinding)
	e.Kind = event.KindFinding
	e.Cloud.Service = "dlp.googleapis.com"
	when, ok := micros(p.Generated)
	if !ok {
		when, ok = micros(rawjson.Get(p.Status, "timestamp"))
	}
	e.Finding = event.Finding{
		Name: rawjson.Text(p.Name), Category: "sensitive_data_profile", Resource: first(rawjson.Text(p.Resource), rawjson.Text(p.Path)),
		Severity: sensitivity(rawjson.Get(p.Score, "score")), State: "active",
	}
	if !ok || e.Finding.Resource == "" {
		return result{dead: decode.ReasonMissing}
	}
	e.Time = when
	e.Action = lower(rawjson.Text(o.Event))
	e.Cloud.Account = first(rawjson.Text(p.Project), projectOf(e.Finding.Resource))
	d.identify("profile", e.Finding.Name, e.Finding.Resource, rawjson.Text(p.Generated), e.Action)
	return result{}
}

// sensitivity turns a sensitivity score, a name or its number, into the severity
// of a finding; "" where it is not known.
func sensitivity(v rawjson.Value) string {
	switch rawjson.Scalar(v) {
	case "SENSITIVITY_LOW", "10":
		return "low"
	case "SENSITIVITY_MODERATE", "20":
		return "medium"
	case "SENSITIVITY_HIGH", "30":
		return "high"
	}
	return ""
}

func lower(s string) string { return strings.ToLower(s) }
