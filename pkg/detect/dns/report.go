package dns

import (
	"fmt"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// grade is severity and confidence of a score where alerts begin at alert.
func grade(score, alert float64) (severity, confidence string) {
	switch {
	case score < alert:
		return signal.Low, "low"
	case score < alert+2:
		return signal.High, "medium"
	}
	return signal.High, "high"
}

// listPoints names the points of a score, the weightiest first.
func listPoints(points []signal.Point) string {
	var b strings.Builder
	for want := 5.0; want >= 0; want-- {
		for _, p := range points {
			if p.Points != want {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %.4g (+%g)", p.Name, p.Value, p.Points)
		}
	}
	return b.String()
}

// span is a duration for a reader.
func span(micros int64) string {
	d := time.Duration(micros) * time.Microsecond
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
