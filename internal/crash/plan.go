package crash

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Phases of a commit in which an instance of the tally is killed in every
// run, and those of ingest's transactions. Their names are those of
// internal/stream.
var (
	enginePhases = []string{
		"begun", "polled", "produce-sent", "sealed", "flushed", "offsets-sent", "offsets-done", "end-sent", "end-done", "committed",
	}
	ingestPhases = []string{"begun", "produce-sent", "sealed", "flushed", "end-sent", "end-done", "committed"}
)

// death is a kill at a phase of a commit, after some commits of the process.
type death struct {
	phase string
	after int
}

// act is what is done to a process from outside.
type act int

const (
	actKill     act = iota // SIGKILL, started again at once
	actKillLong            // SIGKILL, started again after the session's end
	actTerm                // SIGTERM, started again once it has drained
	actStop                // SIGSTOP for longer than the session, then SIGCONT
	actJoin                // a further instance of the tally comes, and goes
)

// event of the schedule.
type happening struct {
	after  time.Duration // since the event before
	act    act
	target int // of the instances, modulo their number
	length time.Duration
}

// blow is a kill of a broker.
type blow struct {
	at, down time.Duration
	node     int
}

// visit is an instance of the tally that comes and goes.
type visit struct{ at, length time.Duration }

// plan is the schedule of a run. It is a function of the seed.
type plan struct {
	tally  []death
	others map[string][]death // service → first deaths, of whichever instance
	events []happening
	blows  []blow
	guests []visit
}

// stormy says that the run of a seed begins with a storm of rebalances: while
// the input pauses, and with it what keeps rebalances out, guests join the
// tally one after the other within one of its transactions, and leave again when
// records have flowed. The deaths come after the storm.
func stormy(seed uint64) bool { return seed%4 == 3 }

// Of a storm: the input flows, pauses for some transactions, and then flows on.
// Guests come in the pause and leave when it is over. Transactions are long, so
// that several revokes fall into one.
const (
	stormFlow     = 600 * time.Millisecond
	stormCalm     = 1300 * time.Millisecond // of the pause, before the first guest
	stormGuests   = 4
	stormGuest    = 350 * time.Millisecond // between two of them
	stormPause    = stormCalm + stormGuests*stormGuest + 700*time.Millisecond
	stormInterval = time.Second
	stormTxn      = 2500 * time.Millisecond
	stormSession  = 3 * time.Second
)

// newPlan draws the schedule. With nodes > 0 brokers of a cluster are killed,
// with embedded the one embedded broker.
func newPlan(seed uint64, session time.Duration, nodes int, embedded bool) plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := plan{others: map[string][]death{}}
	phases := slices.Clone(enginePhases)
	rng.Shuffle(len(phases), func(i, j int) { phases[i], phases[j] = phases[j], phases[i] })
	for _, ph := range phases {
		p.tally = append(p.tally, death{ph, rng.IntN(4)})
	}
	some := func(service string, of []string, n int) {
		for range n {
			p.others[service] = append(p.others[service], death{of[rng.IntN(len(of))], rng.IntN(5)})
		}
	}
	some("ingest-flow", ingestPhases, 3)
	some("detect", enginePhases, 3)
	some("correlate", enginePhases, 2)
	weights := []act{actKill, actKill, actKill, actKillLong, actTerm, actTerm, actStop, actStop, actJoin}
	if stormy(seed) {
		for guest := range stormGuests {
			at := stormFlow + stormCalm + time.Duration(guest)*stormGuest + upTo(rng, 100*time.Millisecond)
			p.guests = append(p.guests, visit{at: at, length: stormFlow + stormPause - at + 800*time.Millisecond + upTo(rng, time.Second)})
		}
	}
	for range 40 {
		p.events = append(p.events, happening{
			after: 200*time.Millisecond + upTo(rng, 700*time.Millisecond), act: weights[rng.IntN(len(weights))], target: rng.IntN(1 << 16),
			length: session + 300*time.Millisecond + upTo(rng, 700*time.Millisecond),
		})
	}
	switch {
	case nodes > 0:
		p.blows = append(p.blows, blow{at: 2*time.Second + upTo(rng, 3*time.Second), down: time.Second + upTo(rng, 4*time.Second), node: 1 + rng.IntN(nodes)})
	case embedded:
		for range 3 {
			p.blows = append(p.blows, blow{at: 1500*time.Millisecond + upTo(rng, 2*time.Second), down: upTo(rng, 400*time.Millisecond)})
		}
	}
	return p
}

// upTo draws a duration below d.
func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
