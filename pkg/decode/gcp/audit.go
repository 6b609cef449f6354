package gcp

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// auditLog is google.cloud.audit.AuditLog; keys match whatever their case is,
// since sinks write them differently.
type auditLog struct {
	Service      rawjson.Value `json:"serviceName"`
	Method       rawjson.Value `json:"methodName"`
	Resource     rawjson.Value `json:"resourceName"`
	Who          rawjson.Value `json:"authenticationInfo"`
	Granted      rawjson.Value `json:"authorizationInfo"`
	Meta         rawjson.Value `json:"requestMetadata"`
	Status       rawjson.Value `json:"status"`
	Request      rawjson.Value `json:"request"`
	Metadata     rawjson.Value `json:"metadata"`
	MetadataText rawjson.Value `json:"metadataJson"` // BigQuery sinks: a document as text
	RequestText  rawjson.Value `json:"requestJson"`
	ServiceData  rawjson.Value `json:"serviceData"`
	OldBigQuery  rawjson.Value `json:"servicedata_v1_bigquery"`
	OldIAM       rawjson.Value `json:"servicedata_v1_iam"`
}

// denied are the codes of google.rpc.Code by number.
var denied = [...]string{
	1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED",
	8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION", 10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE",
	15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}

// audit maps an entry of Cloud Audit Logs (formats.md §6.1).
func (d *Decoder) audit(o *outer, payload rawjson.Value, project, name string) result {
	var a auditLog
	if rawjson.ParseScanned(payload, &a) != nil {
		return result{dead: decode.ReasonJSON}
	}
	if !rawjson.True(rawjson.Get(o.Oper, "first")) && rawjson.True(rawjson.Get(o.Oper, "last")) && rawjson.Text(a.Service) != bigQuery {
		return result{ignored: ignoredOperation}
	}
	e := d.begin(TypeAudit)
	e.Cloud.Service, e.Action = rawjson.Text(a.Service), rawjson.Text(a.Method)
	if e.Cloud.Service == "" || e.Action == "" {
		return result{dead: decode.ReasonMissing}
	}
	var ok bool
	if e.Time, ok = micros(o.Time); !ok {
		if len(o.Time) > 0 {
			return result{dead: decode.ReasonValue}
		}
		return result{dead: decode.ReasonMissing}
	}
	a.unwrap()
	labels := rawjson.Get(o.Resource, "labels")
	if e.Cloud.Account = rawjson.Text(rawjson.Get(labels, "project_id")); e.Cloud.Account == "" {
		e.Cloud.Account = project
	}
	e.Cloud.Region = d.regionOf(labels)
	d.outcome(&a)
	d.caller(&a)
	d.identify(rawjson.Text(o.LogName), rawjson.Text(o.Time), rawjson.Text(o.InsertID))
	resource := rawjson.Text(a.Resource)
	switch {
	case strings.HasSuffix(name, "/policy") && strings.Contains(rawjson.Text(rawjson.Get(a.Metadata, "@type")), "VpcServiceControl"):
		d.perimeter(&a, resource)
	case e.Cloud.Service == "storage.googleapis.com" && strings.HasPrefix(e.Action, "storage.objects."):
		d.object(resource)
	case e.Cloud.Service == bigQuery:
		return d.bigQuery(&a, resource)
	case d.policy(&a):
		e.Kind = event.KindShare
		e.Share.Resource = resource
	default:
		d.manage(&a, resource)
	}
	return result{}
}

// unwrap puts documents that a sink wrote as text in their place.
func (a *auditLog) unwrap() {
	for _, v := range []struct {
		text rawjson.Value
		to   *rawjson.Value
	}{{a.MetadataText, &a.Metadata}, {a.RequestText, &a.Request}} {
		if rawjson.IsObject(*v.to) {
			continue
		}
		inner := []byte(rawjson.Text(v.text))
		var doc rawjson.Value
		if len(inner) > 0 && rawjson.Parse(inner, &doc) == nil {
			*v.to = inner
		}
	}
	if !rawjson.IsObject(a.ServiceData) {
		a.ServiceData = a.OldIAM
	}
}

// regionOf returns the region, of a zone the part before its letter.
func (d *Decoder) regionOf(labels rawjson.Value) string {
	for _, key := range [...]string{"location", "region", "zone"} {
		s := rawjson.Text(rawjson.Get(labels, key))
		if s == "" {
			continue
		}
		if n := len(s); n > 2 && s[n-2] == '-' && s[n-1] >= 'a' && s[n-1] <= 'z' {
			s = s[:n-2]
		}
		d.region = append(d.region[:0], strings.ToLower(s)...)
		return rawjson.View(d.region)
	}
	return ""
}

