//go:build ebbcrash

package stream

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The environment of a build for the crash series. Values that it does not
// understand end the process: a series that does not do what it says is worth
// nothing.
const (
	envMutate   = "EBBCRASH_MUTATE"   // a mutation
	envKill     = "EBBCRASH_KILL"     // PHASE:N, kill -9 at the phase after N commits
	envKillLog  = "EBBCRASH_KILL_LOG" // file to which the phase is appended before
	envSession  = "EBBCRASH_SESSION"  // session time-out of the group
	envTxn      = "EBBCRASH_TXN"      // time-out of transactions
	envInterval = "EBBCRASH_INTERVAL" // commit interval
)

func proofFromEnvironment() proof {
	p := proof{mutation: mutation(os.Getenv(envMutate))}
	switch p.mutation {
	case "", offsetsOutside, trustRevokes, patchAfterAbort, bucketsApart, sameID:
	default:
		panic(fmt.Sprintf("%s: no mutation %q", envMutate, p.mutation))
	}
	duration := func(name string) time.Duration {
		text := os.Getenv(name)
		if text == "" {
			return 0
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			panic(fmt.Sprintf("%s=%s", name, text))
		}
		return d
	}
	if d := duration(envSession); d > 0 {
		p.options = append(p.options, kgo.SessionTimeout(d), kgo.RebalanceTimeout(2*d), kgo.HeartbeatInterval(min(d/10, 150*time.Millisecond)))
	}
	if d := duration(envTxn); d > 0 {
		p.options = append(p.options, kgo.TransactionTimeout(d))
	}
	p.interval = duration(envInterval)
	if text := os.Getenv(envKill); text != "" {
		name, n, ok := strings.Cut(text, ":")
		after, err := strconv.Atoi(n)
		if !ok || err != nil {
			panic(fmt.Sprintf("%s=%s", envKill, text))
		}
		k := &killer{phase: phase(name), log: os.Getenv(envKillLog)}
		k.left.Store(int64(after))
		p.reach = k.reach
		p.hooks = []kgo.Opt{kgo.WithHooks(k)}
	}
	return p
}

// killer kills its own process at a phase of a commit.
type killer struct {
	phase phase
	log   string
	left  atomic.Int64 // commits until it may
	inEnd atomic.Bool  // what is written now belongs to the end of a transaction
}

func (k *killer) reach(ph phase) {
	switch ph {
	case phaseBegun:
		k.inEnd.Store(false)
	case phaseSealed:
		k.inEnd.Store(true)
	case phaseCommitted:
		defer k.left.Add(-1)
	}
	if ph == k.phase && k.left.Load() <= 0 {
		k.kill()
	}
}

// kill is what kill -9 from outside would do at this moment.
func (k *killer) kill() {
	if f, err := os.OpenFile(k.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(f, k.phase)
		f.Close()
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (k *killer) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil {
		return
	}
	switch kmsg.Key(key) {
	case kmsg.Produce:
		k.reach(phaseProduceSent)
	case kmsg.TxnOffsetCommit, kmsg.OffsetCommit: // the latter with offsets-outside
		k.reach(phaseOffsetsSent)
	case kmsg.EndTxn:
		if k.inEnd.Load() {
			k.reach(phaseEndSent)
		}
	}
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (k *killer) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if err != nil {
		return
	}
	switch kmsg.Key(key) {
	case kmsg.TxnOffsetCommit, kmsg.OffsetCommit: // the latter with offsets-outside
		k.reach(phaseOffsetsDone)
	case kmsg.EndTxn:
		if k.inEnd.Load() {
			k.reach(phaseEndDone)
		}
	}
}

var (
	_ kgo.HookBrokerWrite = (*killer)(nil)
	_ kgo.HookBrokerRead  = (*killer)(nil)
)
