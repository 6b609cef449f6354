// Package docs holds the documentation to the code: every detector, rule and
// alert rule has its page, what a page says of defaults is what the code has,
// links lead somewhere, and the site files that are shown are accepted.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ebbwatch/ebbwatch/pkg/correlate"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

// root is the repository, from this folder.
var root = filepath.Join("..", "..")

func read(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// judged are the detectors that judge, and the correlated rules: what has a
// page. A detector without a role only binds identifiers.
func judged() (detectors, rules []detect.Info) {
	for _, d := range pipeline.Detectors() {
		if info := d.Info(); info.Role != "" {
			detectors = append(detectors, info)
		}
	}
	return detectors, correlate.Rules()
}

func TestEveryDetectionHasItsPage(t *testing.T) {
	t.Parallel()
	detectors, rules := judged()
	index := read(t, "docs", "detections", "README.md")
	pages := map[string]bool{"README": true}
	for _, info := range slices.Concat(detectors, rules) {
		pages[info.ID] = true
		page := read(t, "docs", "detections", info.ID+".md")
		if !strings.HasPrefix(page, "# "+info.ID+"\n") {
			t.Errorf("%s: the page's title is not its id", info.ID)
		}
		if !strings.Contains(index, fmt.Sprintf("| [%s](%s.md) |", info.ID, info.ID)) {
			t.Errorf("%s is not in the index", info.ID)
		}
		for _, head := range []string{"What it sees", "What it misses", "Tuning", "When it fires"} {
			if !strings.Contains(page, "\n## "+head+"\n") {
				t.Errorf("%s: no section %q", info.ID, head)
			}
		}
		for _, problem := range thresholds(page, info.Thresholds) {
			t.Errorf("%s: %s", info.ID, problem)
		}
		if want := fmt.Sprintf("Mode `%s`", info.Default.Mode); !strings.Contains(page, "\n"+want) {
			t.Errorf("%s: the page does not begin with %q", info.ID, want)
		}
	}
	for _, info := range detectors {
		page := read(t, "docs", "detections", info.ID+".md")
		alone := "only joined with others"
		if info.Alone {
			alone = fmt.Sprintf("alerts alone from %g points", info.Default.Alert)
		}
		want := fmt.Sprintf("\nMode `%s`, signals from %g points, %s. ATT&CK: %s.\n", info.Default.Mode, info.Default.Floor, alone, strings.Join(info.Technique, ", "))
		if !strings.Contains(page, want) {
			t.Errorf("%s: the page does not say %q", info.ID, strings.TrimSpace(want))
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "docs", "detections", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if id := strings.TrimSuffix(filepath.Base(f), ".md"); !pages[id] {
			t.Errorf("docs/detections/%s.md is of no detector", id)
		}
	}
}

// row is a line of a table of thresholds: name, default, unit.
var row = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([0-9. ]+) \\| ([^|]*) \\|")

// thresholds compares the table of a page with the code.
func thresholds(page string, want []detect.Threshold) (problems []string) {
	told := map[string][2]string{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		told[m[1]] = [2]string{strings.ReplaceAll(m[2], " ", ""), strings.TrimSpace(m[3])}
	}
	for _, th := range want {
		got, ok := told[th.Name]
		delete(told, th.Name)
		n, err := strconv.ParseFloat(got[0], 64)
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("threshold %s is not in the table", th.Name))
		case err != nil || n != th.Default:
			problems = append(problems, fmt.Sprintf("threshold %s is %s on the page and %g in the code", th.Name, got[0], th.Default))
		case got[1] != th.Unit:
			problems = append(problems, fmt.Sprintf("threshold %s is in %s on the page and in %s in the code", th.Name, got[1], th.Unit))
		}
	}
	for name := range told {
		problems = append(problems, "there is no threshold "+name)
	}
	slices.Sort(problems)
	return problems
}

// A table without its numbers right is found.
func TestThresholdsAreCompared(t *testing.T) {
	t.Parallel()
	page := "| `a` | 1 000 | bytes | x |\n| `b` | 2 | points | |\n| `c` | 3 | points | |\n| `gone` | 1 | s | |\n"
	got := thresholds(page, []detect.Threshold{
		{Name: "a", Default: 1000, Unit: "bytes"}, {Name: "b", Default: 2.5, Unit: "points"}, {Name: "c", Default: 3, Unit: "bytes"}, {Name: "d", Default: 1},
	})
	if len(got) != 4 {
		t.Errorf("%d problems instead of 4: %q", len(got), got)
	}
}

