package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Wrong use ends with one clear line that says what and where, and exit 2 or
// 1; never with a stack trace.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // after the parallel tests below
	unknown := write("unknown.yaml", "kafka: {borkers: [a:1]}\n")
	badSite := write("site.yaml", "detectors: {dns-tunel: {mode: off}}\n")
	locked := filepath.Join(dir, "data")
	broker := start(t, "ebbwatch", "broker", "--listen", "127.0.0.1:0", "--data", locked)
	eventually(t, "the broker", func() bool { return strings.Contains(broker.log(), "serves") })

	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"unknown key":              {[]string{"detect", "-config", unknown}, 2, []string{"borkers", "unknown.yaml"}},
		"missing file":             {[]string{"detect", "-config", filepath.Join(dir, "none.yaml")}, 2, []string{"none.yaml"}},
		"unknown flag":             {[]string{"correlate", "-nope"}, 2, []string{"-nope"}},
		"unknown detector in site": {[]string{"detect", "-site", badSite}, 2, []string{"dns-tunel", badSite}},
		"missing site":             {[]string{"detect", "-site", filepath.Join(dir, "no.yaml")}, 2, []string{"no.yaml"}},
		"admin port taken":         {[]string{"correlate", "-admin.listen", taken.Addr().String()}, 1, []string{taken.Addr().String(), "in use"}},
		"nothing to read":          {[]string{"ingest-zeek"}, 2, []string{"sources"}},
		"broker port taken":        {[]string{"ebbwatch", "broker", "--listen", taken.Addr().String()}, 1, []string{"in use"}},
		"broker folder locked":     {[]string{"ebbwatch", "broker", "--listen", "127.0.0.1:0", "--data", locked}, 1, []string{locked, "in use"}},
		"broker for everyone":      {[]string{"ebbwatch", "broker", "--listen", "0.0.0.0:0"}, 2, []string{"loopback"}},
		"unknown command":          {[]string{"ebbwatch", "hnut"}, 2, []string{"hnut"}},
		"unknown hunt flag":        {[]string{"ebbwatch", "hunt", "--jsn", dir}, 2, []string{"--jsn"}},
		"hunt in nothing":          {[]string{"ebbwatch", "hunt", filepath.Join(dir, "none")}, 2, []string{"none"}},
		"hunt with a bad site":     {[]string{"ebbwatch", "hunt", "--site", badSite, dir}, 2, []string{"dns-tunel"}},
		"hunt with a bad network":  {[]string{"ebbwatch", "hunt", "--home-net", "10.0.0.0/99", dir}, 2, []string{"10.0.0.0/99"}},
		"doctor of nothing":        {[]string{"ebbwatch", "doctor"}, 2, []string{"--kafka"}},
		"suggest with a bad site":  {[]string{"ebbwatch", "site", "suggest", "--site", badSite, dir}, 2, []string{"dns-tunel"}},
		"test of nothing":          {[]string{"ebbwatch", "test"}, 2, []string{"RULES_TEST.yaml"}},
		"test without a file":      {[]string{"ebbwatch", "test", filepath.Join(dir, "none.yaml")}, 2, []string{"none.yaml"}},
		"test, no file of tests":   {[]string{"ebbwatch", "test", badSite}, 2, []string{badSite, "detectors"}},
		"tune with nothing":        {[]string{"ebbwatch", "tune", dir}, 2, []string{"--site", "--set"}},
		"tune with a bad site":     {[]string{"ebbwatch", "tune", "--site", badSite, "--kafka", freePort(t)}, 2, []string{"dns-tunel"}},
		"tune, no such threshold":  {[]string{"ebbwatch", "tune", "--set", "dns-tunnel.bites=3", dir}, 2, []string{"dns-tunnel", "bites"}},
		"tune, no setting":         {[]string{"ebbwatch", "tune", "--set", "dns-tunnel", dir}, 2, []string{"DETECTOR.NAME=VALUE"}},
		"tune of both":             {[]string{"ebbwatch", "tune", "--set", "dns-tunnel.alert=3", "--from", "24h", dir}, 2, []string{"--from"}},
		"baseline of a name":       {[]string{"ebbwatch", "baseline", "show", "db-1"}, 2, []string{"db-1", "address"}},
		"purge of no time":         {[]string{"ebbwatch", "baseline", "purge", "10.0.0.5", "--by", "kim", "--why", "x"}, 2, []string{"--from", "--all"}},
		"purge by nobody":          {[]string{"ebbwatch", "baseline", "purge", "10.0.0.5", "--all", "--why", "x"}, 2, []string{"--by"}},
		"purge backwards":          {[]string{"ebbwatch", "baseline", "purge", "10.0.0.5", "--from", "1h", "--to", "2h", "--by", "kim", "--why", "x"}, 2, []string{"--to is before --from"}},
		"export as a table":        {[]string{"ebbwatch", "baseline", "export", "--format", "table"}, 2, []string{"--format"}},
		"audit, broker away":       {[]string{"ebbwatch", "baseline", "audit", "--kafka", freePort(t)}, 1, []string{"not reachable"}},
		"verdict of nothing":       {[]string{"ebbwatch", "verdict"}, 2, []string{"--by", "--why"}},
		"verdict, unknown word":    {[]string{"ebbwatch", "verdict", "a1", "maybe", "--by", "kim", "--why", "x"}, 2, []string{"maybe", "benign"}},
		"verdict by nobody":        {[]string{"ebbwatch", "verdict", "a1", "benign", "--why", "x"}, 2, []string{"--by"}},
		"verdict without a reason": {[]string{"ebbwatch", "verdict", "a1", "benign", "--by", "kim", "--why", " "}, 2, []string{"--why is empty"}},
		"verdict, broker away":     {[]string{"ebbwatch", "verdict", "a1", "benign", "--by", "kim", "--why", "x", "--kafka", freePort(t)}, 1, []string{"no broker answers"}},
		"deployment of nothing":    {[]string{"ebbwatch", "deployment", "begin", "--by", "kim", "--why", "x"}, 2, []string{"--namespace"}},
		"deployment for too long":  {[]string{"ebbwatch", "deployment", "begin", "--namespace", "shop", "--until", "31m", "--by", "kim", "--why", "x"}, 2, []string{"--until 31m0s", "at most 30m0s"}},
		"deployment, bad duration": {[]string{"ebbwatch", "deployment", "begin", "--namespace", "shop", "--until", "soon", "--by", "kim", "--why", "x"}, 2, []string{"--until", "soon"}},
		"deployment end, no name":  {[]string{"ebbwatch", "deployment", "end", "--namespace", "shop", "--why", "x"}, 2, []string{"--by"}},
		"run without a source":     {[]string{"ebbwatch", "run", "-admin.listen", ""}, 2, []string{"nothing to read"}},
		"run, unknown key":         {[]string{"ebbwatch", "run", "-config", unknown}, 2, []string{"borkers"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, tc.args[0], tc.args[1:]...)
			if code != tc.code {
				t.Errorf("exit %d, want %d", code, tc.code)
			}
			last := stderr
			if i := strings.LastIndexByte(strings.TrimSuffix(stderr, "\n"), '\n'); i >= 0 {
				last = stderr[i+1:] // log lines may come before it
			}
			if !oneLine(last) || strings.Contains(stderr, "goroutine ") || stdout != "" {
				t.Errorf("stderr %q, stdout %q", stderr, stdout)
			}
			for _, w := range tc.want {
				if !strings.Contains(last, w) {
					t.Errorf("%q does not name %q", last, w)
				}
			}
		})
	}
}

