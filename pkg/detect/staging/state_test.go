package staging_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/staging"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const minute = int64(60) // seconds, as proc.at

func names(s *signal.Signal) string {
	var out []string
	for _, p := range s.Points {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

// TestScripts holds that a script is known by what it opens, in either order.
func TestScripts(t *testing.T) {
	t.Parallel()
	read := proc{name: "python3", cmd: "python3 /opt/b.py", file: "/etc/secrets/db", pid: 7, at: 10}
	write := proc{name: "python3", cmd: "python3 /opt/b.py", file: "/tmp/.cache.zip", pid: 7, at: 20}
	for name, tc := range map[string]struct {
		in   []proc
		want string
	}{
		"reads, then writes":       {[]proc{read, write}, "secret_folder archiver files_opened out_of_sight"},
		"writes, then reads":       {[]proc{write, read}, "secret_folder archiver files_opened out_of_sight"},
		"reads only":               {[]proc{read}, ""},
		"writes only":              {[]proc{write}, ""},
		"two processes":            {[]proc{read, {name: "python3", cmd: "python3 x.py", file: "/tmp/x.zip", pid: 8, at: 20}}, ""},
		"two containers":           {[]proc{read, {name: "python3", cmd: "python3 x.py", file: "/tmp/x.zip", pid: 7, at: 20, container: "c1"}}, ""},
		"hours apart":              {[]proc{read, {name: "python3", cmd: "python3 x.py", file: "/tmp/x.zip", pid: 7, at: 20 + 90*minute}}, ""},
		"another kind of program":  {[]proc{{name: "mysqld", file: "/etc/secrets/db", pid: 7}, {name: "mysqld", file: "/tmp/x.zip", pid: 7}}, ""},
		"a program from elsewhere": {[]proc{{name: "x", exe: "/tmp/x", file: "/root/.ssh/id", pid: 7}, {name: "x", exe: "/tmp/x", file: "/data/x.zip", pid: 7}}, "secret_folder archiver files_opened not_from_image"},
		"a backup tool's script":   {[]proc{{name: "python3", parent: "borg", file: "/etc/secrets/db", pid: 7}, {name: "python3", parent: "borg", file: "/data/x.zip", pid: 7}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got strings.Builder
			for _, s := range play(t, "", tc.in...).Context.Final() {
				got.WriteString(names(&s))
			}
			if got.String() != tc.want {
				t.Errorf("got %q, want %q", got.String(), tc.want)
			}
		})
	}
}

// TestContainersAreApart holds that one path in two containers is two findings.
func TestContainersAreApart(t *testing.T) {
	t.Parallel()
	cmd := "tar czf /tmp/x.tgz /run/secrets"
	p := play(t, "", proc{name: "tar", cmd: cmd, container: "c1", pod: "a-1"}, proc{name: "tar", cmd: cmd, container: "c2", pod: "b-1"}, proc{name: "tar", cmd: cmd, container: "host"})
	var got []string
	ids := map[string]bool{}
	for _, s := range p.Context.Final() {
		ids[s.ID] = true
		got = append(got, s.Entity.Host+" "+s.Entity.Pod+" "+s.Entity.Container+" "+s.Subject)
	}
	if d := gocmp.Diff([]string{"web-1 a-1 c1 /run/secrets", "web-1 b-1 c2 /run/secrets", "web-1   /run/secrets"}, got); d != "" || len(ids) != 3 {
		t.Errorf("%d ids: %s", len(ids), d)
	}
}

func TestSeverityFollowsTheClass(t *testing.T) {
	t.Parallel()
	in := proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql"}
	for class, want := range map[string]string{"": "medium", "UNCLASSIFIED": "medium", "INTERNAL": "medium", "PUBLIC": "low", "CONFIDENTIAL": "high", "RESTRICTED": "high"} {
		file := ""
		if class != "" {
			file = "classification: [{host: web-1, class: " + class + "}]\n"
		}
		if s := play(t, file, in).Context.Final()[0]; s.Severity != want || !s.Alert {
			t.Errorf("%s: severity %s, alert %v", class, s.Severity, s.Alert)
		}
	}
}

func TestTuning(t *testing.T) {
	t.Parallel()
	const file = "detectors: {archive-sensitive: {thresholds: {out_of_sight: 0, secret_folder: 2}}}\n"
	st, err := site.Parse([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := detect.CheckSite(st, []detect.Detector{staging.NewArchiveSensitive()}); err != nil {
		t.Fatal(err)
	}
	if s := play(t, file, proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql"}).Context.Final()[0]; s.Score != 3 || s.Alert {
		t.Errorf("score %v, alert %v", s.Score, s.Alert)
	}
}

// anyProcs draws what happens on a few hosts, in order of time.
func anyProcs(t *rapid.T, scripts bool) []proc {
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) proc {
		p := proc{
			name: "tar", host: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"),
			cmd: rapid.SampledFrom([]string{
				"tar cf /tmp/x /etc/secrets", "tar cf - /var/lib/mysql", "tar czf /srv/x.tgz /root/.ssh", "tar cf /data/x /etc/secrets /var/lib/mysql",
			}).Draw(t, "cmd"),
			upper: rapid.Bool().Draw(t, "upper"), at: rapid.Int64Range(0, 9000).Draw(t, "at"),
			file:      rapid.SampledFrom([]string{"", "/etc/secrets/a", "/root/.ssh/id"}).Draw(t, "file"),
			container: rapid.SampledFrom([]string{"", "c1"}).Draw(t, "container"),
		}
		if p.file != "" {
			p.size = rapid.Int64Range(0, 9).Draw(t, "size")
		}
		if scripts && rapid.IntRange(0, 3).Draw(t, "script") == 0 && p.file != "" {
			p.name, p.cmd, p.pid = "python3", "python3 x.py", 1+rapid.IntRange(0, 1).Draw(t, "pid")
			if rapid.Bool().Draw(t, "writes") {
				p.file = "/tmp/x.zip"
			}
		}
		return p
	}), 1, 40).Draw(t, "procs")
	slices.SortStableFunc(list, func(a, b proc) int { return cmp.Compare(a.at, b.at) })
	return list
}

// TestSnapshotAnywhere holds that a set which is replaced by one loaded from
// its snapshot, after any record, says the same in all revisions, though every
// record was overwritten.
func TestSnapshotAnywhere(t *testing.T) {
	t.Parallel()
	st := site.Default()
	rapid.Check(t, func(rt *rapid.T) {
		rec := detecttest.Events(t, st, "falco", events(anyProcs(rt, true)...))
		plain := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive()).Play(rec)
		cut := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
		cut.Scribble = true
		cut.Cut = func(p *detecttest.Player) {
			if rapid.IntRange(0, 4).Draw(rt, "cut") == 0 {
				p.Reload(nil, staging.NewArchiveSensitive())
			}
		}
		cut.Play(rec)
		if d := gocmp.Diff(plain.Context.Signals, cut.Context.Signals); d != "" {
			rt.Fatal(d)
		}
	})
}

