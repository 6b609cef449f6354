package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/app"
	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"go.yaml.in/yaml/v4"
)

// The compose file parses; each service's command is a binary that we build,
// each of its variables is a key of that binary's configuration, each mount
// and topic exists, and no two services take one port of the host.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string            `yaml:"image"`
			Build       string            `yaml:"build"`
			Command     []string          `yaml:"command"`
			Environment map[string]string `yaml:"environment"`
			Ports       []string          `yaml:"ports"`
			DependsOn   map[string]any    `yaml:"depends_on"`
			Volumes     []string          `yaml:"volumes"`
		} `yaml:"services"`
		Volumes map[string]any `yaml:"volumes"`
	}
	if err := yaml.Load(data, &file); err != nil {
		t.Fatal(err)
	}
	keys := map[string]map[string]bool{}
	for _, c := range app.Configurations() {
		list, err := config.Keys(c.Config)
		if err != nil {
			t.Fatal(err)
		}
		keys[c.Service] = map[string]bool{}
		for _, k := range list {
			keys[c.Service][k.Env] = true
		}
	}
	ports := map[string]string{}
	for name, s := range file.Services {
		for _, p := range s.Ports {
			host := p[:strings.LastIndexByte(p, ':')]
			if !strings.HasPrefix(host, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, p)
			}
			if other, taken := ports[host]; taken {
				t.Errorf("%s and %s both take %s", name, other, host)
			}
			ports[host] = name
		}
		for other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which does not exist", name, other)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := file.Volumes[from]; !named && from != "./data" {
				t.Errorf("%s mounts %s, which does not exist", name, from)
			}
		}
		if name == "kafka" {
			continue
		}
		if len(s.Command) != 1 || s.Command[0] != name || s.Build != "." {
			t.Errorf("%s runs %v of %s", name, s.Command, s.Build)
			continue
		}
		if _, err := os.Stat(filepath.Join(binaries, s.Command[0])); err != nil {
			t.Errorf("%s: there is no binary %s", name, s.Command[0])
		}
		for env := range s.Environment {
			if !keys[name][env] {
				t.Errorf("%s: %s is no key of its configuration", name, env)
			}
		}
	}
	known := map[string]bool{}
	for _, row := range topic.Table() {
		known[row.Name] = true
	}
	for _, name := range regexp.MustCompile(`ebb\.[a-z]+\.v\d+`).FindAllString(string(data), -1) {
		if !known[name] {
			t.Errorf("topic %s does not exist", name)
		}
	}
}