// A broker that is away at the start is tried again, and the log says so;
// SIGTERM ends the waiting with exit 0.
func TestBrokerAwayAtStart(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	dir := t.TempDir()
	for _, args := range [][]string{{"detect"}, {"correlate"}, {"ingest-zeek", "-paths", dir}} {
		p := start(t, args[0], append(args[1:], "-kafka.brokers", address, "-admin.listen", "127.0.0.1:0")...)
		eventually(t, args[0]+" to say that the broker is away", func() bool {
			return strings.Contains(p.log(), address+" is not reachable, retrying in")
		})
		began := time.Now()
		p.stop()
		t.Logf("%s ended %s after SIGTERM", args[0], time.Since(began).Round(time.Millisecond))
	}
}

// Unreadable input of a hunt is one clear line; what can be read is read.
func TestHuntUnreadableInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "noise.bin")
	if err := os.WriteFile(path, []byte{0, 1, 2, 3, 0xff, 0xfe, 'x'}, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := run(t, "ebbwatch", "hunt", path)
	if code != 0 || !strings.Contains(stderr, "unknown_format") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	code, _, stderr = run(t, "ebbwatch", "hunt", dir)
	if code != 2 || !strings.Contains(stderr, "format not recognised") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

// Flags that every program has.
func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(binaries)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 8 {
		t.Fatalf("only %d binaries", len(entries))
	}
	for _, e := range entries {
		help, version := "-help", "-version"
		if e.Name() == "ebbwatch" {
			help, version = "--help", "--version"
		}
		for _, flag := range []string{help, version} {
			if code, stdout, stderr := run(t, e.Name(), flag); code != 0 || stdout == "" || stderr != "" {
				t.Errorf("%s %s: exit %d, stdout %q, stderr %q", e.Name(), flag, code, stdout, stderr)
			}
		}
	}
	if code, stdout, _ := run(t, "detect", "-config.check", "-kafka.sasl.user", "u", "-kafka.sasl.mechanism", "PLAIN", "-kafka.sasl.password", "hunter2"); code != 0 || strings.Contains(stdout, "hunter2") || !strings.Contains(stdout, "***") {
		t.Errorf("-config.check: exit %d, %q", code, stdout)
	}
}
