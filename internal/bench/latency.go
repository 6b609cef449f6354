package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/segmentio/encoding/json"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The chain: this process produces as ingest does (events and marks in
// transactions), two instances detect, one correlates, and this process reads
// the alerts as a SIEM would, committed ones only.
const (
	detectors = 2
	// probeEvery is the time between two records that each must become an
	// alert.
	probeEvery = 20 * time.Millisecond
	// restartAfter is how long a killed instance is away: what a supervisor
	// (compose, Kubernetes, systemd) takes to start it again.
	restartAfter = time.Second
	// patience is how long the last alerts are waited for.
	patience = 60 * time.Second
)

// latency measures the time from a record to its alert.
func (r *run) latency(ctx context.Context) (*LatencyReport, error) {
	s := r.spec("chain")
	s.MaxKeys = 500_000
	partitions := r.cfg.Partitions
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if err := ensure(ctx, adm, s, partitions); err != nil {
		return nil, err
	}
	defer func() {
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := drop(own, adm, s, partitions); err != nil {
			r.log.Debug("delete the topics of the chain", "error", err)
		}
	}()
	c := &chain{run: r, spec: s, probes: map[string]*probe{}, services: map[string]*process{}}
	defer c.killAll()
	for i := range detectors {
		if err := c.start(ctx, phaseDetector, i); err != nil {
			return nil, err
		}
	}
	if err := c.start(ctx, phaseCorrelate, 0); err != nil {
		return nil, err
	}
	siem, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.ConsumeTopics(s.topic("alerts")), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer siem.Close()
	own, stop := context.WithCancel(ctx)
	defer stop()
	read := make(chan error, 1)
	go func() { read <- c.read(own, siem) }()
	produced := make(chan error, 1)
	producing, quiet := context.WithCancel(ctx)
	defer quiet()
	go func() { produced <- c.produce(producing, partitions) }()

	warm := r.cfg.Latency / 4
	steps := []struct {
		what string
		stage
		lasts time.Duration
		do    func() error
	}{
		{"chain, warming up", stageWarm, warm, nil},
		{"chain, record to alert", stageSteady, r.cfg.Latency, nil},
		{"chain, while an instance is killed", stageKilled, r.cfg.Latency, func() error { return c.crash(ctx) }},
	}
	for _, step := range steps {
		c.enter(step.stage)
		if step.do != nil {
			if err := step.do(); err != nil {
				return nil, err
			}
		}
		for began := time.Now(); time.Since(began) < step.lasts; {
			select {
			case err := <-produced:
				return nil, errors.Join(errors.New("the producer ended early"), err)
			case err := <-read:
				return nil, errors.Join(errors.New("the reader of the alerts ended early"), err)
			case <-time.After(100 * time.Millisecond):
			}
			if err := c.failed(); err != nil {
				return nil, err
			}
			r.cfg.Progress(step.what, float64(time.Since(began))/float64(step.lasts))
		}
	}
	quiet()
	if err := <-produced; err != nil {
		return nil, err
	}
	for waited := time.Now(); c.missing() > 0 && time.Since(waited) < patience; {
		time.Sleep(50 * time.Millisecond)
		r.cfg.Progress("chain, the last alerts", float64(time.Since(waited))/float64(patience))
	}
	stop()
	if err := <-read; err != nil {
		return nil, err
	}
	return c.report(), nil
}

// stage says what goes on while a record is produced.
type stage int

const (
	stageWarm stage = iota
	stageSteady
	stageKilled
)

type probe struct {
	stage stage
	sent  time.Time
	took  time.Duration // 0: no alert yet
}

// chain is the running services, and what was sent through them.
type chain struct {
	run  *run
	spec *spec

	mu       sync.Mutex
	stage    stage
	probes   map[string]*probe // by source address
	records  int64
	behind   time.Duration // most that the producer was late
	services map[string]*process
	broken   error
}

func (c *chain) start(ctx context.Context, phase string, slot int) error {
	s := *c.spec
	s.Phase, s.Slot = phase, strconv.Itoa(slot)
	p, err := c.run.start(ctx, &s)
	if err != nil {
		return err
	}
	name := phase + s.Slot
	c.mu.Lock()
	c.services[name] = p
	c.mu.Unlock()
	wait, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	select {
	case n, ok := <-p.news:
		if !ok || !n.Ready {
			return fmt.Errorf("%s: did not become ready: %s", name, n.Error)
		}
	case <-wait.Done():
		return fmt.Errorf("%s: not ready: %w", name, wait.Err())
	}
	go func() {
		for n := range p.news {
			if n.Error != "" {
				c.mu.Lock()
				if c.services[name] == p {
					c.broken = errors.Join(c.broken, fmt.Errorf("%s: %s", name, n.Error))
				}
				c.mu.Unlock()
			}
		}
	}()
	return nil
}

func (c *chain) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// crash kills an instance of detect and starts it again, as its supervisor
// would.
func (c *chain) crash(ctx context.Context) error {
	name := phaseDetector + "0"
	c.mu.Lock()
	p := c.services[name]
	delete(c.services, name)
	c.mu.Unlock()
	p.kill()
	go func() {
		time.Sleep(restartAfter)
		if err := c.start(ctx, phaseDetector, 0); err != nil && ctx.Err() == nil {
			c.mu.Lock()
			c.broken = errors.Join(c.broken, err)
			c.mu.Unlock()
		}
	}()
	return nil
}

