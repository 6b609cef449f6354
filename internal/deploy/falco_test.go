package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const falcoRules = "../../deploy/falco/ebbwatch_rules.yaml"

// item is one element of a rules file; formats.md §4.5.
type item struct {
	Engine    string   `yaml:"required_engine_version"`
	Plugins   []plugin `yaml:"required_plugin_versions"`
	List      string   `yaml:"list"`
	Items     []string `yaml:"items"`
	Macro     string   `yaml:"macro"`
	Rule      string   `yaml:"rule"`
	Desc      string   `yaml:"desc"`
	Condition string   `yaml:"condition"`
	Output    string   `yaml:"output"`
	Priority  string   `yaml:"priority"`
	Tags      []string `yaml:"tags"`
}

type plugin struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
}

// fields are those of Falco's field tables that the rules may use
// (formats.md §4.4; libs, chk. 2026-07), with a value as Falco gives it.
var fields = map[string]any{
	"evt.type": "execve", "evt.res": "SUCCESS", "evt.rawres": 0, "evt.num": 77, "evt.is_open_read": true, "evt.is_open_write": true,
	"evt.arg.type": "vfat", "evt.arg.dir": "/media/stick", "evt.arg.dev": "/dev/sdb1",
	"proc.name": "tar", "proc.cmdline": "tar czf /tmp/a.tgz /etc/secrets", "proc.exepath": "/usr/bin/tar", "proc.cwd": "/root/",
	"proc.pid": 4242, "proc.pname": "bash", "proc.aname": nil, "proc.is_exe_upper_layer": false,
	"fd.name": "/etc/secrets/a", "fd.type": "file", "fd.typechar": "f", "fd.num": 3, "fd.l4proto": "tcp",
	"fd.cip": "10.0.0.5", "fd.cport": 40000, "fd.sip": "203.0.113.9", "fd.sport": 443, "fd.snet": "203.0.113.9",
	"user.name": "root", "user.uid": 0, "user.loginuid": -1,
	"container.id": "4f9d0e2b1c3a", "container.name": "api", "k8s.ns.name": "prod", "k8s.pod.name": "api-0",
}

var operators = []string{
	"and", "or", "not", "in", "intersects", "pmatch", "contains", "icontains", "startswith", "endswith", "glob", "exists", "=", "==", "!=", "<", "<=", ">", ">=",
}

func readRules(t *testing.T) []item {
	t.Helper()
	f, err := os.Open(falcoRules)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var items []item
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&items); err != nil {
		t.Fatal(err)
	}
	return items
}

var token = regexp.MustCompile(`"[^"]*"|'[^']*'|[(),]|[=!<>]+|[^\s(),=!<>"']+`)

// expand puts macros and lists in and reports every name that Falco would not
// know. Falco reads a file from the top: what is used must stand above.
func expand(condition string, macros, lists map[string]string) (string, error) {
	words := token.FindAllString(condition, -1)
	var out []string
	inList := 0 // depth of the brackets of an `in (…)`
	for i, w := range words {
		before := ""
		if i > 0 {
			before = words[i-1]
		}
		switch {
		case w == "(":
			if before == "in" || before == "intersects" || before == "pmatch" || inList > 0 {
				inList++
			}
		case w == ")":
			inList = max(0, inList-1)
		case w == "," || slices.Contains(operators, w):
		case inList > 0:
			if l, ok := lists[w]; ok {
				w = l
			} else if strings.HasPrefix(w, "ebb_") {
				return "", fmt.Errorf("list %s is not defined above", w)
			}
		case before == "" || before == "(" || before == "and" || before == "or" || before == "not":
			name, _, _ := strings.Cut(w, "[")
			if _, ok := fields[name]; ok {
				break
			}
			m, ok := macros[w]
			if !ok {
				return "", fmt.Errorf("%q is neither a field nor a macro above", w)
			}
			w = "(" + m + ")"
		case strings.HasPrefix(w, "ebb_"):
			return "", fmt.Errorf("%s stands where a value belongs", w)
		}
		out = append(out, w)
	}
	return strings.Join(out, " "), nil
}

var outputField = regexp.MustCompile(`%([a-z0-9_.]+)(\[\d+\])?`)

