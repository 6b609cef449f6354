package staging_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/detect/staging"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

const base = int64(1_795_430_000_000_000)

// proc is one event of a host sensor.
type proc struct {
	name, exe, cmd, cwd, file, parent string
	ancestors                         []string
	upper                             bool
	host                              string
	at                                int64 // seconds
	size                              int64
}

func (p proc) event() event.Event {
	e := event.Event{Kind: event.KindProcess, Time: base + p.at*1_000_000}
	e.Observer.Type, e.Host.Name = "falco", "web-1"
	if p.host != "" {
		e.Host.Name = p.host
	}
	e.Process = event.Process{Name: p.name, Executable: p.exe, CommandLine: p.cmd, WorkingDirectory: p.cwd, Parent: p.parent, Ancestors: p.ancestors, UpperLayer: p.upper}
	if p.file != "" {
		e.Kind, e.File.Path = event.KindFile, p.file
	}
	if p.size > 0 {
		e.File.Size = event.N(p.size)
	}
	return e
}

func events(list ...proc) (out []event.Event) {
	for _, p := range list {
		out = append(out, p.event())
	}
	return out
}

func play(tb testing.TB, siteFile string, list ...proc) *detecttest.Player {
	tb.Helper()
	st, err := site.Parse([]byte(siteFile))
	if err != nil {
		tb.Fatal(err)
	}
	p := detecttest.NewPlayer(tb, []byte(siteFile), staging.NewArchiveSensitive())
	p.Scribble = true
	return p.Play(detecttest.Events(tb, st, "falco", events(list...)))
}

func TestWhatIsStagingAndWhatNot(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in      proc
		score   float64 // 0: no signal
		subject string
	}{
		"database to a temp file":      {proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql"}, 4, "/var/lib/postgresql"},
		"relative after cd, streamed":  {proc{name: "tar", cmd: "tar c .", cwd: "/etc/secrets"}, 4, "/etc/secrets"},
		"tar with -C":                  {proc{name: "tar", cmd: "tar -C /etc/secrets -czf /tmp/x.tgz .", cwd: "/"}, 4, "/etc/secrets"},
		"only opened":                  {proc{name: "tar", cmd: "tar cf out.tar -T list", cwd: "/work", file: "/var/lib/kubelet/pki/x.key"}, 4, "/var/lib/kubelet"},
		"opened and named":             {proc{name: "zip", cmd: "zip -r /dev/shm/.z.zip /run/secrets", file: "/run/secrets/db"}, 5, "/run/secrets"},
		"ssh keys anywhere":            {proc{name: "7z", cmd: "7z a /tmp/k.7z /data/user/.ssh"}, 4, "/data/user/.ssh"},
		"python with tarfile":          {proc{name: "python3.11", cmd: "python3.11 -c import tarfile;tarfile.open('/tmp/a','w')", file: "/mnt/secrets/a"}, 5, "/mnt/secrets"},
		"renamed, by its executable":   {proc{name: "kworker", exe: "/usr/bin/tar", cmd: "kworker cf - /etc/kubernetes"}, 4, "/etc/kubernetes"},
		"not from the image":           {proc{name: "tar", cmd: "tar cf /data/x.tar /opt/app/config", upper: true}, 5, "/opt/app/config"},
		"by a web server":              {proc{name: "tar", cmd: "tar cf /data/x.tar /opt/app/config", ancestors: []string{"sh", "php-fpm"}}, 5, "/opt/app/config"},
		"a fake backup tool":           {proc{name: "tar", parent: "restic", cmd: "tar cf /tmp/x.tar /etc/secrets", upper: true}, 6, "/etc/secrets"},
		"a home is a signal, no alert": {proc{name: "tar", cmd: "tar czf /data/out.tgz src", cwd: "/home/build/project"}, 2, "/home"},
		"gzip of a dump":               {proc{name: "gzip", cmd: "gzip -9 /var/lib/mysql/dump.sql"}, 4, "/var/lib/mysql"},
		"extraction":                   {proc{name: "tar", cmd: "tar xzf /tmp/x.tgz -C /var/lib/postgresql"}, 0, ""},
		"extraction, long":             {proc{name: "tar", cmd: "tar --extract --file=/tmp/a --directory=/etc/secrets"}, 0, ""},
		"listing":                      {proc{name: "tar", cmd: "tar -tvf /home/a/b.tar"}, 0, ""},
		"gunzip":                       {proc{name: "gzip", cmd: "gzip -dc /var/lib/mysql/dump.sql.gz"}, 0, ""},
		"log rotation":                 {proc{name: "gzip", cmd: "gzip /var/log/syslog.1", parent: "logrotate"}, 0, ""},
		"package manager":              {proc{name: "tar", cmd: "tar -x -m -f - ./control", cwd: "/var/lib/dpkg/tmp.ci"}, 0, ""},
		"manual pages":                 {proc{name: "gzip", cmd: "gzip -c7 /usr/share/man/man1/x.1"}, 0, ""},
		"restic":                       {proc{name: "restic", cmd: "restic backup /var/lib/postgresql"}, 0, ""},
		"a backup tool's child":        {proc{name: "tar", cmd: "tar cf - /var/lib/postgresql", ancestors: []string{"sh", "velero"}}, 0, ""},
		"the archive lies in a home":   {proc{name: "tar", cmd: "tar czf /home/build/out.tgz /usr/src/app", cwd: "/usr/src"}, 0, ""},
		"cat is no archiver":           {proc{name: "cat", cmd: "cat /etc/secrets/x", file: "/etc/secrets/x"}, 0, ""},
		"python without archive":       {proc{name: "python3", cmd: "python3 app.py", file: "/run/secrets/db"}, 0, ""},
		"a prefix is not a folder":     {proc{name: "tar", cmd: "tar cf /tmp/a /home2/x"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			final := play(t, "", tc.in).Context.Final()
			if tc.score == 0 {
				if len(final) > 0 {
					t.Errorf("a signal: %+v", final[0])
				}
				return
			}
			if len(final) != 1 || final[0].Score != tc.score || final[0].Subject != tc.subject {
				t.Fatalf("signals %+v, want score %v of %s", final, tc.score, tc.subject)
			}
			if got, want := final[0].Alert, tc.score >= 4; got != want {
				t.Errorf("alert %v, want %v", got, want)
			}
		})
	}
}

