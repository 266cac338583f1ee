package sim

import (
	"fmt"
	"io"
	"strings"
)

// Mermaid writes the lab as a Mermaid flowchart, which many pages render from
// Markdown. Standby uplinks are dotted. It fails if the lab is not valid or the
// writer fails.
func (l *Lab) Mermaid(w io.Writer) error {
	root, err := l.outline()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	fmt.Fprintf(&b, "  n0([\"%s<br>%s\"])\n", root.name, root.addrs)
	hosts, count := map[string]string{}, 0
	var walk func(id string, at *branch)
	walk = func(id string, at *branch) {
		for _, c := range at.behind {
			to, drawn := hosts[c.name]
			if !drawn {
				count++
				to = fmt.Sprintf("n%d", count)
				b.WriteString("  " + to + mermaidNode(c) + "\n")
				hosts[c.name] = to
			}
			b.WriteString("  " + id + mermaidEdge(c) + to + "\n")
			walk(to, c)
		}
	}
	walk("n0", root)
	_, err = io.WriteString(w, b.String())
	return err
}

// mermaidNode gives the shape and text of a node; names have no character that
// means something to Mermaid. The addresses of hosts with several uplinks are on
// their edges.
func mermaidNode(b *branch) string {
	text := append([]string{b.name}, b.kind...)
	if b.uplink == "" {
		text = append(text, b.addrs)
	}
	label := strings.Join(text, "<br>")
	if b.router {
		return fmt.Sprintf("[%q]", label)
	}
	return fmt.Sprintf("(%q)", label)
}

func mermaidEdge(b *branch) string {
	line := "---"
	if b.standby {
		line = "-.-"
	}
	var text []string
	if b.uplink != "" {
		text = append(text, b.uplink, b.addrs)
	}
	if i := b.impairments(); i != "" {
		text = append(text, i)
	}
	if len(text) == 0 {
		return " " + line + " "
	}
	return fmt.Sprintf(" %s|%q| ", line, strings.Join(text, "<br>"))
}
