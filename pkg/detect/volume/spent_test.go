package volume

import (
	"bytes"
	"testing"
)

// What was spent survives a restart, and the state of the release before, which
// held nothing of it, is read.
func TestAllowanceInState(t *testing.T) {
	t.Parallel()
	l := newLedger(NewUploadRatio().(rules))
	before := l.Append(nil)
	l.spent.add(spent{7, 3600, 40})
	l.spent.add(spent{7, 7200, 2})
	l.spent.add(spent{8, 7200, 100})
	data := l.Append(nil)
	again := newLedger(l.rules)
	if err := again.Load(data); err != nil {
		t.Fatal(err)
	}
	if got := again.spent.since(7, 0, 7201); got != 42 {
		t.Errorf("spent %d", got)
	}
	if got := again.spent.since(7, 3601, 7200); got != 0 {
		t.Errorf("spent between %d", got)
	}
	if !bytes.Equal(data, again.Append(nil)) {
		t.Error("what was loaded is written otherwise")
	}
	old := bytes.Clone(before[:len(before)-1]) // less the empty list
	old[0] = stateVersion - 1
	if err := newLedger(l.rules).Load(old); err != nil {
		t.Errorf("the release before: %v", err)
	}
	for i := range int64(maxSpent + 10) {
		l.spent.add(spent{9, 7200 + i, 1})
	}
	if n := len(l.spent.list); n != maxSpent {
		t.Errorf("%d entries", n)
	}
	l.spent.add(spent{9, 7200 + 2*spentFor, 1})
	if n := len(l.spent.list); n != 1 {
		t.Errorf("%d entries a day later", n)
	}
}