func TestEveryAlertRuleHasItsRunbook(t *testing.T) {
	t.Parallel()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Load([]byte(read(t, "deploy", "prometheus", "ebbwatch.rules.yml")), &file); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue // a recording rule
			}
			path := r.Annotations["runbook"]
			if !strings.HasPrefix(path, "docs/runbooks/") {
				t.Errorf("%s: runbook %q does not lie in docs/runbooks", r.Alert, path)
				continue
			}
			used[filepath.Base(path)] = true
			if page := read(t, filepath.FromSlash(path)); !strings.Contains(page, "`"+r.Alert+"`") {
				t.Errorf("%s does not name its alert %s", path, r.Alert)
			}
		}
	}
	if len(used) == 0 {
		t.Fatal("no alert rules found")
	}
	files, err := os.ReadDir(filepath.Join(root, "docs", "runbooks"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "README.md" && !used[f.Name()] {
			t.Errorf("docs/runbooks/%s is of no alert rule", f.Name())
		}
	}
}

// What pages and rules say of a metric is said of one that there is; the page of
// metrics itself is made from the source.
func TestMetricsOfPagesExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (\\w+)").FindAllStringSubmatch(read(t, "docs", "reference", "metrics.md"), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			known[m[1]+"_bucket"], known[m[1]+"_sum"], known[m[1]+"_count"] = true, true, true
		}
	}
	if len(known) < 20 {
		t.Fatalf("only %d metrics are on their page", len(known))
	}
	// Words of the other planes begin alike: fields of a Zeek script, a folder of rules.
	named := regexp.MustCompile(`\b(?:ebbwatch|exfil)_(?:[a-z0-9]+_)*(?:total|seconds|percent|ratio|records|refused|files|in_flight|bucket|sum|count)\b`)
	used := 0
	for _, dir := range []string{"docs", "deploy", "README.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) == ".zeek" || strings.HasSuffix(path, filepath.Join("deploy", "zeek", "README.md")) {
				return err
			}
			data, err := os.ReadFile(path)
			for _, name := range named.FindAllString(string(data), -1) {
				if used++; !known[name] {
					t.Errorf("%s names %s, which is no metric", path, name)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if used < 50 {
		t.Errorf("only %d names of metrics were found", used)
	}
}

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	pages := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		pages++
		broken, err := brokenLinks(path)
		for _, b := range broken {
			t.Errorf("%s: %s", path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 20 {
		t.Errorf("only %d pages found", pages)
	}
}

var (
	fenced    = regexp.MustCompile("(?ms)^ *```([a-z]*)[^\n]*\n(.*?)^ *```")
	code      = regexp.MustCompile("`[^`\n]*`")
	inline    = regexp.MustCompile(`\]\(\s*([^)\s]+)[^)]*\)`)
	reference = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s+(\S+)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
	scheme    = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	unslugged = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// brokenLinks lists the relative links of a page that lead to no file, or to no
// heading of it.
func brokenLinks(path string) (broken []string, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := code.ReplaceAllString(fenced.ReplaceAllString(string(data), ""), "")
	for _, m := range append(inline.FindAllStringSubmatch(text, -1), reference.FindAllStringSubmatch(text, -1)...) {
		link := m[1]
		if scheme.MatchString(link) {
			continue
		}
		file, anchor, _ := strings.Cut(link, "#")
		target := path
		if file != "" {
			target = filepath.Join(filepath.Dir(path), filepath.FromSlash(file))
		}
		if _, err := os.Stat(target); err != nil || strings.HasPrefix(file, "/") {
			broken = append(broken, link+" leads to no file")
			continue
		}
		if anchor == "" || filepath.Ext(target) != ".md" {
			continue
		}
		page, err := os.ReadFile(target)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(anchors(string(page)), anchor) {
			broken = append(broken, link+" leads to no heading")
		}
	}
	return broken, nil
}

// anchors are those of the headings, as GitHub makes them.
func anchors(page string) (out []string) {
	times := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		text := inline.ReplaceAllString(m[1], "]")
		a := strings.ReplaceAll(unslugged.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		if n := times[a]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", a, n))
		} else {
			out = append(out, a)
		}
		times[a]++
	}
	return out
}

func TestBrokenLinksAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	text := "# A page: its *name*\n## Twice\n## Twice\n" +
		"[a](page.md) [b](#a-page-its-name) [c](#twice-1) [d](https://example.com/x) `[e](none.md)` [f](. \"here\")\n" +
		"```sh\n[g](none.md)\n# no heading\n```\n" +
		"[h](gone.md) [i](page.md#nowhere) [j](#no-heading) [k](/page.md)\n\n[l]: lost.md\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := brokenLinks(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gone.md leads to no file", "page.md#nowhere leads to no heading", "#no-heading leads to no heading", "/page.md leads to no file", "lost.md leads to no file"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nnot   %q", got, want)
	}
}

// TestSiteFilesAreAccepted: what a page marks as yaml is a site file, and is
// one that the services take.
func TestSiteFilesAreAccepted(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "detections", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, filepath.Join(root, "docs", "howto", "site-file.md")) {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for _, m := range fenced.FindAllStringSubmatch(string(data), -1) {
			if m[1] != "yaml" {
				continue
			}
			shown++
			if _, err := pipeline.CheckSite([]byte(m[2])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
		if shown == 0 && filepath.Base(page) != "README.md" {
			t.Errorf("%s shows no site file", page)
		}
	}
}