func (c *chain) killAll() {
	c.mu.Lock()
	services := c.services
	c.services = map[string]*process{}
	c.mu.Unlock()
	for _, p := range services {
		p.kill()
	}
}

func (c *chain) enter(s stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = s
}

// missing is how many records have not become alerts yet.
func (c *chain) missing() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.probes {
		if p.took == 0 {
			n++
		}
	}
	return n
}

// produce writes events at the wanted rate, and marks, in transactions as
// ingest does.
func (c *chain) produce(ctx context.Context, partitions int32) error {
	interval, markEvery := 200*time.Millisecond, time.Second // the defaults of ingest
	if c.spec.Embedded {
		interval, markEvery = time.Second, 5*time.Second
	}
	p, err := stream.NewProducer(stream.ProducerConfig{Service: c.spec.topic("ingest"), Slot: "0", Brokers: c.spec.Brokers, Embedded: c.spec.Embedded}, c.run.log)
	if err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	defer p.Close()
	// The producer finishes what it has begun: a transaction that is cut off
	// would only make the reader wait.
	own := context.WithoutCancel(ctx)
	l := newLoad(c.run.cfg.Active, c.run.cfg.Active, c.run.cfg.LatencyRate, time.Now().UnixMicro())
	events := c.spec.topic("events")
	began, marked := time.Now(), time.Now()
	sent, probes := int64(0), 0
	for ctx.Err() == nil {
		if err := p.Begin(); err != nil {
			return err
		}
		txn := time.Now()
		for time.Since(txn) < interval && ctx.Err() == nil {
			for due := int64(time.Since(began).Seconds() * float64(c.run.cfg.LatencyRate)); sent < due; sent++ {
				key, value := l.record(sent)
				p.Produce(own, stream.Record{Topic: events, Partition: stream.ByKey, Kind: event.KindFlow.String(), V: event.Version, Key: key, Value: value})
			}
			for due := int(time.Since(began) / probeEvery); probes < due; probes++ {
				now := time.Now()
				key, value := l.probe(probes, now.UnixMicro())
				c.mu.Lock()
				c.probes[probeAddr(probes).String()] = &probe{stage: c.stage, sent: now}
				c.mu.Unlock()
				p.Produce(own, stream.Record{Topic: events, Partition: stream.ByKey, Kind: event.KindConn.String(), V: event.Version, Key: key, Value: value})
			}
			time.Sleep(2 * time.Millisecond)
		}
		if time.Since(marked) >= markEvery || ctx.Err() != nil {
			marked = time.Now()
			low := marked.Add(-2 * time.Second).UnixMicro()
			value := markValue(append(l.marks(low, uint64(sent)),
				event.SourceMark{Type: "zeek", Name: "probe", Realm: site.DefaultRealm, Stream: event.KindConn.String(), Low: low, Records: uint64(probes), Promise: true}), "bench")
			for i := range partitions {
				p.Produce(own, stream.Record{Topic: events, Partition: i, Kind: event.KindMark.String(), V: event.Version, Key: []byte("mark"), Value: value})
			}
		}
		if err := p.Commit(own); err != nil {
			return err
		}
		c.mu.Lock()
		c.records = sent
		c.behind = max(c.behind, time.Since(began)-time.Duration(float64(sent)/float64(c.run.cfg.LatencyRate)*float64(time.Second)))
		c.mu.Unlock()
	}
	return nil
}

// read takes the alerts.
func (c *chain) read(ctx context.Context, cl *kgo.Client) error {
	var doc struct {
		Source struct {
			IP string `json:"ip"`
		} `json:"source"`
	}
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read alerts: %w", err)
		}
		now := time.Now()
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			doc.Source.IP = ""
			if err := json.Unmarshal(r.Value, &doc); err != nil {
				failed = fmt.Errorf("read alerts: %w", err)
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if p := c.probes[doc.Source.IP]; p != nil && p.took == 0 {
				p.took = now.Sub(p.sent)
			}
		})
		if failed != nil {
			return failed
		}
	}
}

func (c *chain) report() *LatencyReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[stage][]time.Duration{}
	out := &LatencyReport{RecordsPerS: c.run.cfg.LatencyRate, Records: c.records, ProducerBehindS: c.behind.Seconds(), Detectors: detectors, RestartS: restartAfter.Seconds()}
	for _, p := range c.probes {
		switch {
		case p.took > 0:
			by[p.stage] = append(by[p.stage], p.took)
		case p.stage == stageKilled:
			out.Killed.Missing++
		case p.stage == stageSteady:
			out.Steady.Missing++
		}
	}
	out.Steady.of(by[stageSteady])
	out.Killed.of(by[stageKilled])
	return out
}

// bounds of the histogram, in seconds.
var bounds = []float64{0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 30, 60}

// of fills in a distribution.
func (d *Distribution) of(list []time.Duration) {
	slices.Sort(list)
	d.Alerts = len(list)
	if len(list) == 0 {
		return
	}
	at := func(q float64) float64 { return list[min(int(q*float64(len(list))), len(list)-1)].Seconds() }
	d.P50, d.P95, d.P99, d.Max = at(0.50), at(0.95), at(0.99), list[len(list)-1].Seconds()
	for _, b := range bounds {
		n, _ := slices.BinarySearch(list, time.Duration(b*float64(time.Second)))
		d.Histogram = append(d.Histogram, Bucket{UpTo: b, Alerts: n})
	}
}