// TestFalcoRules holds the rules to Falco's grammar and fields, and each rule to
// the decoder: an alert with the fields that it names must give an event of the
// kind that its detector reads.
func TestFalcoRules(t *testing.T) {
	t.Parallel()
	macros, lists := map[string]string{}, map[string]string{}
	kinds := map[string]event.Kind{
		"Ebbwatch archiver on sensitive data": event.KindProcess, "Ebbwatch shell or wrapper runs an archiver": event.KindProcess,
		"Ebbwatch unknown program packs data": event.KindProcess, "Ebbwatch sensitive file opened by a packer": event.KindFile,
		"Ebbwatch archive written by a script": event.KindFile, "Ebbwatch secret read": event.KindFile,
		"Ebbwatch transfer tool connects outside": event.KindProcess, "Ebbwatch program of unknown origin connects outside": event.KindProcess,
		"Ebbwatch write to a mounted share": event.KindFile, "Ebbwatch removable media mounted": event.KindDevice,
		"Ebbwatch file written to removable media": event.KindDevice,
	}
	var check strings.Builder
	rules := 0
	for _, it := range readRules(t) {
		switch {
		case it.Engine != "" || it.Plugins != nil:
		case it.List != "":
			lists[it.List] = strings.Join(it.Items, ", ")
		case it.Macro != "":
			c, err := expand(it.Condition, macros, lists)
			if err != nil {
				t.Errorf("macro %s: %v", it.Macro, err)
			}
			macros[it.Macro] = c
		case it.Rule != "":
			rules++
			c, err := expand(it.Condition, macros, lists)
			if err != nil {
				t.Errorf("rule %s: %v", it.Rule, err)
			}
			if strings.Count(c, "(") != strings.Count(c, ")") {
				t.Errorf("rule %s: brackets do not match", it.Rule)
			}
			if it.Desc == "" || !slices.Contains([]string{"NOTICE", "INFORMATIONAL"}, it.Priority) || !slices.Contains(it.Tags, "ebbwatch") {
				t.Errorf("rule %s: desc, priority or tags are missing", it.Rule)
			}
			decodes(t, it, kinds)
			// Fields younger than the library of the check, of the same type.
			old := strings.NewReplacer("proc.is_exe_upper_layer", "proc.is_exe_writable")
			fmt.Fprintf(&check, "%s\t%s\t%s\n", it.Rule, old.Replace(c), old.Replace(strings.Join(strings.Fields(it.Output), " ")))
		default:
			t.Errorf("an item is nothing: %+v", it)
		}
	}
	if rules != len(kinds) {
		t.Errorf("%d rules, the test knows %d", rules, len(kinds))
	}
	// test/real/falco.sh builds a program on the engine's own library.
	program := os.Getenv("EBB_FALCO_CHECK")
	if program == "" {
		t.Log("EBB_FALCO_CHECK is not set: the conditions were not given to Falco's own compiler")
		return
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stdin = strings.NewReader(check.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", program, err, out)
	}
}

// decodes makes the alert that the rule would give and decodes it.
func decodes(t *testing.T, it item, kinds map[string]event.Kind) {
	t.Helper()
	values := map[string]any{"evt.time": int64(1767607200000000001)}
	connects := strings.Contains(it.Output, "%fd.sip")
	for _, m := range outputField.FindAllStringSubmatch(it.Output, -1) {
		v, ok := fields[m[1]]
		if !ok {
			t.Errorf("rule %s: output has %s, which is no field", it.Rule, m[0])
		}
		switch {
		case m[1] == "evt.type" && connects:
			v = "connect"
		case m[1] == "evt.type" && strings.Contains(it.Output, "%fd.name"):
			v = "openat"
		case m[1] == "evt.type" && strings.Contains(it.Output, "%evt.arg.dev"):
			v = "mount"
		case m[1] == "fd.name" && connects:
			v = "10.0.0.5:40000->203.0.113.9:443"
		case m[1] == "fd.type" && connects:
			v = "ipv4"
		case m[1] == "proc.aname":
			v = "sshd"
		}
		values[m[1]+m[2]] = v
	}
	for _, need := range []string{"evt.type", "proc.name", "proc.cmdline", "proc.exepath", "proc.cwd", "proc.pid", "proc.pname", "user.name", "container.id", "k8s.pod.name"} {
		if _, ok := values[need]; !ok {
			t.Errorf("rule %s: output lacks %%%s", it.Rule, need)
		}
	}
	line, err := json.Marshal(map[string]any{
		"hostname": "node-1", "priority": it.Priority, "rule": it.Rule, "source": "syscall", "tags": it.Tags,
		"time": "2026-01-05T10:00:00.000000001Z", "output_fields": values,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got sink
	falco.New().Decode(line, event.Origin{}, &got)
	if len(got.events) != 1 || got.dead != "" {
		t.Fatalf("rule %s: %d events, dead %q", it.Rule, len(got.events), got.dead)
	}
	e := got.events[0]
	if e.Kind != kinds[it.Rule] {
		t.Errorf("rule %s: the event is %v, want %v", it.Rule, e.Kind, kinds[it.Rule])
	}
	if e.Process.Name != "tar" || e.Host.ContainerID == "" || e.Host.Pod == "" || e.Process.Parent != "bash" || len(e.Process.Ancestors) < 2 {
		t.Errorf("rule %s: process or container is not in the event: %+v %+v", it.Rule, e.Process, e.Host)
	}
	if e.Kind == event.KindFile && e.File.Path != "/etc/secrets/a" {
		t.Errorf("rule %s: path %q", it.Rule, e.File.Path)
	}
	if connects && e.Destination.IP.String() != "203.0.113.9" {
		t.Errorf("rule %s: destination %v", it.Rule, e.Destination.IP)
	}
}

type sink struct {
	events []event.Event
	dead   string
}

func (s *sink) Event(e *event.Event)                         { s.events = append(s.events, *e) }
func (s *sink) Ignored(string)                               {}
func (s *sink) Dead(reason string, _ []byte, _ event.Origin) { s.dead = reason }
