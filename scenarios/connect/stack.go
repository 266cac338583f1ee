package connect

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/grid"
)

//go:embed template.yaml
var ours []byte

//go:embed pion.yaml
var pion []byte

// Stack is who connects: a scenario for every pair of NATs.
type Stack struct {
	Name string
	// Ours has bars to meet.
	Ours     bool
	Scenario *scenarios.Scenario
	template *grid.Template
}

// Stacks are all that there are, by name, with what is said to pion/ice.
func Stacks() ([]Stack, error) {
	var all []Stack
	for _, s := range []struct {
		name, flags string
		text        []byte
	}{
		{"ours", "", ours},
		{"pion", "--relay-wait -1s", pion},
		{"pion-tuned", "--checks 20ms --accept-wait 0s --relay-wait 500ms", pion},
		{"pion-eager", "--checks 20ms --accept-wait 0s --relay-wait 0s", pion},
	} {
		file := "scenarios/connect/" + s.name
		sc, err := scenarios.Parse(file, []byte(strings.ReplaceAll(string(s.text), "FLAGS", s.flags)))
		if err != nil {
			return nil, err
		}
		template, err := grid.NewTemplate(sc)
		if err != nil {
			return nil, err
		}
		all = append(all, Stack{Name: s.name, Ours: s.name == "ours", Scenario: sc, template: template})
	}
	return all, nil
}

// Named gives the stacks with these names, in the order of Stacks; none: all.
func Named(names []string) ([]Stack, error) {
	all, err := Stacks()
	if err != nil || len(names) == 0 {
		return all, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s Stack) bool { return s.Name == name }) {
			return nil, fmt.Errorf("there is no stack %q: say ours, pion, pion-tuned or pion-eager", name)
		}
	}
	return slices.DeleteFunc(all, func(s Stack) bool { return !slices.Contains(names, s.Name) }), nil
}