// outcome reads status and authorizationInfo.
func (d *Decoder) outcome(a *auditLog) {
	e := &d.ev
	e.Outcome = "success"
	if code := rawjson.Count(rawjson.Get(a.Status, "code")).Or(0); code > 0 {
		e.Outcome, e.Cloud.ErrorCode = "failure", "UNKNOWN"
		if code < uint64(len(denied)) {
			e.Cloud.ErrorCode = denied[code]
		}
		return
	}
	some, granted := false, false
	for g := range rawjson.Each(a.Granted) {
		some = true
		granted = granted || rawjson.True(rawjson.Get(g, "granted"))
	}
	if some && !granted {
		e.Outcome, e.Cloud.ErrorCode = "failure", "PERMISSION_DENIED"
	}
}

// caller sets who called, and from where.
func (d *Decoder) caller(a *auditLog) {
	e := &d.ev
	u := &e.User
	email, subject := rawjson.Text(rawjson.Get(a.Who, "principalEmail")), rawjson.Text(rawjson.Get(a.Who, "principalSubject"))
	switch {
	case email != "":
		u.ID, u.Name = email, email
	case subject != "":
		u.ID = subject
	default:
		u.ID, u.Type = Anonymous, Anonymous
	}
	if local, domain, ok := strings.Cut(u.ID, "@"); ok {
		u.Type, u.Account = "user", domain
		if project, service := strings.CutSuffix(domain, ".iam.gserviceaccount.com"); service {
			u.Type, u.Account = "service_account", project
		} else if strings.HasSuffix(domain, ".gserviceaccount.com") {
			u.Type, u.Account = "service_account", strings.TrimSuffix(local, "-compute")
		}
	}
	if key := rawjson.Text(rawjson.Get(a.Who, "serviceAccountKeyName")); key != "" {
		u.Session = key[strings.LastIndexByte(key, '/')+1:]
	}
	source := rawjson.Text(rawjson.Get(a.Meta, "callerIp"))
	if ip, err := netip.ParseAddr(source); err == nil {
		e.Source.IP = ip.Unmap().WithZone("")
	} else {
		e.Source.Address = source
	}
	e.HTTP.UserAgent = rawjson.Text(rawjson.Get(a.Meta, "callerSuppliedUserAgent"))
}

// object sets the object of projects/_/buckets/B/objects/O.
func (d *Decoder) object(resource string) {
	e := &d.ev
	e.Kind = event.KindObject
	if _, rest, ok := strings.Cut(resource, "/buckets/"); ok {
		e.Object.Bucket, rest, _ = strings.Cut(rest, "/")
		e.Object.Key = strings.TrimPrefix(rest, "objects/")
	}
	e.Object.Owner = e.Cloud.Account
}

// perimeter maps a call that VPC Service Controls stopped.
func (d *Decoder) perimeter(a *auditLog, resource string) {
	e := &d.ev
	e.Kind = event.KindManagement
	e.Outcome, e.Cloud.ErrorCode = "failure", "VPC_SERVICE_CONTROLS"
	if rawjson.True(rawjson.Get(a.Metadata, "dryRun")) {
		e.Outcome = "success"
	}
	e.Share.Resource = resource
	for r := range rawjson.Each(rawjson.Get(a.Metadata, "resourceNames")) {
		if s := rawjson.Text(r); s != "" {
			e.Share.Resource = s
			break
		}
	}
	for v := range rawjson.Each(rawjson.Get(a.Metadata, "egressViolations")) {
		d.target(projectOf(rawjson.Text(rawjson.Get(v, "targetResource"))))
	}
}

// manage maps any other call.
func (d *Decoder) manage(a *auditLog, resource string) {
	e := &d.ev
	e.Kind = event.KindManagement
	e.Share.Resource = resource
	if e.Cloud.Service == "logging.googleapis.com" {
		d.target(place(rawjson.Text(rawjson.Get(a.Request, "sink", "destination"))))
	}
	if e.Cloud.Service == "sqladmin.googleapis.com" || e.Cloud.Service == "cloudsql.googleapis.com" {
		uri := rawjson.Text(rawjson.Get(a.Request, "body", "exportContext", "uri"))
		if uri == "" {
			uri = rawjson.Text(rawjson.Get(a.Request, "exportContext", "uri"))
		}
		d.target(bucketOf(uri))
	}
}

// target adds to Share.Targets what is not there yet, as far as there is room.
func (d *Decoder) target(s string) {
	t := &d.ev.Share.Targets
	if s != "" && len(*t) < maxTargets && !slices.Contains(*t, s) {
		*t = append(*t, s)
	}
}
