package sim

import (
	"encoding/json"
	"slices"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// TestSchemaHasTheKeysOfTheDecoder: what an editor proposes is what the decoder
// takes, no more and no less.
func TestSchemaHasTheKeysOfTheDecoder(t *testing.T) {
	lab := Schema()
	router := entry(t, lab, "routers")
	host := entry(t, lab, "hosts")
	link := choice(t, entry(t, lab, "links"))
	for _, test := range []struct {
		name    string
		schema  document.Schema
		decoder []string
	}{
		{"lab", lab, labKeys},
		{"router", router, routerKeys},
		{"nat", choice(t, property(t, router, "nat")), nat.YAMLKeys()},
		{"firewall", choice(t, property(t, router, "firewall")), firewallKeys},
		{"rule", property(t, choice(t, property(t, router, "firewall")), nat.AccessKeyAllow)["items"].(document.Schema), nat.RuleKeys()},
		{"host", host, hostKeys},
		{"host's firewall", choice(t, property(t, host, "firewall")), firewallKeys},
		{"uplink", entry(t, host, "uplinks"), uplinkKeys},
		{"link", link, linkKeys},
		{"link up", property(t, link, "up"), impairmentKeys},
		{"wander", property(t, link, "wander"), wanderKeys},
		{"overtake", choice(t, property(t, link, "overtake")), overtakeKeys},
		{"burst", property(t, link, "burst"), burstKeys},
		{"mtu", choice(t, property(t, link, "mtu")), mtuKeys},
		{"link down", property(t, link, "down"), impairmentKeys},
	} {
		got := document.Sorted(test.schema["properties"].(map[string]document.Schema))
		want := slices.Sorted(slices.Values(test.decoder))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema has the keys %v, the decoder %v", test.name, got, want)
		}
	}
}

func property(t *testing.T, s document.Schema, key string) document.Schema {
	t.Helper()
	p, ok := s["properties"].(map[string]document.Schema)[key]
	if !ok || p["description"] == "" {
		t.Fatalf("the schema has no described property %q", key)
	}
	return p
}

// entry gives the schema of the values of a mapping by names.
func entry(t *testing.T, s document.Schema, key string) document.Schema {
	t.Helper()
	return property(t, s, key)["additionalProperties"].(document.Schema)
}

// choice gives the alternative that is a mapping.
func choice(t *testing.T, s document.Schema) document.Schema {
	t.Helper()
	for _, c := range s["anyOf"].([]document.Schema) {
		if c["type"] == "object" {
			return c
		}
	}
	t.Fatal("no alternative is a mapping")
	return nil
}

// TestEveryWordOfTheSchemaIsAccepted: a preset or a value that an editor
// proposes decodes.
func TestEveryWordOfTheSchemaIsAccepted(t *testing.T) {
	natMapping := choice(t, property(t, entry(t, Schema(), "routers"), "nat"))
	for key, s := range natMapping["properties"].(map[string]document.Schema) {
		if s["description"] == "" {
			t.Errorf("nat: %s has no description", key)
		}
		words, _ := s["enum"].([]string)
		for _, w := range words {
			file := "lab: {routers: {r: {nat: {" + key + ": " + w
			if key == string(nat.AxisEarly) {
				file += ", kind: masquerade"
			}
			file += "}}}}"
			if _, err := ParseLab("lab.yaml", []byte(file)); err != nil {
				t.Errorf("the schema proposes %s: %v", file, err)
			}
		}
	}
}

func TestSchemaMarshals(t *testing.T) {
	if _, err := json.Marshal(Schema()); err != nil {
		t.Error(err)
	}
}