func TestTheSignalTellsTheStory(t *testing.T) {
	t.Parallel()
	cmd := "tar czf /tmp/x.tgz /var/lib/postgresql"
	var in []proc
	for i := range 20 {
		in = append(in, proc{name: "tar", cmd: cmd, file: fmt.Sprintf("/var/lib/postgresql/%d", i), at: int64(i), size: 1000})
	}
	siteFile := "classification: [{host: web-1, class: RESTRICTED}]\n"
	p := play(t, siteFile, in...)
	final := p.Context.Final()
	if len(final) != 1 {
		t.Fatalf("%d signals", len(final))
	}
	s := final[0]
	if s.Bytes == nil || *s.Bytes != 20_000 || s.Classification != "RESTRICTED" || s.Entity.Host != "web-1" || s.First != base || s.Time != base+19_000_000 {
		t.Errorf("signal %+v", s)
	}
	if !strings.Contains(s.Reason, "/var/lib/postgresql") || len(s.Evidence) == 0 || len(s.Evidence) > 6 {
		t.Errorf("reason %q, %d pieces of evidence", s.Reason, len(s.Evidence))
	}
	if n := len(p.Context.Signals); n > 8 {
		t.Errorf("%d revisions of 20 events", n)
	}
}

func TestBackupHostsAreExempt(t *testing.T) {
	t.Parallel()
	if got := play(t, "backup_sources: [web-1]\n", proc{name: "tar", cmd: "tar cf /tmp/x /etc/secrets"}).Context.Final(); len(got) > 0 {
		t.Errorf("a signal: %+v", got[0])
	}
}

func TestAFloodIsBounded(t *testing.T) {
	t.Parallel()
	p := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
	st := site.Default()
	var in []proc
	for i := range 5000 {
		in = append(in, proc{name: "tar", cmd: "tar cf /tmp/x /d" + fmt.Sprint(i) + "/.ssh", at: int64(i / 100)})
	}
	p.Context.Quiet = true
	p.Feed(detecttest.Events(t, st, "falco", events(in...)))
	size := 0
	for _, b := range p.Save().Buckets {
		size += len(b)
	}
	if size > 1<<20 {
		t.Errorf("%d bytes of state", size)
	}
}

// any draws events of a few hosts, folders and times.
func anyEvents(t *rapid.T) []proc {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) proc {
		return proc{
			name: "tar", host: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"),
			cmd:   rapid.SampledFrom([]string{"tar cf /tmp/x /etc/secrets", "tar cf - /var/lib/mysql", "tar czf /srv/x.tgz /root/.ssh"}).Draw(t, "cmd"),
			upper: rapid.Bool().Draw(t, "upper"), at: rapid.Int64Range(0, 9000).Draw(t, "at"),
			file: rapid.SampledFrom([]string{"", "/etc/secrets/a", "/root/.ssh/id"}).Draw(t, "file"),
		}
	}), 1, 40).Draw(t, "events")
}

// A snapshot between any two records, loaded into a new set, changes nothing.
func TestSnapshotAnywhere(t *testing.T) {
	t.Parallel()
	st := site.Default()
	rapid.Check(t, func(rt *rapid.T) {
		rec := detecttest.Events(t, st, "falco", events(anyEvents(rt)...))
		plain := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive()).Play(rec)
		cut := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
		cut.Cut = func(p *detecttest.Player) { p.Reload(nil, staging.NewArchiveSensitive()) }
		cut.Play(rec)
		if d := cmp.Diff(plain.Context.Signals, cut.Context.Signals, cmpopts.EquateEmpty()); d != "" {
			rt.Fatal(d)
		}
	})
}

// The attack of the demonstration, in Falco's real format, is found; the
// samples of Falco's own are not.
func TestSamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "data", "samples", "falco", "*"))
	if err != nil || len(paths) == 0 {
		t.Skip("the public samples are not beside the checkout")
	}
	st := site.Default()
	for _, path := range paths {
		p := detecttest.NewPlayer(t, nil, staging.NewArchiveSensitive())
		p.Play(detecttest.Falco(t, st, path))
		for _, s := range p.Context.Final() {
			if s.Alert {
				t.Errorf("%s: %s", filepath.Base(path), s.Reason)
			}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	st := site.Default()
	var in []proc
	for i := range 64 {
		in = append(in, proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql", file: fmt.Sprintf("/var/lib/postgresql/%d", i)})
	}
	p := detecttest.NewPlayer(b, nil, staging.NewArchiveSensitive())
	p.Context.Quiet, p.NoMarks = true, true
	rec := detecttest.Events(b, st, "falco", events(in...))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.Feed(rec[i%64 : i%64+1])
	}
}
