package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"p2pmodel/sim/link"
)

// WriteProfiles writes all link profiles as a table for people.
func WriteProfiles(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROFILE\tUP\tDOWN\tEVIDENCE\tWHAT IT IS")
	for _, p := range link.Profiles() {
		up, down := DescribeImpairment(p.Up), DescribeImpairment(p.Down)
		if up == down {
			down = "the same"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Name, up, down, p.Evidence, p.Title)
	}
	return t.Flush()
}

// profileJSON is a profile for programs. Times are in milliseconds, rates in bits
// a second, losses probabilities; what is not there is 0.
type profileJSON struct {
	Name     string         `json:"name"`
	Title    string         `json:"title"`
	Up       impairmentJSON `json:"up"`
	Down     impairmentJSON `json:"down"`
	Evidence string         `json:"evidence"`
	Source   string         `json:"source"`
	Note     string         `json:"note,omitempty"`
}

type impairmentJSON struct {
	Delay       float64 `json:"delay_ms"`
	Jitter      float64 `json:"jitter_ms,omitempty"`
	Wander      float64 `json:"wander_ms,omitempty"`
	WanderEvery float64 `json:"wander_every_ms,omitempty"`
	Loss        float64 `json:"loss,omitempty"`
	Rate        uint64  `json:"rate,omitempty"`
	Text        string  `json:"text"`
}

// WriteProfilesJSON writes all link profiles as {"profiles": […]}.
func WriteProfilesJSON(w io.Writer) error {
	of := func(i link.Impairment) impairmentJSON {
		return impairmentJSON{
			Delay: i.Delay.Seconds() * 1e3, Jitter: i.Jitter.Seconds() * 1e3,
			Wander: i.Wander.Delay.Seconds() * 1e3, WanderEvery: i.Wander.Every.Seconds() * 1e3,
			Loss: i.MeanLoss(), Rate: i.Rate, Text: DescribeImpairment(i),
		}
	}
	out := struct {
		Profiles []profileJSON `json:"profiles"`
	}{}
	for _, p := range link.Profiles() {
		out.Profiles = append(out.Profiles, profileJSON{
			Name: p.Name, Title: p.Title, Up: of(p.Up), Down: of(p.Down),
			Evidence: string(p.Evidence), Source: p.Source, Note: p.Note,
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

// ProfilesPage is docs/profiles.md.
func ProfilesPage() []byte {
	var b bytes.Buffer
	b.WriteString(`# Link profiles

Made by ` + "`make generate`" + ` from [sim/link](../sim/link); ` + "`natlab profiles`" + ` prints the same.

A profile is what a known kind of link does, each way: ` + "`links: {phone: 4g}`" + `, or with other keys over it,
` + "`links: {phone: {profile: 4g, loss: 3%}}`" + ` ([scenarios.md](scenarios.md#lab)). Delays are one-way; up is towards the Internet.

Evidence: **V** read in the primary text, **S** quoted by a secondary source, **D** derived from other facts.

| profile | what it is | up | down | evidence | source |
|---|---|---|---|---|---|
`)
	for _, p := range link.Profiles() {
		up, down := DescribeImpairment(p.Up), DescribeImpairment(p.Down)
		if up == down {
			down = "the same"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", p.Name, p.Title, up, down, p.Evidence, sentence(p.Source, p.Note))
	}
	return b.Bytes()
}

// sentence joins what a table's cell says.
func sentence(source, note string) string {
	text := strings.ToUpper(source[:1]) + source[1:] + "."
	if note != "" {
		text += " " + note
	}
	return text
}
