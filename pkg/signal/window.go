package signal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/encoding/json"
)

// Bounds of an announced deployment window.
const (
	// MaxDeployment is how long a window may last: a longer one excuses no more.
	MaxDeployment = 30 * time.Minute
	// MaxAnnouncement is the longest announcement in bytes.
	MaxAnnouncement = 8 << 10

	maxAhead   = 10 * time.Minute // how far its beginning may lie ahead
	maxSubject = 253              // a host's or namespace's name
	maxWords   = 1000             // who and why
)

// announcement is what a pipeline posts. Times are RFC 3339.
type announcement struct {
	Namespace string     `json:"namespace"`
	Host      string     `json:"host"`
	From      *time.Time `json:"from"`
	Until     time.Time  `json:"until"`
	By        string     `json:"by"`
	Why       string     `json:"why"`
}

// ParseAnnouncement reads the announcement of a deployment window that arrives
// at now, microseconds. Without from it begins now. One of the same subject and
// from as an earlier one takes its place, so that a window is ended by telling it
// again with an earlier until. A window neither begins longer ago than
// MaxDeployment, which would excuse what nobody announced, nor far ahead.
func ParseAnnouncement(body []byte, now int64) (d Deployment, err error) {
	if len(body) > MaxAnnouncement {
		return d, fmt.Errorf("more than %d bytes", MaxAnnouncement)
	}
	var a announcement
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return d, errors.New("not JSON with namespace, host, from, until, by, why")
	}
	if len(bytes.TrimSpace(body[dec.InputOffset():])) > 0 {
		return d, errors.New("more than one JSON object")
	}
	at := time.UnixMicro(now)
	from := at
	if a.From != nil {
		from = *a.From
	}
	var errs []error
	for _, f := range []struct {
		name, value string
		most        int
	}{{"namespace", a.Namespace, maxSubject}, {"host", a.Host, maxSubject}, {"by", a.By, maxWords}, {"why", a.Why, maxWords}} {
		if len(f.value) > f.most {
			errs = append(errs, fmt.Errorf("%s: more than %d bytes", f.name, f.most))
		}
	}
	if strings.TrimSpace(a.Namespace) == "" && strings.TrimSpace(a.Host) == "" {
		errs = append(errs, errors.New("namespace, host: both are empty"))
	}
	if strings.TrimSpace(a.By) == "" || strings.TrimSpace(a.Why) == "" {
		errs = append(errs, errors.New("by, why: say who deploys and why"))
	}
	if from.After(at.Add(maxAhead)) || from.Before(at.Add(-MaxDeployment)) {
		errs = append(errs, fmt.Errorf("from: not within the last %s and the next %s", MaxDeployment, maxAhead))
	}
	if length := a.Until.Sub(from); length <= 0 || length > MaxDeployment {
		errs = append(errs, fmt.Errorf("until: not within %s after from", MaxDeployment))
	}
	if len(errs) > 0 {
		return d, errors.Join(errs...)
	}
	return Deployment{Namespace: a.Namespace, Host: a.Host, From: from.UnixMicro(), Until: max(a.Until.UnixMicro(), from.UnixMicro()+1), By: a.By, Why: a.Why}, nil
}
