// Command schema makes kubernetes.json, the JSON Schema by which tests check the
// manifests beside it, from the OpenAPI documents of the Kubernetes module:
//
//	go run ./ci/deploy/schema [-check] (from the root of the module)
//
// With -check it writes nothing and fails if the committed file is not what it
// would write. Nothing but the Go module proxy is needed.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The module whose documents are read, with the hash that go.sum would have.
const (
	module = "k8s.io/kubernetes@v1.35.0"
	sum    = "h1:PUOojD8c8E3csMP5NX+nLLne6SGqZjrYCscptyBfWMY="
)

const output = "ci/deploy/schema/kubernetes.json"

// documents are files below api/openapi-spec/v3, each with the kinds that
// manifests may have.
var documents = map[string][]string{
	"api__v1_openapi.json":                     {"ConfigMap", "Namespace", "Secret", "Service", "ServiceAccount"},
	"apis__apps__v1_openapi.json":              {"Deployment", "StatefulSet"},
	"apis__batch__v1_openapi.json":             {"Job"},
	"apis__networking.k8s.io__v1_openapi.json": {"NetworkPolicy"},
	"apis__policy__v1_openapi.json":            {"PodDisruptionBudget"},
}

func main() {
	check := flag.Bool("check", false, "write nothing; fail if the committed file is out of date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "schema:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	dir, err := download()
	if err != nil {
		return err
	}
	made, err := build(dir)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(made, "", " ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if !check {
		return os.WriteFile(output, text, 0o644)
	}
	committed, err := os.ReadFile(output)
	if err != nil {
		return err
	}
	if !bytes.Equal(committed, text) {
		return fmt.Errorf("%s is not what %s gives: run go run ./ci/deploy/schema", output, module)
	}
	return nil
}

// download gives the folder of the module, whose contents are checked.
func download() (string, error) {
	cmd := exec.Command(goCommand(), "mod", "download", "-json", module)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	}
	if got.Error != "" {
		return "", fmt.Errorf("download %s: %s", module, got.Error)
	}
	if got.Sum != sum {
		return "", fmt.Errorf("%s has the hash %s, not %s", module, got.Sum, sum)
	}
	return filepath.Join(got.Dir, "api", "openapi-spec", "v3"), nil
}

// build makes one schema of all kinds, with the definitions that they use and
// no other.
func build(dir string) (map[string]any, error) {
	b := builder{definitions: map[string]any{}}
	var kinds []any
	for _, file := range slices.Sorted(maps.Keys(documents)) {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		var document struct {
			Components struct{ Schemas map[string]map[string]any }
		}
		if err := json.Unmarshal(text, &document); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		b.schemas = document.Components.Schemas
		for _, kind := range documents[file] {
			one, err := b.kind(kind)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			kinds = append(kinds, one)
		}
	}
	return map[string]any{
		"$schema":  "https://json-schema.org/draft/2020-12/schema",
		"$comment": "Made by ci/deploy/schema from the OpenAPI documents of " + module + ", which are under the Apache License 2.0.",
		"allOf":    kinds,
		"type":     "object", "required": []string{"apiVersion", "kind", "metadata"},
		"properties": map[string]any{"kind": map[string]any{"enum": b.names}},
		"$defs":      b.definitions,
	}, nil
}

// builder copies schemas of a document and what they refer to.
type builder struct {
	schemas     map[string]map[string]any
	definitions map[string]any
	names       []string
}

// kind makes the rule for the objects of a kind.
func (b *builder) kind(kind string) (any, error) {
	for _, name := range slices.Sorted(maps.Keys(b.schemas)) {
		versions, _ := b.schemas[name]["x-kubernetes-group-version-kind"].([]any)
		for _, v := range versions {
			gvk, _ := v.(map[string]any)
			if gvk["kind"] != kind || !strings.HasPrefix(name, "io.k8s.api.") {
				continue
			}
			version := fmt.Sprint(gvk["version"])
			if group := fmt.Sprint(gvk["group"]); group != "" {
				version = group + "/" + version
			}
			b.names = append(b.names, kind)
			return map[string]any{
				"if": map[string]any{"properties": map[string]any{"kind": map[string]any{"const": kind}}},
				"then": map[string]any{
					"$ref":       b.refer(name),
					"properties": map[string]any{"apiVersion": map[string]any{"const": version}},
				},
			}, nil
		}
	}
	return nil, fmt.Errorf("there is no kind %s", kind)
}

// refer copies a definition, once, and gives the reference to it.
func (b *builder) refer(name string) string {
	if _, done := b.definitions[name]; !done {
		b.definitions[name] = true // it may refer to itself
		b.definitions[name] = b.copy(b.schemas[name])
	}
	return "#/$defs/" + name
}

// copy copies what says which values are right, and leaves out the rest.
// Objects with known properties have no others.
func (b *builder) copy(schema map[string]any) map[string]any {
	to := map[string]any{}
	for key, value := range schema {
		switch key {
		case "type", "required", "enum", "format":
			to[key] = value
		case "$ref":
			to[key] = b.refer(strings.TrimPrefix(value.(string), "#/components/schemas/"))
		case "items", "additionalProperties":
			if sub, ok := value.(map[string]any); ok {
				to[key] = b.copy(sub)
			} else {
				to[key] = value
			}
		case "allOf", "oneOf", "anyOf":
			var all []any
			for _, sub := range value.([]any) {
				all = append(all, b.copy(sub.(map[string]any)))
			}
			to[key] = all
		case "properties":
			properties := map[string]any{}
			for name, sub := range value.(map[string]any) {
				properties[name] = b.copy(sub.(map[string]any))
			}
			to[key] = properties
			if _, open := schema["additionalProperties"]; !open {
				to["additionalProperties"] = false
			}
		}
	}
	return to
}

// goCommand is the Go that make uses.
func goCommand() string {
	if name := os.Getenv("GO"); name != "" {
		return name
	}
	return "go"
}
