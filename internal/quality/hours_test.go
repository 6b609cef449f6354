package quality

import (
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/race"
)

// TestHours: a run is the same each time, has the hours that it says, and as
// many false alarms as are committed.
func TestHours(t *testing.T) {
	t.Parallel()
	if race.Enabled {
		t.Skip("no other code than TestFigures")
	}
	c := corpus(t)
	runs, err := c.Hours("", 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 1 || runs[0].Pool != poolLab || runs[0].Records < 20*runs[0].Hours {
		t.Fatalf("%d runs, the first of %d records", len(runs), runs[0].Records)
	}
	for _, x := range CompareHours(figures(t).Hours, runs) {
		t.Error(x)
	}
	at := -1
	for i, r := range figures(t).Hours {
		if r.key() == runs[0].key() {
			at = i
		}
	}
	if at < 0 || figures(t).Hours[at].Records != runs[0].Records {
		t.Error("the run is not the committed one: run make quality")
	}
}

// TestCompareHours: a run that raises more alarms is worse, one that raises
// fewer better, and one that was not measured is kept.
func TestCompareHours(t *testing.T) {
	t.Parallel()
	one, two := HourRun{Seed: 1, Pool: poolLab, False: []Finding{{Detector: "dns-tunnel"}}}, HourRun{Seed: 2, Pool: poolLab}
	worse := two
	worse.False = one.False
	if got := CompareHours([]HourRun{one, two}, []HourRun{{Seed: 1, Pool: poolLab}, worse}); len(got) != 2 || got[0].Worse || !got[1].Worse {
		t.Errorf("changes %v", got)
	}
	if got := CompareHours(nil, []HourRun{one, two}); len(got) != 1 || !got[0].Worse {
		t.Errorf("changes of new runs %v", got)
	}
	f := &Figures{Hours: []HourRun{two}}
	f.KeepHours(&Figures{Hours: []HourRun{one, worse}})
	if len(f.Hours) != 2 || len(f.Hours[0].False) != 0 || f.Hours[1].Seed != 1 {
		t.Errorf("kept %+v", f.Hours)
	}
}
