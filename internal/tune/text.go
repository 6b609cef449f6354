package tune

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the comparison for a person: how many, then a table with a
// line an alert, and below it its reasons with measured value, threshold and
// points; of an alert that is on both sides those that are not the same.
func (c *Comparison) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d come, %d go, %d change, %d stay as they are\n", c.Counts[Comes], c.Counts[Goes], c.Counts[Changes], c.Counts[Stays]); err != nil {
		return err
	}
	if len(c.Changes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ALERT\tSINCE\tRULE\tENTITY\tWHERE TO\tPRESENT\tOTHER")
	for i := range c.Changes {
		x := &c.Changes[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", x.Change, strings.Replace(strings.TrimSuffix(x.First, "Z"), "T", " ", 1), x.Rule, x.Entity, x.Where, x.Present.text(), x.Other.text()+x.later())
		for _, p := range x.Points {
			if (x.Change == Changes || x.Change == Stays) && p.Present != nil && p.Other != nil && *p.Present == *p.Other {
				continue
			}
			fmt.Fprintf(tw, "\t\t· %s\t\t\t%s\t%s\n", p.Name, p.Present.text(), p.Other.text())
		}
	}
	return tw.Flush()
}

// later is how much later or earlier the other side alerts.
func (x *Change) later() string {
	if x.Present == nil || x.Other == nil || !x.Present.Alert || !x.Other.Alert {
		return ""
	}
	at, err := time.Parse(time.RFC3339, x.Present.Opened)
	then, err2 := time.Parse(time.RFC3339, x.Other.Opened)
	switch d := then.Sub(at); {
	case err != nil || err2 != nil || d == 0:
		return ""
	case d > 0:
		return fmt.Sprintf(", %s later", d)
	default:
		return fmt.Sprintf(", %s earlier", -d)
	}
}

// text is a side in a few words.
func (s *State) text() string {
	if s == nil {
		return "no signal"
	}
	points := number(s.Score)
	if s.Threshold > 0 {
		points += " of " + number(s.Threshold)
	}
	points += " points"
	if !s.Alert {
		if s.Mode == "shadow" {
			points += ", in shadow"
		}
		return points
	}
	text := s.Severity + ", " + points
	if s.Status != "open" {
		text += ", " + s.Status
	}
	return text
}

func (m *Measure) text() string {
	if m == nil {
		return "–"
	}
	return fmt.Sprintf("%s at %s: %s", number(m.Value), number(m.Threshold), number(m.Points))
}

// number is a number without a wall of digits.
func number(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		text := strconv.FormatFloat(math.Abs(f), 'f', 0, 64)
		for i := len(text) - 3; i > 0; i -= 3 {
			text = text[:i] + " " + text[i:]
		}
		if f < 0 {
			text = "-" + text
		}
		return text
	}
	return strconv.FormatFloat(f, 'g', 4, 64)
}