// mark applies a mark that the sensor is complete.
func mark(p *detecttest.Player, low int64, closing bool) {
	m := event.Mark{Instance: "test", Full: true, Closing: closing, Sources: []event.SourceMark{
		{Type: "falco", Name: "falco", Realm: site.DefaultRealm, Low: low},
	}}
	data, err := m.Append(nil)
	if err != nil {
		p.Context.TB.Fatal(err)
	}
	rec := operator.Record{Topic: "ebb.host.v1", Offset: p.Offset, Time: low, Kind: event.KindMark.String(), Key: []byte("mark"), Value: data}
	p.Offset++
	if err := p.Set.Apply(&rec, p.Context); err != nil {
		p.Context.TB.Fatal(err)
	}
}

// TestOrderDoesNotMatter holds that the final signals are a function of the
// events, not of their order within lateness. Scripts are left out: when the
// second half of one becomes known depends on the order.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	const lateness = 12 * minute
	st := site.Default()
	run := func(list []proc) []signal.Signal {
		p := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
		p.NoMarks = true
		now := int64(0)
		for i, r := range detecttest.Events(t, st, "falco", events(list...)) {
			now = max(now, list[i].at)
			p.Feed(detecttest.Recording{r})
			if i%3 == 0 {
				mark(p, base+(now-lateness)*1_000_000, false)
			}
		}
		mark(p, base+(now+180*minute)*1_000_000, false)
		mark(p, base+(now+180*minute)*1_000_000, true)
		var out []signal.Signal
		for _, s := range p.Context.Final() {
			if s.Score >= s.Floor {
				s.Revision, s.Evidence, s.Complete = 0, nil, 0
				out = append(out, s)
			}
		}
		slices.SortFunc(out, func(a, b signal.Signal) int { return cmp.Compare(a.ID, b.ID) })
		return out
	}
	rapid.Check(t, func(rt *rapid.T) {
		list := anyProcs(rt, false)
		type delivery struct {
			at int64
			p  proc
		}
		var late []delivery
		for _, p := range list {
			late = append(late, delivery{p.at + rapid.Int64Range(0, lateness-1).Draw(rt, "late"), p})
		}
		slices.SortStableFunc(late, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
		var shuffled []proc
		for _, d := range late {
			shuffled = append(shuffled, d.p)
		}
		if d := gocmp.Diff(run(list), run(shuffled)); d != "" {
			rt.Fatal(d)
		}
	})
}

