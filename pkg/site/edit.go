package site

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// WithHomeNetworks returns the bytes of a site file with further home
// networks, so that what a command line adds is part of the declared site.
func WithHomeNetworks(data []byte, networks []string) ([]byte, error) {
	if len(networks) == 0 {
		return data, nil
	}
	return edit(data, func(doc map[string]any) error {
		list, _ := doc["home_networks"].([]any)
		for _, n := range networks {
			list = append(list, n)
		}
		doc["home_networks"] = list
		return nil
	})
}

// WithSettings returns the bytes of a site file with other settings of
// detectors, each written DETECTOR.NAME=VALUE: NAME is mode, floor, alert, or a
// threshold. Overrides stay. Whether there is such a detector and threshold is
// for whoever knows them.
func WithSettings(data []byte, settings []string) ([]byte, error) {
	if len(settings) == 0 {
		return data, nil
	}
	return edit(data, func(doc map[string]any) error {
		detectors := inside(doc, "detectors")
		for _, text := range settings {
			key, value, ok := strings.Cut(text, "=")
			dot := strings.LastIndexByte(key, '.')
			if !ok || dot < 1 || dot == len(key)-1 {
				return fmt.Errorf("%q is not DETECTOR.NAME=VALUE", text)
			}
			one, name := inside(detectors, key[:dot]), key[dot+1:]
			if name == "mode" {
				if err := validMode(value); err != nil || value == "" {
					return fmt.Errorf("%q: mode is off, shadow or alert", text)
				}
				one["mode"] = value
				continue
			}
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("%q: %q is not a number", text, value)
			}
			if name != "floor" && name != "alert" {
				one = inside(one, "thresholds")
			}
			one[name] = n
		}
		return nil
	})
}

// inside returns the mapping at a key, made where there is none.
func inside(doc map[string]any, key string) map[string]any {
	m, ok := doc[key].(map[string]any)
	if !ok {
		m = map[string]any{}
		doc[key] = m
	}
	return m
}

// edit changes a site file that is valid.
func edit(data []byte, change func(doc map[string]any) error) ([]byte, error) {
	if _, err := decodeFile(data); err != nil {
		return nil, fmt.Errorf("site file: %w", err)
	}
	doc := map[string]any{}
	var docs []map[string]any
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		return nil, fmt.Errorf("site file: %w", err)
	}
	if len(docs) > 0 && docs[0] != nil {
		doc = docs[0]
	}
	if err := change(doc); err != nil {
		return nil, err
	}
	return yaml.Dump(doc)
}