// TestDamagedState holds that a damaged snapshot is an error or loads, and
// never panics.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	st := site.Default()
	p := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
	in := []proc{{name: "tar", cmd: "tar cf /tmp/x /etc/secrets", file: "/etc/secrets/a", size: 5}, {name: "python3", file: "/etc/secrets/a", pid: 5}}
	p.Feed(detecttest.Events(t, st, "falco", events(in...)))
	for b := range p.Set.Buckets() {
		data := p.Set.AppendBucket(nil, b)
		for i := range data {
			fresh := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
			if err := fresh.Set.LoadBucket(b, data[:i]); err == nil && i > 0 {
				t.Fatalf("%d of %d bytes load", i, len(data))
			}
			bent := slices.Clone(data)
			bent[i] ^= 0x55
			if err := fresh.Set.LoadBucket(b, bent); err == nil {
				fresh.Play(detecttest.Events(t, st, "falco", events(in...)))
			}
		}
	}
}

// probe hands its environment to a function: what a state is called with
// exists only during a call.
type probe struct {
	detect.Detector
	run func(env *detect.Env)
}

func (p probe) New() detect.State                     { return p }
func (p probe) Apply(_ *event.Event, env *detect.Env) { p.run(env) }
func (p probe) Next() detect.Timer                    { return detect.NoTimer }
func (p probe) Advance(*detect.Env)                   {}
func (p probe) Expired(int64) bool                    { return true }
func (p probe) Append(dst []byte) []byte              { return dst }
func (p probe) Load([]byte) error                     { return nil }

func inside(tb testing.TB, run func(env *detect.Env)) {
	tb.Helper()
	p := detecttest.NewPlayer(tb, nil, probe{staging.NewArchiveSensitive(), run})
	p.NoMarks = true
	p.Feed(detecttest.Events(tb, site.Default(), "falco", events(proc{name: "ls"})))
}

// ordinary are events that have nothing to do with archives.
var ordinary = []proc{
	{name: "nginx", exe: "/usr/sbin/nginx", cmd: "nginx: worker process", file: "/var/www/html/index.html"},
	{name: "sh", exe: "/bin/sh", cmd: "sh -c ps aux | grep -v grep | awk '{print $2}' > /run/pids", parent: "cron"},
	{name: "cat", exe: "/bin/cat", cmd: "cat /etc/passwd", file: "/etc/passwd"},
	{name: "python3", exe: "/usr/bin/python3.11", cmd: "/usr/bin/python3 /usr/bin/networkd-dispatcher --run-startup-triggers", file: "/etc/hosts"},
}

func TestOrdinaryEventsCostNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	inside(t, func(env *detect.Env) {
		state := staging.NewArchiveSensitive().New()
		list := events(ordinary...)
		if n := testing.AllocsPerRun(200, func() {
			for i := range list {
				state.Apply(&list[i], env)
			}
		}); n != 0 {
			t.Errorf("%v allocations for %d events", n, len(list))
		}
	})
}

func BenchmarkApply(b *testing.B) {
	var archives []proc
	for i := range 64 {
		archives = append(archives, proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql", file: fmt.Sprintf("/var/lib/postgresql/%d", i)})
	}
	for name, in := range map[string][]proc{"ordinary": ordinary, "archive": archives} {
		b.Run(name, func(b *testing.B) {
			inside(b, func(env *detect.Env) {
				state, list := staging.NewArchiveSensitive().New(), events(in...)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					state.Apply(&list[i%len(list)], env)
					i++
				}
			})
		})
	}
}
